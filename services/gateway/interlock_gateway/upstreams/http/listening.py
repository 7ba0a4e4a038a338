"""Notifications of an upstream that belong to no request: the GET stream of a session, or ``subscriptions/listen``."""

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import aiohttp
import msgspec

from interlock_common import telemetry
from interlock_common.messages.catalog import Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.revisions import META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN
from interlock_gateway.upstreams.connections import Way
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.http.events import EventParser
from interlock_gateway.upstreams.http.incoming import OK, Deadlines, Incoming, messages_of, refusal
from interlock_gateway.upstreams.http.session_streams import SessionStreams
from interlock_gateway.upstreams.http.sessions import CLIENT, HttpSessions
from interlock_gateway.upstreams.http.sse_inbox import Inbox

_LISTEN = "subscriptions/listen"
_UNAUTHORIZED, _NOT_FOUND = 401, 404
_META = {META_VERSION: MODERN, META_CLIENT: CLIENT, META_CAPABILITIES: {}}
_KINDS = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


class ListenUnsupported(UpstreamMisbehaved):
    """The upstream has no stream of notifications, or not for what was asked: asking again is no use."""

    code = "upstream_listen_unsupported"


class Listening:
    """Opens the streams of one upstream; silence on them is no failure, and events are bounded in size."""

    def __init__(
        self, way: Way, sessions: HttpSessions, streams: SessionStreams, credentials: Credentials,
        ids: "itertools.count[int]",
    ) -> None:  # fmt: skip
        self._way = way
        self._sessions = sessions
        self._streams = streams
        self._credentials = credentials
        self._ids = ids

    def open(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """What was opened is closed at the end; a credential that was refused is not used again."""
        if upstream.era == "modern":
            return self._open_modern(upstream, principal, uris)
        return self._open_legacy(upstream, principal, session_key, uris)

    @asynccontextmanager
    async def _open_modern(
        self, upstream: Upstream, principal: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        request_id = next(self._ids)
        response = await self._subscribe(upstream, principal, uris, request_id)
        try:
            self._check(response, upstream, principal)
            async with aclosing(self._messages(response, request_id)) as messages:
                yield messages
        finally:
            response.close()

    @asynccontextmanager
    async def _open_legacy(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Open the stream first, so that no update is missed between a subscription and it."""
        for again in (True, False):
            headers = await self._sessions.headers(self._way, upstream, session_key, principal, b"{}")
            headers |= await self._credentials.headers(upstream, principal)
            stream = self._streams.for_listener(self._way, upstream, session_key, headers)
            inbox = Inbox(self._way.name, self._way.max_answer, self._way.share())
            with stream.heard_by(inbox):
                await stream.settled()
                refused = stream.refused
                if again and refused is not None and refused.status == _NOT_FOUND and "Mcp-Session-Id" in headers:
                    await self._sessions.lost(upstream, session_key, headers)
                    continue
                if refused is not None:
                    self._check(refused, upstream, principal)
                if stream.failure is not None:
                    raise stream.failure
                for uri in uris:
                    await self._subscribe_to(uri, headers)
                yield inbox.rest()
                return

    async def _subscribe(
        self, upstream: Upstream, principal: str, uris: Sequence[str], request_id: int
    ) -> aiohttp.ClientResponse:
        wanted = _KINDS | ({"resourceSubscriptions": list(uris)} if uris else {})
        params = msgspec.json.encode({"notifications": wanted, "_meta": telemetry.inject({}) | _META})
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": _LISTEN}
        headers |= await self._credentials.headers(upstream, principal)
        body = jsonrpc.request(request_id, _LISTEN, params)
        return await self._way.send("POST", telemetry.inject(headers), body, within=self._way.idle_timeout)

    async def _subscribe_to(self, uri: str, headers: dict[str, str]) -> None:
        request_id = next(self._ids)
        body = jsonrpc.request(request_id, "resources/subscribe", msgspec.json.encode({"uri": uri}))
        deadlines = Deadlines(self._way)
        response = await self._way.send("POST", headers, body, within=deadlines.remaining())
        try:
            if response.status != OK:
                raise refusal(self._way, response)
            answer = await Incoming(self._way, response, deadlines).response_to(request_id)
        finally:
            response.close()
        if any(head.error is not msgspec.UNSET for _, head in messages_of(answer, self._way.name)):
            raise ListenUnsupported(f"upstream {self._way.name} takes no subscription to a resource")

    def _check(self, response: aiohttp.ClientResponse, upstream: Upstream, principal: str) -> None:
        if response.status == _UNAUTHORIZED:
            self._credentials.invalid(upstream, principal, response.headers.get("WWW-Authenticate", ""))
        streams = response.headers.get("Content-Type", "").startswith("text/event-stream")
        if response.status == OK and streams:
            return
        if response.status == OK or 404 <= response.status <= 406:  # noqa: PLR2004 - no such thing here
            raise ListenUnsupported(f"upstream {self._way.name} has no stream of notifications")
        raise refusal(self._way, response)

    async def _messages(self, response: aiohttp.ClientResponse, request_id: int) -> AsyncGenerator[bytes]:
        incoming = Incoming(self._way, response, Deadlines(self._way, forever=True))
        parser = EventParser(self._way.name, self._way.max_answer)
        while chunk := await incoming.chunk():
            for data in parser.feed(chunk):
                for message, head in messages_of(data, self._way.name):
                    if head.method is not None:
                        yield message
                    elif head.id == request_id:
                        if head.error is not msgspec.UNSET:
                            raise ListenUnsupported(f"upstream {self._way.name} takes no subscription")
                        return
