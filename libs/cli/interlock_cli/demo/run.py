"""``interlock demo``: a stack in a scratch folder, eight checks, a table, and exit code 0 only if all held."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console
from rich.markup import escape

from interlock_cli.administration import Administration
from interlock_cli.demo import tree
from interlock_cli.demo.background import BackgroundCalls
from interlock_cli.demo.checks import CHECKS, Check, NotHeld
from interlock_cli.demo.clients import Rest
from interlock_cli.demo.otlp import OtlpReceiver
from interlock_cli.demo.scene import ExampleServers, Scene, example_servers
from interlock_cli.errors import Interrupted
from interlock_cli.ports import HOST
from interlock_cli.stack import Options, Stack
from interlock_cli.state import State
from interlock_cli.up import ending_signals, running
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.ports import choose_free

_LEAF_LIFETIME = 8  # seconds, so that certificates rotate at 2/3 of it while we look
_EXPORT_DELAY = 100  # milliseconds
_POLICY = Path(__file__).with_name("plugins.yaml")


async def demo(*, keep: bool) -> bool:
    """Run it; answers whether every line held."""
    console = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="interlock-demo-"))
    try:
        held = await _play(console, State(folder / "state"))
        keep = keep or not held
    except Interrupted:
        raise
    except BaseException:
        keep = True
        raise
    finally:
        if keep:
            console.print(f"\nkept: {folder} (logs in {folder}/state/logs)", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return held


async def _play(console: Console, state: State) -> bool:
    began = SYSTEM_CLOCK.monotonic()
    (port,) = choose_free(1)
    ending = ending_signals()
    with OtlpReceiver() as otlp:
        os.environ.update(_environment(otlp))
        _trace_ourselves(otlp)
        extra = {"LEAF_LIFETIME": str(_LEAF_LIFETIME), "PLUGINS_CONFIG_PATH": str(_POLICY)}
        state.prepare()
        async with (
            example_servers(state) as servers,
            running(state, Options(port=port, extra=extra), Console(stderr=True), ending) as stack,
            _scene(stack, servers, otlp) as scene,
        ):
            seconds = SYSTEM_CLOCK.monotonic() - began
            _line(console, "a gateway of five services", seconds, f"{stack.placement.url}/mcp", held=True)
            return await _check_all(console, scene)


def _environment(otlp: OtlpReceiver) -> dict[str, str]:
    """What every process of the demo gets: traces come to us, all of them, and not through a proxy."""
    return {
        "OTEL_SDK_DISABLED": "false",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": otlp.traces_endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_SCHEDULE_DELAY": str(_EXPORT_DELAY),
        "NO_PROXY": HOST,
        "no_proxy": HOST,
    }


@asynccontextmanager
async def _scene(stack: Stack, servers: ExampleServers, otlp: OtlpReceiver) -> AsyncGenerator[Scene]:
    """Both example servers registered, calls running in the background."""
    token = await asyncio.to_thread(Administration(stack.placement).token)
    rest = Rest(stack.placement.url, token)
    try:
        await servers.listening()
        for name, port in servers.ports.items():
            await rest.ask("POST", "/gateways", {"name": name, "url": f"http://127.0.0.1:{port}/mcp"})
        async with BackgroundCalls(stack.placement.url, token) as background:
            scene = Scene(stack.placement, token, rest, otlp, background)
            scene.leaves = {name: scene.serial(name) for name in ("plugins", "gateway")}
            yield scene
    finally:
        await rest.close()


async def _check_all(console: Console, scene: Scene) -> bool:
    held = [await _check(console, scene, title, check) for title, check in CHECKS]
    if all(held):
        console.print()
        console.print(tree.tree_of(scene.otlp.spans(scene.trace_id)))
    return all(held)


async def _check(console: Console, scene: Scene, title: str, check: Check) -> bool:
    began = SYSTEM_CLOCK.monotonic()
    try:
        outcome, held = await check(scene), True
    except NotHeld as error:
        outcome, held = str(error), False
    except Exception as error:  # noqa: BLE001 - a line that fails unexpectedly is a line that did not hold
        cause = _innermost(error)
        outcome, held = f"failed unexpectedly: {type(cause).__name__}: {cause}", False
    _line(console, title, SYSTEM_CLOCK.monotonic() - began, outcome, held=held)
    return held


def _innermost(error: BaseException) -> BaseException:
    """The first error inside the groups that task groups make of errors."""
    if isinstance(error, BaseExceptionGroup):
        return _innermost(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error


def _line(console: Console, title: str, seconds: float, outcome: str, *, held: bool) -> None:
    mark = "[green]ok[/]  " if held else "[red]FAIL[/]"
    console.print(f"{mark} {title:<42} {seconds * 1000:7.0f} ms  {escape(outcome)}", soft_wrap=True)


def _trace_ourselves(otlp: OtlpReceiver) -> None:
    """The client is part of the trace: the SDK makes spans of its own."""
    provider = TracerProvider(resource=Resource.create({"service.name": "client"}))
    exporter = OTLPSpanExporter(otlp.traces_endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_EXPORT_DELAY))
    trace.set_tracer_provider(provider)
