"""A request of the handshake era together with what its upstream says beside the answer."""

import asyncio
from typing import Self

from interlock_gateway.upstreams.http.exchange import HttpExchange
from interlock_gateway.upstreams.http.session_streams import Aside


class Accompanied:
    """As the exchange it is made of; that runs in a task, so that a question can come before its headers do."""

    def __init__(self, exchange: HttpExchange, aside: Aside) -> None:
        self._exchange = exchange
        self._aside = aside
        self._entered = False
        self._next: asyncio.Task[bytes | None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        self._aside.leave()
        self._aside.inbox.discard()
        if self._entered:
            await self._exchange.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        inbox = self._aside.inbox
        while True:
            message = inbox.take()
            if message is not None:
                return message
            if self._next is None:
                self._next = asyncio.create_task(self._advance(), name="answer of an upstream")
                self._next.add_done_callback(lambda _: inbox.wake())
            elif self._next.done():
                message, self._next = self._next.result(), None
                if message is None:
                    raise StopAsyncIteration
                return message
            await inbox.something()

    async def answer(self, message: bytes) -> None:
        """POST the response to a request of the upstream, wherever it asked."""
        await self._exchange.answer(message)

    async def _advance(self) -> bytes | None:
        """The next message of the exchange; None after its last."""
        if not self._entered:
            await self._exchange.__aenter__()
            self._entered = True
        return await anext(self._exchange, None)
