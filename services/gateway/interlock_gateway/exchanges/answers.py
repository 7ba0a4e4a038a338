"""What whoever holds a conversation answers on the bus: what is asked about it here, everything else the server."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from interlock_common.errors import Unavailable, UpstreamFailed
from interlock_common.messages.gateway import DESCRIBE, END_SESSION, LISTEN, NOTIFY
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import Envelope, RpcError
from interlock_gateway.upstreams.pipes.conversation import Conversation
from interlock_gateway.upstreams.transport import Exchange

_MAX_URIS = 1000


class _Listen(msgspec.Struct, frozen=True):
    uris: tuple[str, ...] = ()


class Said:
    """An exchange that has nothing but its response."""

    def __init__(self, request: Envelope, result: bytes = b"{}") -> None:
        self._answer = jsonrpc.answer(id_of(request), result)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._answer

    async def answer(self, message: bytes) -> None:
        del message
        raise UpstreamFailed("nothing was asked")


class _Listening(Said):
    """Stays subscribed until the server has ended."""

    def __init__(self, request: Envelope, conversation: Conversation, uris: tuple[str, ...]) -> None:
        super().__init__(request)
        self._conversation = conversation
        self._uris = uris

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self._conversation.subscribe(self._uris)
        yield self._answer


def parsed(payload: bytes) -> Envelope:
    """The request of an exchange; raises UpstreamFailed for what is none."""
    try:
        request = jsonrpc.parse(payload)
    except RpcError as error:
        raise UpstreamFailed(f"what was asked is no request: {error}") from None
    if request.method is None or request.id is msgspec.UNSET:
        raise UpstreamFailed("what was asked is no request")
    return request


def id_of(request: Envelope) -> jsonrpc.Id:
    return None if isinstance(request.id, msgspec.UnsetType) else request.id


@asynccontextmanager
async def answering(conversation: Conversation, payload: bytes) -> AsyncGenerator[Exchange]:
    """The exchange that answers ``payload`` from ``conversation``."""
    request = parsed(payload)
    if request.method == DESCRIBE:
        if conversation.description is None:
            raise Unavailable("the server has not said yet what it is")
        yield Said(request, msgspec.json.encode(conversation.description))
    elif request.method == LISTEN:
        yield _Listening(request, conversation, _uris(request))
    elif request.method == NOTIFY:
        await conversation.pass_on(bytes(request.params))
        yield Said(request)
    elif request.method == END_SESSION:
        yield Said(request)
    else:
        async with conversation.open(payload) as exchange:
            yield exchange


def _uris(request: Envelope) -> tuple[str, ...]:
    try:
        uris = msgspec.json.decode(request.params, type=_Listen).uris
    except msgspec.DecodeError as error:
        raise UpstreamFailed(f"{LISTEN} does not fit its contract: {error}") from None
    if len(uris) > _MAX_URIS:
        raise UpstreamFailed(f"{LISTEN} takes at most {_MAX_URIS} resources")
    return uris
