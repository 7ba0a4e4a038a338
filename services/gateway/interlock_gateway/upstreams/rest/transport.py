"""REST endpoints as tools: each call is one HTTP request, and what it answers is the result.

Failures that the model can do something about (arguments that do not fit, an HTTP error) are results with
``isError``; a way that fails is UpstreamUnreachable, as with every other kind of upstream.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol

import aiohttp
import msgspec
from yarl import URL

from interlock_common import telemetry
from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import Definition, Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.upstreams.connections import Way, Ways
from interlock_gateway.upstreams.rest.arguments import ArgumentChecks
from interlock_gateway.upstreams.rest.request import HttpRequest, build
from interlock_gateway.upstreams.rest.result import HttpAnswer, failed, result_of
from interlock_gateway.upstreams.room import Share
from interlock_gateway.upstreams.transport import Exchange, UpstreamRequest

MAX_HOPS = 3
"""Redirects that are followed: of GET requests, within the origin."""

_ACCEPT = "application/json, text/*;q=0.8, image/*;q=0.7, */*;q=0.1"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AWAY = frozenset({502, 503, 504})
"""What says that the API is not there; 500 may be about one call only."""
_MAX_TABLES = 1024

type _Tools = dict[str, Definition]


class Credentials(Protocol):
    """What an upstream is shown on behalf of a principal."""

    async def headers(self, upstream: Upstream, principal: str) -> Mapping[str, str]: ...

    def invalid(self, upstream: Upstream, principal: str, challenge: str = "") -> bool:
        """The upstream refused what it was shown; answers whether to try again."""
        ...


class _Params(msgspec.Struct, frozen=True):
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


_params = msgspec.json.Decoder(_Params)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RestTransport:
    """The way to upstreams of transport ``rest``."""

    def __init__(self, ways: Ways, credentials: Credentials) -> None:
        self._ways = ways
        self._credentials = credentials
        self._checks = ArgumentChecks()
        self._ids = itertools.count(1)
        self._tools: OrderedDict[str, tuple[Upstream, _Tools]] = OrderedDict()

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncGenerator[Exchange]:
        """One call; it is sent as the exchange is read, and leaving the block before that has ended it drops it."""
        yield _RestExchange(self, request)

    @asynccontextmanager
    async def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Nothing, until the block is left: a REST endpoint says nothing by itself."""
        del upstream, principal, session_key, uris
        yield _silence()

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        """REST endpoints ask nothing of a client, and are told nothing."""

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        """REST endpoints have no sessions."""

    async def respond(self, request: UpstreamRequest) -> bytes:
        """The JSON-RPC response to ``request``; raises UpstreamUnreachable and UpstreamMisbehaved."""
        request_id = next(self._ids)
        if request.method != "tools/call":
            error = jsonrpc.ErrorObject(jsonrpc.METHOD_NOT_FOUND, f"a REST upstream has no {request.method}")
            return jsonrpc.failure(request_id, error)
        tool = self._tool(request.upstream, request.name)
        if tool is None:
            error = jsonrpc.ErrorObject(jsonrpc.INVALID_PARAMS, f"Unknown tool: {request.name}")
            return jsonrpc.failure(request_id, error)
        return jsonrpc.answer(request_id, await self._call(request, tool))

    def _tool(self, upstream: Upstream, name: str) -> Definition | None:
        """The definition of a tool that has a call, looked up in a table made once for each version of the upstream."""
        known = self._tools.get(upstream.id)
        if known is None or known[0] is not upstream:
            known = upstream, {tool.name: tool for tool in upstream.tools if tool.name in upstream.rest}
            self._tools[upstream.id] = known
            if len(self._tools) > _MAX_TABLES:
                self._tools.popitem(last=False)
        return known[1].get(name)

    async def _call(self, request: UpstreamRequest, tool: Definition) -> bytes:
        upstream = request.upstream
        call = upstream.rest[tool.name]
        try:
            decoded, arguments = _arguments_of(request.params)
            self._checks.check(tool, decoded)
            http_request = build(upstream.url, call, arguments)
        except InvalidInput as error:
            return failed(error.detail)
        way = self._ways.of(upstream)
        with way.share() as share:
            answer = await self._ask(way, share, http_request, await self._headers(request, http_request))
            refused = answer.status == HTTPStatus.UNAUTHORIZED
            if refused and self._credentials.invalid(upstream, request.principal, answer.challenge):
                answer = await self._ask(way, share, http_request, await self._headers(request, http_request))
            return result_of(upstream.name, call.result, answer)

    async def _headers(self, request: UpstreamRequest, http_request: HttpRequest) -> dict[str, str]:
        """The headers of the call; what the gateway says wins over what arguments say, however it is spelt."""
        ours = telemetry.inject(dict(await self._credentials.headers(request.upstream, request.principal)))
        taken = {name.lower() for name in ours}
        theirs = {name: value for name, value in http_request.headers.items() if name.lower() not in taken}
        if not any(name.lower() == "accept" for name in theirs):
            theirs["Accept"] = _ACCEPT
        return theirs | ours

    async def _ask(self, way: Way, share: Share, request: HttpRequest, headers: Mapping[str, str]) -> HttpAnswer:
        probe = await way.enter()
        try:
            async with asyncio.timeout(way.call_timeout):
                answer = await _follow(way, share, request, headers)
            if answer.status in _AWAY:
                way.breaker.failed()
            else:
                way.breaker.succeeded()
        except TimeoutError as error:
            raise way.broken(error) from None
        finally:
            way.leave(probe=probe)
        return answer


