"""The eight lines of the demo. Each does what it says and raises NotHeld where the answer is not what it must be."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import httpx
from mcp import MCPError
from opentelemetry import trace

from interlock_cli import audit_verify
from interlock_cli.client import Client, Endpoint
from interlock_cli.demo import tree
from interlock_cli.demo.clients import Rest, mcp_client, text_of, until
from interlock_cli.demo.scene import Scene

_CLIENT_SPAN = "demo"
_TRACED = ("client", "gateway", "plugins", "notes", "audit")
_ROTATED = ("plugins", "gateway")
_DENIED_WORD, _CODE = "launch code", "0000"
_SECRET = "AKIAIOSFODNN7EXAMPLE"  # noqa: S105 - the key that AWS prints in its own documentation
_ROTATION_SECONDS = 15.0
_SETTLING_SECONDS = 8.0


class NotHeld(Exception):
    """A line of the demo did not hold; says what was expected and what came."""


type Check = Callable[[Scene], Awaitable[str]]


async def list_tools(scene: Scene) -> str:
    """Both upstreams' tools are listed, under their public names."""
    async with mcp_client(scene.url, scene.token) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        version = client.protocol_version
    expected = {"notes-add_note", "notes-read_credentials", "weather-current_weather", "weather-forecast"}
    _demand(expected <= names, f"the tools {sorted(expected)}", f"{sorted(names)}")
    return f"{len(names)} tools of 2 servers, MCP {version}"


async def allowed_call(scene: Scene) -> str:
    """A call goes through, traced from the client on."""
    with trace.get_tracer(_CLIENT_SPAN).start_as_current_span("demo") as span:
        scene.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        async with mcp_client(scene.url, scene.token) as client:
            result = await client.call_tool("notes-add_note", {"text": "water the plants"})
    _demand(not result.is_error and "water the plants" in text_of(result), "the note that was added", text_of(result))
    return "notes-add_note answered"


async def denied_call(scene: Scene) -> str:
    """A call whose arguments the policy forbids is refused and does not reach the upstream."""
    async with mcp_client(scene.url, scene.token) as client:
        try:
            result = await client.call_tool("notes-add_note", {"text": f"the {_DENIED_WORD} is {_CODE}"})
            refusal = text_of(result) if result.is_error else ""
        except MCPError as error:
            refusal = error.error.message
        found = text_of(await client.call_tool("notes-search_notes", {"query": _CODE}))
    _demand(bool(refusal), "a refusal", "the note was taken")
    _demand(_CODE not in found, "no such note at the upstream", found)
    return refusal


async def redacted_answer(scene: Scene) -> str:
    """A secret in an answer does not reach the client."""
    async with mcp_client(scene.url, scene.token) as client:
        text = text_of(await client.call_tool("notes-read_credentials", {}))
    _demand(_SECRET not in text and "[REDACTED]" in text, "the key replaced by [REDACTED]", text)
    return text.splitlines()[0]


async def revoked_stream(scene: Scene) -> str:
    """A revoked token ends the call that is streaming, at once, and is refused from then on."""
    made = await scene.rest.ask("POST", "/tokens", {"name": "to be revoked", "lifetime": 600})
    streaming = asyncio.Event()

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        del progress, total, message
        streaming.set()

    async def count() -> str:
        async with mcp_client(scene.url, made["token"], "legacy") as client:
            arguments = {"n": 600, "seconds": 60}
            try:
                await client.call_tool("notes-count_slowly", arguments, progress_callback=progressed)
            except MCPError as error:
                return error.error.message
        return ""

    call = asyncio.create_task(count())
    try:
        async with asyncio.timeout(_SETTLING_SECONDS):
            await streaming.wait()
            _demand(not call.done(), "an open stream", "it ended by itself")
            began = time.perf_counter()
            revocation = asyncio.create_task(scene.rest.ask("DELETE", f"/tokens/{made['id']}"))
            reason = await call
            ms = (time.perf_counter() - began) * 1000
            await revocation
    except TimeoutError:
        raise NotHeld("expected the stream to end when its token was revoked; it went on") from None
    finally:
        call.cancel()
    await _demand_refused(scene, made["token"])
    return f"stream ended {ms:.0f} ms after the request ({reason}); then 401"


