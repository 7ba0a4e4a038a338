"""Sessions of upstreams of the handshake era over HTTP: opening and ending them (MCP 2025-11-25, lifecycle)."""

import itertools
import re
from collections.abc import Mapping

import msgspec

from interlock_common import telemetry
from interlock_common.errors import InterlockError
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import UpstreamSession
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.revisions import LEGACY
from interlock_gateway.upstreams.connections import Way, Ways
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.http.incoming import OK, Deadlines, Incoming
from interlock_gateway.upstreams.sessions import UpstreamSessions

CLIENT = {"name": "interlock", "version": "0.1.0"}
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
_END_SECONDS = 5.0
_VISIBLE = re.compile(r"[\x21-\x7e]{1,1024}")


class Handshake(msgspec.Struct, frozen=True, rename="camel"):
    """What a server says of itself when a session begins."""

    protocol_version: str
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    instructions: str = ""


class _Initialized(msgspec.Struct, frozen=True):
    result: Handshake | None = None


_initialized = msgspec.json.Decoder(_Initialized)


def initialize_body(request_id: int, capabilities: bytes) -> bytes:
    """The request that opens a session for a client that can do ``capabilities``."""
    params = {"protocolVersion": LEGACY[0], "capabilities": msgspec.Raw(capabilities), "clientInfo": CLIENT}
    return jsonrpc.request(request_id, "initialize", msgspec.json.encode(params))


def handshake_of(answer: bytes, upstream: str) -> Handshake:
    """The result of ``initialize``; raises UpstreamMisbehaved for one whose version is no header."""
    try:
        result = _initialized.decode(answer).result
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamMisbehaved(f"upstream {upstream} answered initialize with what is not MCP") from None
    if result is None:
        raise UpstreamMisbehaved(f"upstream {upstream} refused to initialize")
    if not _VISIBLE.fullmatch(result.protocol_version):
        raise UpstreamMisbehaved(f"upstream {upstream} answered initialize with a version that is none")
    return result


def session_headers(session: UpstreamSession) -> dict[str, str]:
    headers = {"MCP-Protocol-Version": session.protocol_version}
    if session.id:
        headers["Mcp-Session-Id"] = session.id
    return headers


class HttpSessions:
    """The sessions that upstreams keep for us, opened when they are needed."""

    def __init__(
        self, ways: Ways, store: UpstreamSessions, credentials: Credentials, ids: "itertools.count[int]"
    ) -> None:
        self._ways = ways
        self._store = store
        self._credentials = credentials
        self._ids = ids

    async def headers(
        self, way: Way, upstream: Upstream, key: str, principal: str, capabilities: bytes
    ) -> dict[str, str]:
        """What says which session a request belongs to."""
        session = self._store.known(upstream.id, key)
        if session is None:
            session = await self._obtain(way, upstream, key, principal, capabilities)
        return session_headers(session)

    async def lost(self, upstream: Upstream, key: str, headers: Mapping[str, str]) -> None:
        """The upstream does not know the session that ``headers`` name any more."""
        session = UpstreamSession(headers.get("Mcp-Session-Id", ""), headers["MCP-Protocol-Version"])
        await self._store.lost(upstream.id, key, session)

    async def notify(self, way: Way, upstream: Upstream, key: str, principal: str, message: bytes) -> None:
        """Say something in a session that is open already."""
        session = await self._store.present(upstream.id, key)
        if session is not None:
            headers = session_headers(session) | dict(await self._credentials.headers(upstream, principal))
            response = await way.send("POST", telemetry.inject(headers), message, within=_END_SECONDS, counts=False)
            response.close()

    async def end(self, way: Way, upstream: Upstream, key: str, principal: str = "") -> None:
        session = await self._store.take(upstream.id, key)
        if session is not None:
            await self.delete(way, upstream, session, principal)

    async def delete(self, way: Way, upstream: Upstream, session: UpstreamSession, principal: str) -> None:
        """Tell the upstream that a session is over; whether it cares is its own business."""
        if not session.id:
            return
        try:
            headers = session_headers(session) | dict(await self._credentials.headers(upstream, principal))
            response = await way.send("DELETE", headers, within=_END_SECONDS, counts=False)
            response.close()
        except InterlockError:
            return

    async def _obtain(
        self, way: Way, upstream: Upstream, key: str, principal: str, capabilities: bytes
    ) -> UpstreamSession:
        opened: list[UpstreamSession] = []

        async def opening() -> UpstreamSession:
            opened.append(await self._open(way, upstream, principal, capabilities))
            return opened[-1]

        session = await self._store.obtain(upstream.id, key, opening)
        for own in opened:
            if own != session:
                self._ways.in_background(self.delete(way, upstream, own, principal))
        return session

    async def _open(self, way: Way, upstream: Upstream, principal: str, capabilities: bytes) -> UpstreamSession:
        """The handshake: ``initialize`` with what the client can do, then ``notifications/initialized``."""
        deadlines = Deadlines(way)
        request_id = next(self._ids)
        body = initialize_body(request_id, capabilities)
        credential = await self._credentials.headers(upstream, principal)
        headers = telemetry.inject(dict(credential))
        response = await way.send("POST", headers, body, within=deadlines.remaining())
        if response.status == 401 and self._credentials.invalid(upstream, principal):  # noqa: PLR2004 - Unauthorized
            response.close()
            credential = await self._credentials.headers(upstream, principal)
            response = await way.send("POST", headers | dict(credential), body, within=deadlines.remaining())
        try:
            if response.status != OK:
                raise UpstreamMisbehaved(f"upstream {way.name} refused to initialize with HTTP {response.status}")
            session_id = response.headers.get("Mcp-Session-Id", "")
            if session_id and not _VISIBLE.fullmatch(session_id):
                raise UpstreamMisbehaved(f"upstream {way.name} gave a session id that is none")
            answer = await Incoming(way, response, deadlines).response_to(request_id)
        finally:
            response.close()
        session = UpstreamSession(session_id, handshake_of(answer, way.name).protocol_version)
        noted = await way.send(
            "POST", session_headers(session) | dict(credential), INITIALIZED, within=deadlines.remaining()
        )
        noted.release()
        return session