class _RestExchange:
    """A call of a REST endpoint: one response, and nothing on the way."""

    def __init__(self, transport: RestTransport, request: UpstreamRequest) -> None:
        self._transport = transport
        self._request = request

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        yield await self._transport.respond(self._request)

    async def answer(self, message: bytes) -> None:
        """REST endpoints ask nothing, so nothing can be answered."""


async def _silence() -> AsyncGenerator[bytes]:
    await asyncio.Event().wait()
    yield b""


def _arguments_of(params: bytes) -> tuple[object, dict[str, msgspec.Raw]]:
    """The arguments as values and as they were written; raises InvalidInput."""
    try:
        arguments = bytes(_params.decode(params).arguments).strip()
        if arguments == b"null":
            return {}, {}
        return msgspec.json.decode(arguments), _members.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("arguments are a JSON object") from None


async def _follow(way: Way, share: Share, request: HttpRequest, headers: Mapping[str, str]) -> HttpAnswer:
    url = request.url
    hops = 0
    while True:
        response = await way.send(request.method, headers, request.body, within=way.idle_timeout, url=url)
        try:
            target = _target(request, response, url)
            if target is None or hops == MAX_HOPS:
                return await _read(way, share, response)
        finally:
            response.close()
        url = target
        hops += 1


def _target(request: HttpRequest, response: aiohttp.ClientResponse, url: URL) -> URL | None:
    """Where a redirect leads, if it may be followed: a GET request stays a GET, within the origin that was checked."""
    location = response.headers.get("Location")
    if request.method != "GET" or response.status not in _REDIRECTS or not location:
        return None
    try:
        target = url.join(URL(location)).with_fragment(None)
        same = target.origin() == url.origin() and target.user is None and target.password is None
    except ValueError:
        return None
    return target if same else None


async def _read(way: Way, share: Share, response: aiohttp.ClientResponse) -> HttpAnswer:
    """The body, within the bounds of the way; raises UpstreamMisbehaved and UpstreamUnreachable, NoRoom as one."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UpstreamMisbehaved(f"upstream {way.name} answers compressed, though it was asked not to")
    body = bytearray()
    try:
        chunks = response.content.iter_any()
        while True:
            async with asyncio.timeout(way.idle_timeout):
                chunk = await anext(chunks, b"")
            if not chunk:
                break
            body += chunk
            if len(body) > way.max_answer:
                raise UpstreamMisbehaved(f"the answer of upstream {way.name} is over {way.max_answer} bytes")
            share.hold(len(body))
    except (aiohttp.ClientError, OSError) as error:
        raise way.broken(error) from None
    return HttpAnswer(
        status=response.status,
        content_type=response.content_type.lower(),
        charset=(response.charset or "").lower(),
        body=bytes(body),
        retry_after=response.headers.get("Retry-After", ""),
        challenge=response.headers.get("WWW-Authenticate", ""),
    )
