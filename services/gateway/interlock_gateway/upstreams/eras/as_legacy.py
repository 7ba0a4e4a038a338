"""An upstream of the stateless era, as a client of the handshake era sees it.

``input_required`` becomes requests to the client, one after the other; their results go back with the same request,
asked anew. MCP 2026-07-28, multi-round-trip requests.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.held.request_state import RESPONSES, STATE
from interlock_gateway.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, Envelope, ErrorObject, RpcError
from interlock_gateway.upstreams.eras.declared import ASKABLE, ELICIT, lacking, names
from interlock_gateway.upstreams.eras.legacy_words import legacy_response
from interlock_gateway.upstreams.transport import Exchange, UpstreamRequest

_ROUNDS = 20
_MAX_REQUESTS = 32
_PAUSES = (0.1, 0.5, 1.0, 2.0)
"""Seconds before a request is asked anew that only has a state to bring back: the upstream wants time, not input."""

type Open = Callable[[UpstreamRequest], AbstractAsyncContextManager[Exchange]]

_encode = msgspec.json.encode


class _InputRequest(msgspec.Struct, frozen=True):
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


class _Result(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a result that say whether it is one."""

    result_type: str = "complete"
    input_requests: dict[str, _InputRequest] = {}
    request_state: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_results = msgspec.json.Decoder(_Result)


class Unanswered(Exception):
    """The client cannot, or does not want to, give the upstream what it needs; ``error`` is what it is told."""

    def __init__(self, error: ErrorObject) -> None:
        super().__init__(error.message)
        self.error = error


@asynccontextmanager
async def as_legacy(open_exchange: Open, request: UpstreamRequest) -> AsyncGenerator["AsLegacy"]:
    """Ask an upstream of the stateless era, as often as it takes."""
    exchange = AsLegacy(open_exchange, request)
    try:
        yield exchange
    finally:
        await exchange.close()


class AsLegacy:
    """One request of a client; iterated once."""

    def __init__(self, open_exchange: Open, request: UpstreamRequest) -> None:
        self._open = open_exchange
        self._request = request
        self._messages: AsyncGenerator[bytes] | None = None
        self._given: Envelope | None = None
        self._asked = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._messages = self._rounds()
        return self._messages

    async def answer(self, message: bytes) -> None:
        """Take the client's response to the request that was yielded last."""
        self._given = jsonrpc.parse(message)

    async def close(self) -> None:
        """Cancel what runs at the upstream."""
        if self._messages is not None:
            await self._messages.aclose()

    async def _rounds(self) -> AsyncGenerator[bytes]:
        request = self._request
        for number in range(_ROUNDS):
            response: Envelope | None = None
            async with self._open(request) as exchange:
                async for message in exchange:
                    envelope = self._parse(message)
                    if envelope.method is None:
                        response = envelope
                    elif isinstance(envelope.id, msgspec.UnsetType):
                        yield message
                    else:
                        raise UpstreamMisbehaved(f"upstream {self._name} asks, which its era does not know")
            if response is None:
                raise UpstreamMisbehaved(f"upstream {self._name} ended its answer without a result")
            needed = self._needed(response)
            if needed is None:
                yield legacy_response(response, self._request.method)
                return
            responses: dict[str, msgspec.Raw] = {}
            try:
                for key, asked in needed.input_requests.items():
                    yield self._question(key, asked)
                    responses[key] = self._result_of(asked)
            except Unanswered as unanswered:
                yield jsonrpc.failure(response_id(response), unanswered.error)
                return
            if not responses:
                await asyncio.sleep(_PAUSES[min(number, len(_PAUSES) - 1)])
            request = replace(request, params=self._again(responses, needed.request_state))
        raise UpstreamMisbehaved(f"upstream {self._name} wants input over and over: {_ROUNDS} times by now")

    @property
    def _name(self) -> str:
        return self._request.upstream.name

    def _needed(self, response: Envelope) -> _Result | None:
        """What a result asks for; None for one that is a result."""
        if not isinstance(response.result, msgspec.Raw) or b"input_required" not in bytes(response.result):
            return None
        try:
            result = _results.decode(response.result)
        except (msgspec.DecodeError, RecursionError):
            raise UpstreamMisbehaved(f"upstream {self._name} wants input that does not fit the protocol") from None
        if result.result_type != "input_required":
            return None
        if len(result.input_requests) > _MAX_REQUESTS:
            raise UpstreamMisbehaved(f"upstream {self._name} asks more than {_MAX_REQUESTS} things at once")
        if not result.input_requests and result.request_state is msgspec.UNSET:
            raise UpstreamMisbehaved(f"upstream {self._name} wants input, and does not say which")
        return result

    def _question(self, key: str, asked: _InputRequest) -> bytes:
        """The request that is put to the client; raises Unanswered where the client said that it cannot."""
        if asked.method not in ASKABLE:
            raise UpstreamMisbehaved(f"upstream {self._name} wants what no client knows: {asked.method[:64]}")
        required = lacking(asked.method, bytes(asked.params), self._request.capabilities)
        if required:
            text = f"this needs what the client did not declare: {names(required)}"
            raise Unanswered(ErrorObject(INVALID_REQUEST, text, {"requiredCapabilities": required}))
        self._given = None
        self._asked += 1
        return jsonrpc.request(self._asked, asked.method, _params_of(key, asked))

    def _result_of(self, asked: _InputRequest) -> msgspec.Raw:
        given = self._given
        if given is None:
            raise UpstreamMisbehaved(f"upstream {self._name} asked {asked.method}, and nobody passed the answer on")
        if isinstance(given.result, msgspec.Raw):
            return given.result
        error = jsonrpc.members(given.error if isinstance(given.error, msgspec.Raw) else msgspec.Raw(b"{}"), "error")
        text = f"the client did not answer {asked.method}, which upstream {self._name} needs"
        raise Unanswered(ErrorObject(INTERNAL_ERROR, text, {"error": error}))

    def _again(self, responses: dict[str, msgspec.Raw], state: msgspec.Raw | msgspec.UnsetType) -> bytes:
        params = jsonrpc.members(msgspec.Raw(self._request.params))
        params[RESPONSES] = msgspec.Raw(_encode(responses))
        if isinstance(state, msgspec.Raw):
            params[STATE] = state
        return _encode(params)

    def _parse(self, message: bytes) -> Envelope:
        try:
            return jsonrpc.parse(message)
        except RpcError as error:
            raise UpstreamMisbehaved(f"upstream {self._name} sent what is not JSON-RPC: {error}") from None


def response_id(response: Envelope) -> jsonrpc.Id:
    return None if isinstance(response.id, msgspec.UnsetType) else response.id


def _params_of(key: str, asked: _InputRequest) -> bytes:
    """As they are, but for the id that the handshake era wants for a page (MCP 2025-11-25, elicitation in URL mode)."""
    if asked.method != ELICIT or b'"url"' not in bytes(asked.params):
        return bytes(asked.params)
    params = jsonrpc.members(asked.params)
    if bytes(params.get("mode", b"")) == b'"url"' and "elicitationId" not in params:
        params["elicitationId"] = msgspec.Raw(_encode(f"{key[:64]}-{secrets.token_hex(8)}"))
        return _encode(params)
    return bytes(asked.params)
