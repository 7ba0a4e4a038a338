"""``interlock up``: the whole gateway on this machine, until a signal ends it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from interlock_common.clock import SYSTEM_CLOCK
from rich.console import Console

from interlock_cli import ports
from interlock_cli.administration import Administration
from interlock_cli.display import display, show_ready
from interlock_cli.stack import Options, Stack
from interlock_cli.state import State, write_json

_PRIVATE_UMASK = 0o077


async def up(state: State, options: Options, *, as_json: bool) -> None:
    """Start the stack, say how to reach it, and keep it until SIGINT or SIGTERM; raises CommandError."""
    began = SYSTEM_CLOCK.monotonic()
    ending = _ending()
    errors = Console(stderr=True, quiet=as_json)
    async with running(state, options, errors, ending) as stack:
        if stack is None:
            return
        token = await asyncio.to_thread(Administration(stack.placement).token)
        url, seconds = stack.placement.url, SYSTEM_CLOCK.monotonic() - began
        _keep_endpoint(state, url)
        if as_json:
            ready = {"url": url, "token": token, "pid": os.getpid(), "state": str(state.root), "seconds": seconds}
            print(json.dumps(ready), flush=True)  # noqa: T201 - the one document a script waits for
        else:
            show_ready(Console(), url, token, seconds)
        await _first_of(ending.wait(), stack.failure)


@asynccontextmanager
async def running(
    state: State, options: Options, console: Console, ending: asyncio.Event
) -> AsyncGenerator[Stack | None]:
    """A stack that is ready, or None when ``ending`` came first; stopped, all of it, when the block ends."""
    os.umask(_PRIVATE_UMASK)
    state.prepare()
    with state.locked():
        ports.demand(options.port, options.host)
        shown = None

        def changed() -> None:
            if shown is not None:
                shown.changed()

        stack = Stack(state, options, changed)
        with display(console, lambda: stack.children) as shown:
            start = asyncio.create_task(stack.start())
            try:
                await _first_of(ending.wait(), start)
            except BaseException:
                await stack.stop()
                raise
        try:
            yield stack if start.done() and not ending.is_set() else None
        finally:
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            with display(console, lambda: stack.children) as shown:
                await stack.stop()
            state.endpoint_file.unlink(missing_ok=True)


def _keep_endpoint(state: State, url: str) -> None:
    write_json(state.endpoint_file, {"url": url, "token_file": str(state.token_file), "pid": os.getpid()})


def _ending() -> asyncio.Event:
    """Set by the signals that ask the command to end."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ending.set)
    return ending


async def _first_of(waiting, work) -> None:  # type: ignore[no-untyped-def]
    """Wait for either; an error of ``work`` is raised."""
    wait = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait({wait, work}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        wait.cancel()
