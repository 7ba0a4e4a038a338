"""Streamable HTTP toward upstreams, in the era each of them speaks (MCP 2026-07-28 and 2025-11-25, transports)."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from interlock_common.messages.catalog import Upstream
from interlock_gateway.upstreams.connections import Ways
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.http.accompanied import Accompanied
from interlock_gateway.upstreams.http.exchange import HttpExchange
from interlock_gateway.upstreams.http.listening import Listening
from interlock_gateway.upstreams.http.session_streams import Aside, SessionStreams
from interlock_gateway.upstreams.http.sessions import HttpSessions
from interlock_gateway.upstreams.sessions import UpstreamSessions
from interlock_gateway.upstreams.transport import UpstreamRequest


class HttpTransport:
    """The way to upstreams of the kind ``http``."""

    def __init__(self, ways: Ways, sessions: UpstreamSessions, credentials: Credentials) -> None:
        self._ways = ways
        self._ids = itertools.count(1)
        self._credentials = credentials
        self._sessions = HttpSessions(ways, sessions, credentials, self._ids)
        self._streams = SessionStreams(ways)

    def open(self, request: UpstreamRequest) -> HttpExchange | Accompanied:
        """Send ``request`` when entered; may also raise AddressForbidden and what a credential's provider raises."""
        aside = (
            Aside(self._streams, self._ways.of(request.upstream), request) if self._streams.may_ask(request) else None
        )
        exchange = HttpExchange(self._ways, self._sessions, self._credentials, request, next(self._ids), aside)
        return exchange if aside is None else Accompanied(exchange, aside)

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The GET stream of a session, or ``subscriptions/listen``; raises ListenUnsupported where there is neither."""
        listening = Listening(self._ways.of(upstream), self._sessions, self._streams, self._credentials, self._ids)
        return listening.open(upstream, principal, session_key, uris)

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        """POST, bounded in time."""
        await self._sessions.notify(self._ways.of(upstream), upstream, session_key, principal, message)

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        """DELETE, bounded in time; failures are the upstream's."""
        self._streams.end(upstream, session_key)
        await self._sessions.end(self._ways.of(upstream), upstream, session_key)
