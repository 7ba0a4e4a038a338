"""Whatever is sent to the MCP endpoint, it answers, in JSON-RPC, and never with an accident."""

import asyncio
import json
import resource
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock_common.messages.catalog import VirtualServer
from interlock_gateway.revisions import META_CAPABILITIES, META_VERSION, MODERN
from interlock_gateway.testing.asking import Answer, ask
from interlock_gateway.testing.callers import ROOT
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import upstream_at

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_METHODS = st.sampled_from(
    ["initialize", "tools/call", "tools/list", "ping", "server/discover", "notifications/initialized", "", "x/y"]
)
_META = st.fixed_dictionaries(
    {}, optional={
        META_VERSION: st.sampled_from([MODERN, "2025-11-25", "2099-01-01"]) | _JSON,
        META_CAPABILITIES: st.builds(dict[str, Any]) | _JSON,
        "traceparent": st.just("00-" + "1" * 32 + "-" + "2" * 16 + "-01") | _JSON,
        "progressToken": _JSON,
    },
)  # fmt: skip
_PARAMS = st.fixed_dictionaries(
    {}, optional={
        "name": st.sampled_from(["notes-echo", "none", "", "x" * 300]) | _JSON,
        "arguments": _JSON, "_meta": _META | _JSON, "protocolVersion": st.just("2025-11-25") | _JSON,
        "capabilities": _JSON,
    },
)  # fmt: skip
_MESSAGE = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | _JSON}, optional={
        "id": st.integers() | st.text(max_size=9) | _JSON, "method": _METHODS | _JSON, "params": _PARAMS | _JSON,
        "result": _JSON, "error": _JSON,
    },
).map(lambda message: json.dumps(message).encode())  # fmt: skip  # NaN and lone surrogates included


def _broken(parts: tuple[bytes, int, bytes]) -> bytes:
    body, at, noise = parts
    at %= len(body) + 1
    return body[:at] + noise + body[at + len(noise) :]


_BODIES = (
    _MESSAGE
    | st.tuples(_MESSAGE, st.integers(0, 10_000), st.binary(max_size=4)).map(_broken)
    | st.binary(max_size=200)
    | st.lists(_MESSAGE, max_size=3).map(lambda batch: b"[" + b",".join(batch) + b"]")
    | st.sampled_from([b"[", b'{"a":', b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[']).map(lambda b: b * 9_000)
)
_NAMES = st.sampled_from([
    b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id", b"mcp-param-x", b"accept", b"origin",
    b"host", b"content-length", b"traceparent", b"tracestate", b"last-event-id", b"authorization",
])  # fmt: skip
_VALUES = st.binary(max_size=40) | st.sampled_from(
    [MODERN.encode(), b"2025-11-25", b"tools/call", b"tools/list", b"notes-echo", b"text/event-stream",
     b"=?base64?bm90ZXMtZWNobw==?=", b"=?base64?/w==?=", b"99999999999999999999", b"-1", b"\xb2"]
)  # fmt: skip
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=6)
_SERVERS = st.sampled_from([None, "s1", "none"])


class Unanswered(EdgeWorld):
    """An edge whose upstream nobody answers for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.register(upstream_at("http://127.0.0.1:9/"))
        self.serve(VirtualServer("s1", "s", ROOT, upstreams=("u1",)))


def _check(answer: Answer, method: str) -> None:
    assert answer.complete
    assert answer.status in {200, 202, 204, 400, 401, 403, 404, 405, 406, 413, 502, 503}, answer
    for value in answer.headers.values():
        assert "\n" not in value
    if not answer.body:
        assert answer.status in {202, 204, 405}
        return
    message: dict[str, Any] = msgspec.json.decode(answer.body)
    assert message["jsonrpc"] == "2.0"
    assert ("result" in message) != ("error" in message)
    if "error" in message:
        assert isinstance(message["error"]["code"], int), method
        assert isinstance(message["error"]["message"], str), method
        assert len(answer.body) < 100_000


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=_BODIES, headers=_HEADERS, server_id=_SERVERS, token=st.booleans(),
    method=st.sampled_from(["POST"] * 8 + ["GET", "DELETE", "PUT"]),
)  # fmt: skip
def test_the_endpoint_answers_whatever_comes(
    body: bytes, headers: list[tuple[bytes, bytes]], server_id: str | None, method: str, *, token: bool
) -> None:
    async def exchange() -> Answer:
        world = Unanswered(signer=_SIGNER)
        credential = world.signer.token() if token else None
        try:
            async with asyncio.timeout(10):
                return await ask(world.endpoint(), body, headers, token=credential, method=method, server_id=server_id)
        finally:
            await world.ways.stop()

    _check(asyncio.run(exchange()), method)


_SIGNER = EdgeWorld().signer


async def test_refusing_takes_no_memory(world: EdgeWorld) -> None:
    """Ten thousand refusals of all kinds leave the process as large as it was."""
    endpoint, token = world.endpoint(), world.signer.token()
    bodies = [b"{", b"[" * 60_000, b"x" * 70_000, b'{"jsonrpc":"2.0","id":1,"method":"' + b"m" * 60_000 + b'"}']

    async def rounds(count: int) -> None:
        for n in range(count):
            await ask(endpoint, bodies[n % len(bodies)], {"mcp-session-id": f"s{n}"}, token=token)
            await ask(endpoint, b"{}", token=f"{n}.{n}.{n}")
            world.audit.records.clear()

    await rounds(500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await rounds(4500)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes
