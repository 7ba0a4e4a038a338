"""Notifications that wait for their reader."""

import asyncio


class Pending:
    """In the order they came; one that waits already does not wait twice.

    So what waits is bounded by what there is to tell of: three lists, and the resources that are subscribed to.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, bytes], None] = {}
        self._some = asyncio.Event()

    def put(self, method: str, params: bytes) -> None:
        self._waiting[method, params] = None
        self._some.set()

    async def get(self) -> tuple[str, bytes]:
        """The method and the params of the notification that has waited longest."""
        await self._some.wait()
        first = next(iter(self._waiting))
        del self._waiting[first]
        if not self._waiting:
            self._some.clear()
        return first
