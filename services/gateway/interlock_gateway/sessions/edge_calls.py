"""What other edges ask of this one alone, each question answered once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_common import problem
from interlock_common.bus import Bus
from interlock_common.endpoints import ERROR_CODE_HEADER, ERROR_HEADER
from interlock_common.errors import InterlockError, InvalidInput, Unavailable
from interlock_common.messages.subjects import edge
from interlock_common.subscriptions import Subscriptions

_log = structlog.get_logger()
_MAX_RUNNING = 1000
_REMEMBERED = 1000


class EdgeCalls:
    """Answers ``mcp.edge.<instance>.<verb>``."""

    def __init__(self, bus: Bus, subscriptions: Subscriptions) -> None:
        self._bus = bus
        self._subscriptions = subscriptions
        self._running: set[asyncio.Task[None]] = set()
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def answer[Req: msgspec.Struct](
        self, verb: str, kind: type[Req], handler: Callable[[Req], Awaitable[msgspec.Struct]]
    ) -> None:
        decoder = msgspec.json.Decoder(kind)

        def take(message: Msg) -> None:
            if len(self._running) < _MAX_RUNNING and self._first(message.reply):
                task = asyncio.create_task(self._serve(message, decoder, handler), name=f"edge {verb}")
                self._running.add(task)
                task.add_done_callback(self._running.discard)

        await self._subscriptions.add(edge(self._bus.instance, verb), take)

    async def stop(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)

    def _first(self, reply: str) -> bool:
        """Whether a question is new: while the connection changes it comes over both."""
        if reply in self._seen:
            return False
        self._seen[reply] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    async def _serve[Req: msgspec.Struct](
        self, message: Msg, decoder: msgspec.json.Decoder[Req], handler: Callable[[Req], Awaitable[msgspec.Struct]]
    ) -> None:
        headers: dict[str, str] | None = None
        try:
            data = msgspec.json.encode(await handler(decoder.decode(message.data)))
        except (InterlockError, msgspec.DecodeError) as error:
            misfit = InvalidInput("the request does not fit its contract")
            document = problem.problem_of(error if isinstance(error, InterlockError) else misfit)
            data = problem.encode(document)
            headers = {ERROR_HEADER: document.title, ERROR_CODE_HEADER: str(document.status)}
        try:
            async with self._bus.lease() as client:
                await client.publish(message.reply, data, headers=headers)
        except (NatsError, Unavailable) as error:
            _log.warning("another edge got no answer", subject=message.subject, error=type(error).__name__)
