"""Requests to upstreams over streamable HTTP, on pooled connections, in the era each of them speaks."""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import msgspec
from yarl import URL

from interlock_common import telemetry
from interlock_common.messages.catalog import Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.revisions import LEGACY, MODERN, encode_header
from interlock_gateway.upstreams.addresses import check_literal, upstream_connector
from interlock_gateway.upstreams.events import EventParser
from interlock_gateway.upstreams.transport import UpstreamRequest

_ACCEPT = "application/json, text/event-stream"
_CONNECT_SECONDS = 5.0
_HARD_LIMIT_SECONDS = 3600.0
_MAX_SESSIONS = 10_000
_INITIALIZE_BYTES = 1024 * 1024
_CLIENT = {"name": "interlock", "version": "0.1.0"}
_SESSION_GONE = frozenset({400, 404})


class _SessionLost(Exception):
    """The upstream does not know the session any more."""


class _Answered:
    def __init__(self, messages: AsyncGenerator[bytes]) -> None:
        self._messages = messages

    def __aiter__(self) -> AsyncGenerator[bytes]:
        return self._messages

    async def answer(self, message: bytes) -> None:
        raise NotImplementedError


class UpstreamClient:
    """Sends requests and yields the messages of each answer as they come."""

    def __init__(self, *, connections: int, idle_timeout: float, max_answer: int, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(
            total=_HARD_LIMIT_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=idle_timeout
        )
        self._max_answer = max_answer
        self._http: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)
        self._sessions: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._opening: dict[tuple[str, str], asyncio.Lock] = {}

    def start(self) -> None:
        self._http = aiohttp.ClientSession(
            connector=upstream_connector(allow_private=self._allow_private, limit=self._connections),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),  # nothing of one caller may reach the next
            auto_decompress=False,
        )

    async def stop(self) -> None:
        if self._http is not None:
            await self._http.close()

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncGenerator["_Answered"]:
        messages = self.messages(request)
        try:
            yield _Answered(messages)
        finally:
            await messages.aclose()

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        raise NotImplementedError

    async def messages(self, request: UpstreamRequest) -> AsyncGenerator[bytes]:
        """The messages of the answer: notifications as they come, then the response, as they were on the wire.

        Raises UpstreamUnreachable and UpstreamMisbehaved, which name the upstream.
        """
        try:
            async for message in self._attempt(request, again=True):
                yield message
        except _SessionLost:
            self._sessions.pop((request.upstream.id, request.session_key), None)
            async for message in self._attempt(request, again=False):
                yield message

    async def _attempt(self, request: UpstreamRequest, *, again: bool) -> AsyncGenerator[bytes]:
        """Send once; raises _SessionLost where the upstream forgot the session, if it may be tried ``again``."""
        body = jsonrpc.request(next(self._ids), request.method, request.params)
        async with self._post(request.upstream, body, await self._headers(request)) as response:
            self._check_status(request, response, again=again)
            if response.content_type == "text/event-stream":
                parser = EventParser(request.upstream.name, self._max_answer)
                async for chunk in response.content.iter_any():
                    for data in parser.feed(chunk):
                        yield data
            else:
                yield await self._read(request.upstream, response, self._max_answer)

    async def _headers(self, request: UpstreamRequest) -> dict[str, str]:
        upstream = request.upstream
        headers = {"Content-Type": "application/json", "Accept": _ACCEPT, "Accept-Encoding": "identity"}
        if upstream.era == "modern":
            headers["MCP-Protocol-Version"] = MODERN
            headers["Mcp-Method"] = request.method
            headers["Mcp-Name"] = encode_header(request.name)
            headers.update(request.param_headers)
        else:
            headers["MCP-Protocol-Version"] = upstream.protocol_version
            if session := await self._session(upstream, request.session_key):
                headers["Mcp-Session-Id"] = session
        return telemetry.inject(headers)

    async def _session(self, upstream: Upstream, session_key: str) -> str:
        """The upstream's session for ``session_key``, opened when there is none; empty for a stateless upstream."""
        key = (upstream.id, session_key)
        session = self._sessions.get(key)
        if session is None:
            try:
                async with self._opening.setdefault(key, asyncio.Lock()):
                    session = self._sessions.get(key)
                    if session is None:
                        session = self._sessions[key] = await self._initialize(upstream)
            finally:
                self._opening.pop(key, None)
            if len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return session

    async def _initialize(self, upstream: Upstream) -> str:
        params = {"protocolVersion": LEGACY[0], "capabilities": {}, "clientInfo": _CLIENT}
        body = jsonrpc.request(next(self._ids), "initialize", msgspec.json.encode(params))
        headers = {"Content-Type": "application/json", "Accept": _ACCEPT}
        async with self._post(upstream, body, headers) as response:
            if response.status != 200:  # noqa: PLR2004 - nothing else answers initialize
                raise UpstreamMisbehaved(f"upstream {upstream.name} refused to initialize with HTTP {response.status}")
            session = response.headers.get("Mcp-Session-Id", "")
            await self._read(upstream, response, _INITIALIZE_BYTES)
        if session:
            headers["Mcp-Session-Id"] = session
        headers["MCP-Protocol-Version"] = upstream.protocol_version
        async with self._post(upstream, b'{"jsonrpc":"2.0","method":"notifications/initialized"}', headers):
            return session

    @asynccontextmanager
    async def _post(
        self, upstream: Upstream, body: bytes, headers: dict[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        if self._http is None:
            raise UpstreamUnreachable("the edge is not started")
        check_literal(URL(upstream.url), allow_private=self._allow_private)
        try:
            async with self._http.post(upstream.url, data=body, headers=headers, allow_redirects=False) as response:
                yield response
        except TimeoutError:
            raise UpstreamUnreachable(f"upstream {upstream.name} did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnreachable(f"upstream {upstream.name} failed: {type(error).__name__}") from None

    def _check_status(self, request: UpstreamRequest, response: aiohttp.ClientResponse, *, again: bool) -> None:
        if response.status == 200:  # noqa: PLR2004 - Accepted or a redirect is no answer to a request
            return
        if again and response.status in _SESSION_GONE and "Mcp-Session-Id" in response.request_info.headers:
            raise _SessionLost
        if response.content_type == "application/json" and 400 <= response.status < 500:  # noqa: PLR2004
            return  # a JSON-RPC error with its HTTP status (2026-07-28, transports)
        raise UpstreamMisbehaved(f"upstream {request.upstream.name} answered HTTP {response.status}")

    async def _read(self, upstream: Upstream, response: aiohttp.ClientResponse, limit: int) -> bytes:
        if (response.content_length or 0) > limit:
            raise UpstreamMisbehaved(f"the answer of upstream {upstream.name} is over {limit} bytes")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise UpstreamMisbehaved(f"the answer of upstream {upstream.name} is over {limit} bytes")
        return bytes(body)
