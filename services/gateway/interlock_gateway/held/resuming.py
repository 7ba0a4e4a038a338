"""Going on with a call that another edge holds, over the bus (``messages/gateway.py``, ``Resume``)."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from interlock_common import telemetry
from interlock_common.errors import InvalidInput
from interlock_common.messages import subjects
from interlock_common.messages.gateway import PRINCIPAL_HEADER, Resume
from interlock_common.subscriptions import Subscriptions
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamUnreachable
from interlock_gateway.exchanges.client import BusExchange, ExchangeClient
from interlock_gateway.exchanges.server import Asked, ExchangeServer
from interlock_gateway.held.holding import Holding
from interlock_gateway.held.request_state import HeldAt, gone
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.upstreams.transport import Exchange

_VERB = "resume"

type Responses = Mapping[str, msgspec.Raw]


class Resuming:
    """Both sides of it: what this edge holds for others, and what others hold for its clients."""

    def __init__(
        self, holding: Holding[ModernCall], client: ExchangeClient, server: ExchangeServer,
        subscriptions: Subscriptions,
    ) -> None:  # fmt: skip
        self.holding = holding
        self._client = client
        self._server = server
        self._subscriptions = subscriptions

    async def start(self) -> None:
        """Let other edges go on with what this one holds."""
        subject = subjects.edge(self.holding.edge, _VERB)
        await self._subscriptions.add(subject, lambda message: self._server.take(message, self._open))

    async def stop(self) -> None:
        """End what this edge holds."""
        await self.holding.stop()

    @asynccontextmanager
    async def elsewhere(self, held: HeldAt, principal: str, responses: Responses) -> AsyncGenerator[Exchange]:
        """Go on with a call at the edge that holds it; an edge that has ended holds nothing."""
        payload = msgspec.json.encode(Resume(held.hold, principal, msgspec.Raw(msgspec.json.encode(responses))))
        headers = telemetry.inject({PRINCIPAL_HEADER: principal})
        subject = subjects.edge(held.edge, _VERB)
        async with self._client.open(subject, payload, headers, "the edge that holds the call") as asked:
            yield _Elsewhere(asked)

    @asynccontextmanager
    async def _open(self, asked: Asked) -> AsyncGenerator[Exchange]:
        try:
            resume = msgspec.json.decode(asked.payload, type=Resume)
            responses = msgspec.json.decode(resume.responses, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            raise InvalidInput(f"what is to be resumed does not fit its contract: {error}") from None
        try:
            call = self.holding.resume(resume.hold, resume.principal)
        except RpcError as error:
            yield _Refused(error)
            return
        async with going_on(call, responses):
            yield call


@asynccontextmanager
async def going_on(call: ModernCall, responses: Responses) -> AsyncGenerator[Exchange]:
    """Give a call that waited what its client brought, and drive it for one more round."""
    try:
        await call.respond(responses)
        yield call
    finally:
        await call.leave()


class _Refused:
    """An exchange that only says why it is none."""

    def __init__(self, error: RpcError) -> None:
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield jsonrpc.failure(None, self._error.error)

    async def answer(self, message: bytes) -> None:
        """Nothing was asked."""


class _Elsewhere:
    """The exchange of another edge; one that does not say anything at all is not there any more."""

    def __init__(self, asked: BusExchange) -> None:
        self._asked = asked

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for message in self._asked:
                yield message
        except UpstreamUnreachable:
            if self._asked.answer_to:
                raise
            raise gone() from None

    async def answer(self, message: bytes) -> None:
        await self._asked.answer(message)
