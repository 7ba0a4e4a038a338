"""``interlock up``: the whole gateway on this machine, until a signal ends it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from rich.console import Console

from interlock_cli import ports
from interlock_cli.administration import Administration
from interlock_cli.display import Display, PlainLines, display, show_ready
from interlock_cli.errors import Interrupted
from interlock_cli.stack import Options, Stack
from interlock_cli.state import State, write_json
from interlock_common.clock import SYSTEM_CLOCK

_PRIVATE_UMASK = 0o077


async def up(state: State, options: Options, *, as_json: bool) -> None:
    """Start the stack, say how to reach it, and keep it until a signal; raises CommandError, Interrupted."""
    began = SYSTEM_CLOCK.monotonic()
    async with running(state, options, Console(stderr=True, quiet=as_json), ending_signals()) as stack:
        token = await asyncio.to_thread(Administration(stack.placement).token)
        url, seconds = stack.placement.url, SYSTEM_CLOCK.monotonic() - began
        ca = stack.placement.ca
        trusted = {"ca": str(ca)} if ca is not None else {}
        endpoint = {"url": url, "token_file": str(state.token_file), "pid": os.getpid()} | trusted
        write_json(state.endpoint_file, endpoint)
        if as_json:
            ready = {
                "url": url,
                "token": token,
                "pid": os.getpid(),
                "state": str(state.root),
                "seconds": seconds,
            } | trusted
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
        else:
            show_ready(Console(), url, token, seconds, ca)
        await asyncio.Future[None]()  # until a signal or the failure of a process cancels it


@asynccontextmanager
async def running(state: State, options: Options, console: Console, ending: asyncio.Event) -> AsyncGenerator[Stack]:
    """A stack that is ready; all of it is stopped when the block ends, and the block ends when ``ending`` is set.

    Raises CommandError when it cannot be started or kept up, Interrupted when ``ending`` was set.
    """
    if not state.exists():
        ports.demand(options.port, options.host)
    os.umask(_PRIVATE_UMASK)
    state.prepare()
    with state.locked():
        ports.demand(options.port, options.host)
        shown = _Shown()
        stack = Stack(state, options, shown.changed)
        try:
            async with _until(ending, stack.failure):
                with display(console, lambda: stack.children) as shown.display:
                    await stack.start()
                shown.display = PlainLines(console, lambda: stack.children)
                yield stack
        finally:
            state.endpoint_file.unlink(missing_ok=True)
            with display(console, lambda: stack.children) as shown.display:
                await stack.stop()


class _Shown:
    """The display of the moment."""

    display: Display | None = None

    def changed(self) -> None:
        if self.display is not None:
            self.display.changed()


def ending_signals() -> asyncio.Event:
    """Set by the signals that ask the command to end."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ending.set)
    return ending


@asynccontextmanager
async def _until(ending: asyncio.Event, failure: asyncio.Future[None]) -> AsyncGenerator[None]:
    """Cancel what runs in the block when ``ending`` is set or ``failure`` has an error, and raise what it was."""
    task = asyncio.current_task()
    if task is None:  # only a coroutine that runs in a task can be cancelled
        raise RuntimeError("there is no task to cancel")
    signalled = asyncio.create_task(ending.wait())
    for event in (signalled, failure):
        event.add_done_callback(lambda done: None if done.cancelled() else task.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if not (failure.done() or signalled.done()):
            raise
        task.uncancel()
        if failure.done():
            failure.result()
        raise Interrupted("interrupted") from None
    finally:
        signalled.cancel()
        failure.cancel()