async def _demand_refused(scene: Scene, token: str) -> None:
    rest = Rest(scene.url, token)
    try:
        await rest.ask("GET", "/tools")
    except httpx.HTTPStatusError as error:
        _demand(error.response.status_code == HTTPStatus.UNAUTHORIZED, "401", str(error.response.status_code))
    else:
        raise NotHeld("expected 401 for the revoked token; it was accepted")
    finally:
        await rest.close()


async def rotated_certificate(scene: Scene) -> str:
    """Certificates of services are replaced while calls run, and no call is lost."""

    async def all_rotated() -> bool:
        return all(scene.serial(name) != scene.leaves[name] for name in _ROTATED)

    _demand(await until(all_rotated, _ROTATION_SECONDS), "new certificates of plugins and gateway", "the old ones")
    known = (await scene.rest.ask("GET", "/certificates"))["leaves"]
    serials = {int(leaf["serial"], 16) for leaf in known}
    _demand(all(scene.serial(name) in serials for name in _ROTATED), "the new ones in GET /certificates", "others")
    before = scene.background.calls

    async def more_calls() -> bool:
        return scene.background.calls >= before + 5

    await until(more_calls, _SETTLING_SECONDS)
    await scene.background.stop()
    failures, calls = scene.background.failures, scene.background.calls
    _demand(calls > before, "calls during the rotation", "none")
    _demand(not failures, "no lost call", f"{len(failures)} of {calls} lost, first: {failures[:1]}")
    return f"{' and '.join(_ROTATED)} have new certificates; {calls} calls meanwhile, 0 lost"


async def verified_audit(scene: Scene) -> str:
    """The record of all this is complete, and its proofs hold."""

    async def complete() -> audit_verify.Report | None:
        report = await asyncio.to_thread(_verify, scene)
        has_all = report.records >= 2 * scene.background.calls
        return report if has_all and not (report.open_intents or report.problems) else None

    report = await until(complete, _SETTLING_SECONDS, 0.3)
    if report is None:
        last = await asyncio.to_thread(_verify, scene)
        raise NotHeld(
            f"expected a log that holds; problems: {last.problems}, intents without outcome: {last.open_intents[:3]}, "
            f"records: {last.records}, calls: {scene.background.calls}"
        )
    _demand(not report.gaps, "no gaps", f"{report.gaps}")
    mine = await scene.rest.ask("GET", f"/audit/records?trace_id={scene.trace_id}")
    kinds = sorted({record["leaf"].split('"kind":"')[1].split('"')[0] for record in mine["records"]})
    _demand(kinds == ["call.intent", "call.outcome"], "intent and outcome of the allowed call", f"{kinds}")
    return f"{report.records} records, signature and root hold, {report.proofs} proofs checked, no gap"


def _verify(scene: Scene) -> audit_verify.Report:
    with Client(Endpoint(scene.url, scene.token)) as api:
        return audit_verify.verify_api(api, None, None, 10)[0]


async def whole_trace(scene: Scene) -> str:
    """One trace reaches from the client to the audit record, each span below the one that caused it."""

    async def whole() -> bool:
        return not tree.problems(scene.otlp.spans(scene.trace_id), _TRACED)

    if not await until(whole, _SETTLING_SECONDS):
        raise NotHeld("; ".join(tree.problems(scene.otlp.spans(scene.trace_id), _TRACED)))
    spans = scene.otlp.spans(scene.trace_id)
    return f"{len(spans)} spans of {len({span.service for span in spans})} services, trace {scene.trace_id}"


def _demand(holds: bool, expected: str, got: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise NotHeld(f"expected {expected}; got {got[:400]}")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("list tools", list_tools),
    ("an allowed call", allowed_call),
    ("a call that policy denies", denied_call),
    ("an answer with a secret", redacted_answer),
    ("a token revoked while its stream is open", revoked_stream),
    ("certificates rotated during calls", rotated_certificate),
    ("the audit trail, verified", verified_audit),
    ("the trace of one call", whole_trace),
)
