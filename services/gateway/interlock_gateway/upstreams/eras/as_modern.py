"""A call of an upstream of the handshake era, as a client of the stateless one sees it.

What the upstream asks becomes an ``input_required`` result, and the call waits (``held/holding.py``) until the client
comes back with the responses. MCP 2026-07-28, multi-round-trip requests.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.held.holding import Holding
from interlock_gateway.held.request_state import STATE
from interlock_gateway.jsonrpc import INVALID_REQUEST, METHOD_NOT_FOUND, Envelope, RpcError
from interlock_gateway.upstreams.eras.declared import ASKABLE, Required, is_response, lacking, names
from interlock_gateway.upstreams.eras.detached import Detached
from interlock_gateway.upstreams.eras.modern_words import modern_response
from interlock_gateway.upstreams.transport import UpstreamRequest

_QUIET_SECONDS = 0.05
"""How long an upstream that has asked must say nothing until the client is asked: it may ask several things at once."""
_PATIENCE_SECONDS = 0.5
"""How long the client waits to be asked at most, whatever else the upstream says meanwhile."""
_MAX_OPEN = 32
_MAY_ASK = frozenset({"tools/call", "resources/read", "prompts/get"})
"""The requests that ``input_required`` may answer."""
_PASSED = frozenset({"notifications/progress", "notifications/message"})
"""The notifications that belong to a request; others have streams of their own in the stateless era."""

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class _Question:
    """What the upstream asked, under its id, and has not been answered yet."""

    id: jsonrpc.Id
    method: str
    params: msgspec.Raw


class ModernCall:
    """One call, from its first request over any number of rounds to its response."""

    def __init__(
        self, request: UpstreamRequest, exchange: Detached, holding: "Holding[ModernCall]", *, declined: bool = False
    ) -> None:
        self.hold = ""
        self.request = request
        self._exchange = exchange
        self._holding = holding
        self._declined = declined
        self._questions: dict[str, _Question] = {}
        self._asked = 0
        self._ask_by = 0.0
        self._lacking: Required = {}

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._round()

    async def answer(self, message: bytes) -> None:
        """Nothing is asked of these clients but in results."""
        del message
        raise UpstreamMisbehaved(f"upstream {self._name} takes its answers with the next request")

    async def respond(self, responses: Mapping[str, msgspec.Raw]) -> None:
        """Give the upstream what the client brought; what it did not bring, or not in shape, is asked again."""
        for key, question in list(self._questions.items()):
            response = responses.get(key)
            if response is not None and is_response(question.method, response):
                del self._questions[key]
                await self._exchange.answer(jsonrpc.answer(question.id, bytes(response)))

    async def leave(self) -> None:
        """The request that drives the call is over: unless it waits for the next, the call is too."""
        if not self._holding.waits(self):
            await self.close()

    async def close(self) -> None:
        self._holding.forget(self)
        await self._exchange.close()

    @property
    def _name(self) -> str:
        return self.request.upstream.name

    async def _round(self) -> AsyncGenerator[bytes]:
        """Notifications, and last a response: the upstream's own, or one that asks for input."""
        self._ask_by = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while (message := await self._next()) is not None:
            envelope = self._parse(message)
            if envelope.method is None:
                yield modern_response(
                    message, envelope, self.request, undeclared=self._lacking, declined=self._declined
                )
                return
            if not isinstance(envelope.id, msgspec.UnsetType):
                await self._take_question(envelope, envelope.id)
            elif envelope.method in _PASSED:
                yield message
            elif envelope.method == "notifications/cancelled":
                self._withdraw(envelope)
        yield self._input_required()

    async def _next(self) -> bytes | None:
        """The next message; None when the upstream waits for what it asked."""
        now = asyncio.get_running_loop().time()
        if self._questions and now >= self._ask_by:
            return None
        until = min(now + _QUIET_SECONDS, self._ask_by) if self._questions else None
        quiet = asyncio.timeout_at(until)
        try:
            async with quiet:
                message = await self._exchange.next()
        except TimeoutError:
            if not quiet.expired():
                raise
            return None
        if message is None:
            raise UpstreamMisbehaved(f"upstream {self._name} ended its answer without a result")
        return message

    async def _take_question(self, envelope: Envelope, upstream_id: jsonrpc.Id) -> None:
        method = envelope.method or ""
        refusal = self._refusal(method, bytes(envelope.params))
        if refusal is not None:
            await self._exchange.answer(jsonrpc.failure(upstream_id, refusal))
            return
        if not self._questions:
            self._ask_by = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        self._asked += 1
        key = f"{method.partition('/')[0]}-{self._asked}"
        self._questions[key] = _Question(upstream_id, method, envelope.params)

    def _refusal(self, method: str, params: bytes) -> jsonrpc.ErrorObject | None:
        """Why the client cannot be asked this; None when it can."""
        if method not in ASKABLE or self.request.method not in _MAY_ASK:
            return jsonrpc.ErrorObject(METHOD_NOT_FOUND, f"the client cannot be asked {method[:64]} here")
        if missing := lacking(method, params, self.request.capabilities):
            self._lacking |= missing
            return jsonrpc.ErrorObject(METHOD_NOT_FOUND, f"the client did not declare {names(missing)}")
        if len(self._questions) >= _MAX_OPEN:
            return jsonrpc.ErrorObject(INVALID_REQUEST, f"{_MAX_OPEN} requests to the client are open already")
        return None

    def _withdraw(self, envelope: Envelope) -> None:
        """The upstream does not need an answer any more."""
        try:
            cancelled = jsonrpc.members(envelope.params).get("requestId")
        except RpcError:
            return
        for key, question in list(self._questions.items()):
            if cancelled is not None and _encode(question.id) == bytes(cancelled):
                del self._questions[key]

    def _input_required(self) -> bytes:
        state = self._holding.keep(self)
        requests = {
            key: {"method": question.method, "params": question.params} for key, question in self._questions.items()
        }
        result = {"resultType": "input_required", "inputRequests": requests, STATE: state}
        return jsonrpc.answer(None, _encode(result))

    def _parse(self, message: bytes) -> Envelope:
        try:
            return jsonrpc.parse(message)
        except RpcError as error:
            raise UpstreamMisbehaved(f"upstream {self._name} sent what is not JSON-RPC: {error}") from None
