"""One request to an upstream over streamable HTTP, from its headers to its response."""

import asyncio
from collections import deque
from typing import Self

import aiohttp
import msgspec

from interlock_common import telemetry
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.revisions import MODERN, encode_header
from interlock_gateway.upstreams.connections import UpstreamSilent, Ways
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.http.events import EventParser
from interlock_gateway.upstreams.http.incoming import OK, Deadlines, Incoming, messages_of, refusal
from interlock_gateway.upstreams.http.session_streams import Aside
from interlock_gateway.upstreams.http.sessions import HttpSessions
from interlock_gateway.upstreams.transport import UpstreamRequest

_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _SERVER_ERROR = 400, 401, 403, 404, 500
_TAKEN = frozenset({200, 202, 204})
_ERROR_BYTES = 1024 * 1024
_CANCEL_SECONDS = 5.0
_RESUME_ATTEMPTS = 4
_RETRY_SECONDS = 1.0
_SHORTEST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.1, 30.0


class HttpExchange:
    """Enter it once, iterate over the messages; leaving it before the response cancels the request at the upstream.

    Cancelling is closing the connection in the stateless era, and ``notifications/cancelled`` besides in the other.
    A stream of the handshake era that ends early is resumed after its last event, when it asked for that. ``aside``
    is where the upstream may speak beside its answer.
    """

    def __init__(
        self, ways: Ways, sessions: HttpSessions, credentials: Credentials, request: UpstreamRequest, request_id: int,
        aside: Aside | None = None,
    ) -> None:  # fmt: skip
        self._ways = ways
        self._way = ways.of(request.upstream)
        self._sessions = sessions
        self._credentials = credentials
        self._request = request
        self._id = request_id
        self._aside = aside
        self._modern = request.upstream.era == "modern"
        self._headers: dict[str, str] = {}
        self._probe = False
        self._unanswered = False
        self._incoming: Incoming | None = None
        self._parser: EventParser | None = None
        self._share = self._way.share()
        self._ready: deque[bytes] = deque()

    async def __aenter__(self) -> Self:
        self._probe = await self._way.enter()
        self._deadlines = Deadlines(self._way)
        try:
            await self._begin()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if not self._unanswered or self._incoming is None:
                raise StopAsyncIteration
            await self._receive(self._incoming)
        return self._ready.popleft()

    async def answer(self, message: bytes) -> None:
        """POST the response to a request of the upstream."""
        if self._modern:
            raise UpstreamMisbehaved(f"upstream {self._way.name} asks, which its era does not know")
        headers = telemetry.inject(dict(self._headers))
        response = await self._way.send("POST", headers, message, within=self._way.idle_timeout)
        response.release()
        if response.status not in _TAKEN:
            raise UpstreamMisbehaved(
                f"upstream {self._way.name} did not take the answer to its request: HTTP {response.status}"
            )
        self._deadlines.answered()

    async def _begin(self) -> None:
        """Send, and once more where the credential or the session turns out to have ended."""
        response = await self._send()
        if response.status == OK:
            return
        request = self._request
        if response.status == _UNAUTHORIZED:
            challenge = response.headers.get("WWW-Authenticate", "")
            if self._credentials.invalid(request.upstream, request.principal, challenge):
                response.close()
                response = await self._send()
        if response.status != OK and "Mcp-Session-Id" in self._headers and await self._session_is_lost(response):
            response.close()
            await self._sessions.lost(request.upstream, request.session_key, self._headers)
            response = await self._send()
        if response.status != OK:
            await self._take_refusal(response)

    async def _send(self) -> aiohttp.ClientResponse:
        request = self._request
        self._headers = headers = await self._make_headers(request)
        if self._aside is not None:
            await self._aside.join(headers, self._deadlines)
        body = jsonrpc.request(self._id, request.method, request.params)
        self._unanswered = True
        try:
            async with self._deadlines.bounding():  # may be asked something beside it, and then waits for us
                response = await self._way.send("POST", headers, body, within=self._way.call_timeout)
        except TimeoutError as error:
            raise self._way.broken(error) from None
        except UpstreamUnreachable as error:
            self._unanswered = isinstance(error, UpstreamSilent)
            raise
        if response.status < _SERVER_ERROR:
            self._way.breaker.answering()
        self._incoming = Incoming(self._way, response, self._deadlines, self._share)
        return response

    async def _make_headers(self, request: UpstreamRequest) -> dict[str, str]:
        upstream = request.upstream
        if self._modern:
            headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": request.method}
            if request.name:
                headers["Mcp-Name"] = encode_header(request.name)
            headers.update(request.param_headers)
        else:
            headers = await self._sessions.headers(
                self._way, upstream, request.session_key, request.principal, request.capabilities
            )
        if upstream.credential.kind != "none":
            headers.update(await self._credentials.headers(upstream, request.principal))
        return telemetry.inject(headers)

    async def _session_is_lost(self, response: aiohttp.ClientResponse) -> bool:
        """404 says it (MCP 2025-11-25, session management); servers in use also say it in words, with 400."""
        if response.status != _BAD_REQUEST or self._incoming is None:
            return response.status == _NOT_FOUND
        body = await self._incoming.body(_ERROR_BYTES)
        return b"session" in body.lower()

    async def _take_refusal(self, response: aiohttp.ClientResponse) -> None:
        """A JSON-RPC error comes with an HTTP status (2026-07-28, transports); anything else is no answer."""
        incoming = self._incoming
        client_error = _BAD_REQUEST <= response.status < _SERVER_ERROR
        if incoming is not None and client_error and response.status not in {_UNAUTHORIZED, _FORBIDDEN}:
            body = await incoming.body(_ERROR_BYTES)
            if incoming.is_json and is_error(body):
                self._answered(body)
                return
        self._unanswered = False
        response.close()
        raise refusal(self._way, response)

    async def _receive(self, incoming: Incoming) -> None:
        """Take what comes next: the body, or whatever a chunk of the stream completes."""
        if incoming.streams:
            await self._receive_events(incoming)
            return
        if not incoming.is_json:
            self._unanswered = False
            incoming.response.close()
            kind = incoming.response.content_type[:80]
            raise UpstreamMisbehaved(f"upstream {self._way.name} answered with {kind}, which is not MCP")
        body = await incoming.body()
        if body[:1] == b"[":
            for message, head in messages_of(body, self._way.name):
                if head.method is not None:
                    self._ready.append(message)
                elif head.id == self._id:
                    body = message
        self._answered(body)

    async def _receive_events(self, incoming: Incoming) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = EventParser(self._way.name, self._way.max_answer)
        before = parser.last_id
        chunk = await self._chunk(incoming, resumable=not self._modern and bool(before))
        if not chunk:
            await self._resume(parser)
            return
        self._share.hold(parser.held + len(chunk))
        events = parser.feed(chunk)
        if events or parser.inside or parser.last_id != before:
            self._deadlines.alive()
        for data in events:
            for message, head in messages_of(data, self._way.name):
                if head.method is not None:
                    if head.asks:
                        self._deadlines.asked()
                    self._ready.append(message)
                elif head.id == self._id or head.id is None:
                    self._answered(message)
                    return

    async def _chunk(self, incoming: Incoming, *, resumable: bool) -> bytes:
        """What comes next; nothing at the end, and where a stream breaks off that can be resumed."""
        try:
            return await incoming.chunk()
        except UpstreamSilent:
            raise
        except UpstreamUnreachable:
            if resumable:
                return b""
            raise

    async def _resume(self, parser: EventParser) -> None:
        """Go on with a stream that ended before its response, after the event that came last (SEP-1699)."""
        if self._modern or not parser.last_id:
            self._unanswered = False
            raise UpstreamMisbehaved(f"upstream {self._way.name} ended its answer without a response")
        wanted = _RETRY_SECONDS if parser.retry is None else parser.retry
        wait = min(max(wanted, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
        headers = {**self._headers, "Last-Event-ID": parser.last_id, "Accept": "text/event-stream"}
        for _ in range(_RESUME_ATTEMPTS):
            await asyncio.sleep(min(wait, self._deadlines.remaining()))
            try:
                response = await self._way.send("GET", headers, within=self._deadlines.remaining())
            except UpstreamSilent:
                raise
            except UpstreamUnreachable:
                continue
            self._incoming = incoming = Incoming(self._way, response, self._deadlines, self._share)
            if response.status == OK and incoming.streams:
                self._parser = EventParser(self._way.name, self._way.max_answer, parser.last_id)
                self._parser.retry = parser.retry
                return
            response.close()
            if response.status < _SERVER_ERROR:
                break
        raise UpstreamUnreachable(f"upstream {self._way.name} broke off its answer and does not go on with it")

    def _answered(self, message: bytes) -> None:
        self._unanswered = False
        self._way.breaker.succeeded()
        self._ready.append(message)

    def _end(self) -> None:
        self._share.hold(0)
        incoming = self._incoming
        if self._unanswered:
            if incoming is not None:
                incoming.response.close()
            if not self._modern:
                self._ways.in_background(self._cancel())
        elif incoming is not None and not incoming.finished and not self._ways.in_background(incoming.linger()):
            incoming.response.close()
        self._way.leave(probe=self._probe)

    async def _cancel(self) -> None:
        params = msgspec.json.encode({"requestId": self._id, "reason": "the client does not wait any more"})
        body = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":%s}' % params
        try:
            response = await self._way.send("POST", self._headers, body, within=_CANCEL_SECONDS, counts=False)
            response.close()
        except UpstreamUnreachable:
            return


def is_error(body: bytes) -> bool:
    """Whether a body is a JSON-RPC error."""
    try:
        return isinstance(jsonrpc.parse(body).error, msgspec.Raw)
    except jsonrpc.RpcError:
        return False
