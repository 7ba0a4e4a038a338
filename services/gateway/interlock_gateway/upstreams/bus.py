"""Upstreams on the bus: servers that connectors run, servers that dialled in, and workers."""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from interlock_common import telemetry
from interlock_common.errors import UpstreamFailed
from interlock_common.messages import subjects
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import (
    CAPABILITIES_HEADER,
    END_SESSION,
    LISTEN,
    NOTIFY,
    PRINCIPAL_HEADER,
    SESSION_KEY_HEADER,
)
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.exchanges.client import BusExchange, ExchangeClient
from interlock_gateway.revisions import META_CAPABILITIES, META_CLIENT, META_VERSION
from interlock_gateway.upstreams.transport import UpstreamRequest

_WORKER = re.compile(r"worker://([A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,7})/?")
_CLIENT = {"name": "interlock", "version": "0.1.0"}
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_TELL_SECONDS = 5.0


def subject_of(upstream: Upstream) -> str:
    """Where ``upstream`` is asked; raises UpstreamUnreachable for one that is not on the bus."""
    if upstream.transport in {"stdio", "reverse"}:
        return subjects.connector(upstream.id)
    if upstream.transport == "worker":
        return subjects.worker(worker_name(upstream.url))
    raise UpstreamUnreachable(f"upstream {upstream.name} is not on the bus")


def worker_name(url: str) -> str:
    """The name that a worker answers to, of ``worker://<name>``; raises UpstreamUnreachable."""
    found = _WORKER.fullmatch(url)
    if found is None:
        shown = urlsplit(url).scheme[:16]
        raise UpstreamUnreachable(f"a worker's address is worker://<name>, names of A-Z a-z 0-9 _ - . ({shown}:…)")
    return found.group(1)


class BusTransport:
    """The way to upstreams of the kinds ``stdio``, ``reverse`` and ``worker``."""

    def __init__(self, exchanges: ExchangeClient) -> None:
        self._exchanges = exchanges
        self._ids = itertools.count(1)

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncGenerator[BusExchange]:
        """Ask; raises UpstreamUnreachable at once where nobody answers for the upstream."""
        headers = telemetry.inject({
            PRINCIPAL_HEADER: request.principal,
            SESSION_KEY_HEADER: request.session_key,
            CAPABILITIES_HEADER: msgspec.json.format(request.capabilities, indent=-1).decode(),
        })  # fmt: skip
        upstream = request.upstream
        payload = jsonrpc.request(next(self._ids), request.method, request.params)
        async with self._exchanges.open(subject_of(upstream), payload, headers, f"upstream {upstream.name}") as opened:
            yield opened

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """What belongs to no request; of servers of the handshake era it comes on ``mcp.changed``, and nothing here."""
        if upstream.era == "modern":
            return self._listen_modern(upstream, principal, session_key, uris)
        return self._listen_legacy(upstream, principal, session_key, uris)

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        """Have whoever runs the upstream hand on what a client says; nothing is begun for this."""
        await self._tell(UpstreamRequest(upstream, NOTIFY, "", message, principal, session_key))

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        """Tell whoever runs the upstream that a session is over; one that is away has forgotten it by itself."""
        await self._tell(UpstreamRequest(upstream, END_SESSION, "", b"{}", "", session_key))

    async def _tell(self, request: UpstreamRequest) -> None:
        if request.upstream.transport == "worker":
            return  # a worker knows no sessions but those its own server keeps
        try:
            async with asyncio.timeout(_TELL_SECONDS), self.open(request) as asked:
                async for _ in asked:
                    pass
        except (TimeoutError, UpstreamFailed):
            return

    @asynccontextmanager
    async def _listen_modern(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        wanted: dict[str, object] = {
            "toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True,
        }  # fmt: skip
        if uris:
            wanted["resourceSubscriptions"] = list(uris)
        meta = {META_VERSION: upstream.protocol_version, META_CLIENT: _CLIENT, META_CAPABILITIES: {}}
        params = msgspec.json.encode({"notifications": wanted, "_meta": telemetry.inject({}) | meta})
        async with self.open(
            UpstreamRequest(upstream, "subscriptions/listen", "", params, principal, session_key)
        ) as asked:
            yield _notifications(asked, upstream)

    @asynccontextmanager
    async def _listen_legacy(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        if not uris:
            yield _nothing()  # list_changed comes on the bus as soon as anything of the server runs
            return
        params = msgspec.json.encode({"uris": list(uris)})
        async with self.open(UpstreamRequest(upstream, LISTEN, "", params, principal, session_key)) as asked:
            yield _notifications(asked, upstream)


async def _notifications(asked: BusExchange, upstream: Upstream) -> AsyncGenerator[bytes]:
    async for message in asked:
        try:
            envelope = jsonrpc.parse(message)
        except jsonrpc.RpcError as error:
            raise UpstreamMisbehaved(f"upstream {upstream.name} sent what is not JSON-RPC: {error}") from None
        if envelope.error is not msgspec.UNSET:
            raise UpstreamMisbehaved(f"upstream {upstream.name} takes no subscription")
        if envelope.method is not None and envelope.id is msgspec.UNSET and envelope.method != _ACKNOWLEDGED:
            yield message


async def _nothing() -> AsyncGenerator[bytes]:
    await asyncio.Event().wait()
    yield b""
