"""Calls that never pause while the demo runs: what they lose, a rotation lost."""

import asyncio
from types import TracebackType
from typing import Self

from interlock_cli.demo.clients import mcp_client

_TOOL = "weather-current_weather"
_PAUSE = 0.02


class BackgroundCalls:
    """A client that calls a tool again and again; an async context manager."""

    def __init__(self, url: str, token: str) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._url = url
        self._token = token
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="background calls")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async with mcp_client(self._url, self._token) as client:
            while True:
                self.calls += 1
                try:
                    result = await client.call_tool(_TOOL, {"city": "Oslo"})
                    if result.is_error:
                        self.failures.append("the tool answered an error")
                except Exception as error:  # noqa: BLE001 - whatever it is, it is a lost call, and is counted and shown
                    self.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(_PAUSE)
