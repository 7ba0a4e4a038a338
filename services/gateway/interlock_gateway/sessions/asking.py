"""Asking clients of the handshake era: a request on the stream of one of theirs, answered at whichever edge."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from typing import Protocol

import msgspec

from interlock_common.bus import Bus
from interlock_common.errors import InterlockError, NotFound
from interlock_common.messages.common import Empty
from interlock_common.messages.gateway import ClientAnswer
from interlock_common.messages.subjects import edge
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, Envelope, RpcError
from interlock_gateway.sessions.registry import OpenSession

ANSWER = "answer"
_ASKED_ID = re.compile(r"([0-9a-f]{8})\.[0-9a-f]{32}")
_ROUTE_SECONDS = 5.0
_NEEDS: Mapping[str, str] = {
    "sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots",
}  # fmt: skip

type Members = Mapping[str, msgspec.Raw]


class Stream(Protocol):
    """The stream of the request that the question belongs to."""

    async def event(self, data: bytes) -> None: ...


class Asking:
    """The requests of this edge to clients; ``patience`` seconds for each, as there may be people who answer."""

    def __init__(self, bus: Bus, *, patience: float) -> None:
        self.instance = bus.instance
        self._bus = bus
        self._patience = patience
        self._asked: dict[str, tuple[str, asyncio.Future[bytes]]] = {}

    async def ask(self, session: OpenSession, stream: Stream, method: str, params: bytes) -> bytes:
        """The client's response, a whole message; raises RpcError where it cannot be asked, or does not answer."""
        _check_capability(session, method, params)
        asked_id = f"{self.instance}.{secrets.token_hex(16)}"
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[asked_id] = (session.key, answered)
        try:
            await stream.event(jsonrpc.request(asked_id, method, params))
            async with asyncio.timeout(self._patience):
                return await answered
        except TimeoutError:
            said = msgspec.json.encode({"requestId": asked_id, "reason": "it took too long"})
            await stream.event(jsonrpc.notification("notifications/cancelled", said))
            raise RpcError(INTERNAL_ERROR, f"the client did not answer within {self._patience:g} s") from None
        finally:
            del self._asked[asked_id]

    async def answered(self, session: OpenSession, envelope: Envelope) -> None:
        """Take what a client answered to the edge that asked; raises RpcError where nobody asked, or not any more."""
        asked_id = envelope.id
        match = _ASKED_ID.fullmatch(asked_id) if isinstance(asked_id, str) else None
        if match is None or not isinstance(asked_id, str):
            raise RpcError(INVALID_REQUEST, "nothing was asked under this id", status=404)
        answer = ClientAnswer(session.key, asked_id, msgspec.Raw(_message(asked_id, envelope)))
        try:
            if match[1] == self.instance:
                await self.take(answer)
            else:
                await self._bus.request(edge(match[1], ANSWER), answer, Empty, timeout=_ROUTE_SECONDS)
        except InterlockError as error:
            gone = "nothing is asked under this id any more"
            raise RpcError(INVALID_REQUEST, gone, status=404, data={"code": error.code}) from None

    async def take(self, answer: ClientAnswer) -> Empty:
        """Give an answer to whoever waits for it; raises NotFound for what this session was not asked."""
        session, answered = self._asked.get(answer.id, ("", None))
        if answered is None or session != answer.session or answered.done():
            raise NotFound("nothing is asked under this id any more")
        answered.set_result(bytes(answer.message))
        return Empty()


def _message(asked_id: str, envelope: Envelope) -> bytes:
    if isinstance(envelope.error, msgspec.Raw):
        return jsonrpc.failure(asked_id, envelope.error)
    if isinstance(envelope.result, msgspec.Raw):
        return jsonrpc.answer(asked_id, bytes(envelope.result))
    raise RpcError(INVALID_REQUEST, "the body has neither a method, nor a result, nor an error", status=400)


def _check_capability(session: OpenSession, method: str, params: bytes) -> None:
    """Raises RpcError with -32601 for what the client did not say it can do."""
    needed = _NEEDS.get(method)
    capabilities = _object(session.record.capabilities)
    if needed is None or needed not in capabilities:
        raise RpcError(METHOD_NOT_FOUND, f"the client does not take {method}")
    if needed == "elicitation":
        modes = _object(capabilities[needed])
        mode = _text(_object(msgspec.Raw(params)).get("mode")) or "form"
        if mode not in (modes or {"form": b""}):  # without a mode named, it is forms
            raise RpcError(METHOD_NOT_FOUND, f"the client does not take {method} of mode {mode[:16]}")


def _object(raw: msgspec.Raw) -> Members:
    try:
        return jsonrpc.members(raw)
    except RpcError:
        return {}


def _text(raw: msgspec.Raw | None) -> str:
    try:
        return jsonrpc.string(raw, "mode")
    except RpcError:
        return ""
