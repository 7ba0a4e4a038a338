"""The processes of a connector, without any process."""

import asyncio

from interlock_gateway.connector.commands import Commands
from interlock_gateway.connector.processes import Bounds, Processes
from interlock_gateway.connector.warden import Warden


async def test_closing_ends_when_what_ends_is_done_but_not_yet_forgotten() -> None:
    processes = Processes(
        Commands((), None, max_line=1), Warden(), lambda _upstream, _message: None, Bounds(count=1, probe=1, start=1)
    )

    async def over() -> None:
        pass

    processes._later(over())  # pyright: ignore[reportPrivateUsage]
    await asyncio.sleep(0)  # it has run; its callback, which forgets it, has not
    async with asyncio.timeout(5):
        await processes.close()
