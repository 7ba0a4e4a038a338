"""Discovery over streamable HTTP: the stateless revision is tried first, then the handshake.

Statuses 401, 403 and 5xx say nothing about the era, so they end the discovery.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
import msgspec
from yarl import URL

from interlock_common import telemetry
from interlock_common.messages.catalog import Era
from interlock_gateway.revisions import LEGACY, MODERN, UNDERSTOOD
from interlock_gateway.upstreams.discovery.asking import (
    CLIENT,
    META,
    DiscoverResult,
    InitializeResult,
    Introduction,
    described,
    introduction,
    result_of,
)
from interlock_gateway.upstreams.discovery.exchange import (
    Answer,
    RpcMessage,
    UpstreamUnusable,
    end_session,
    origin,
    post,
)

MODERN_ERRORS = frozenset({-32020, -32021, -32022})
"""Header mismatch, missing client capability, unsupported version: only the stateless revision has them."""


class _Versions(msgspec.Struct, frozen=True):
    supported: tuple[str, ...]


@dataclass
class HttpAsking:
    """The requests of one discovery over HTTP, in the era found so far.

    ``wanted`` fixes the era. ``headers`` carry the credential of the upstream; ``tls`` is the context to use.
    """

    session: aiohttp.ClientSession
    url: URL
    wanted: Era | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    tls: ssl.SSLContext | None = None
    _era: Era = "modern"
    _version: str = MODERN
    _session_id: str | None = None
    _last_id: int = 0

    @property
    def place(self) -> str:
        return origin(self.url)

    async def introduce(self) -> Introduction:
        if self.wanted != "legacy":
            answer = await self.ask("server/discover", {})
            verdict = self._modern_verdict(answer)
            if verdict is not None:
                return verdict
            if self.wanted == "modern":
                raise UpstreamUnusable(f"{self.place} does not speak {MODERN}: {described(answer)}", "protocol")
        return await self._shake_hands()

    async def resume(self, known: Introduction) -> None:
        if known.era == "legacy":
            await self._shake_hands()

    async def ask(self, method: str, params: dict[str, object]) -> Answer:
        self._last_id += 1
        if self._era == "modern":
            params = {**params, "_meta": telemetry.inject({}) | META}
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        answer = await self._post(method, msgspec.json.encode(message), self._last_id)
        if answer.status in {401, 403}:
            raise UpstreamUnusable(
                f"{self.place} wants a credential: HTTP {answer.status}", "status", status=answer.status
            )
        if answer.status >= 500:  # noqa: PLR2004 - the class of server errors
            raise UpstreamUnusable(f"{self.place} fails: HTTP {answer.status}", "status", status=answer.status)
        return answer

    async def close(self) -> None:
        if self._session_id is not None:
            await end_session(self.session, self.url, self._own_headers(""), self.tls)

    async def _post(self, method: str, body: bytes, request_id: int | None) -> Answer:
        return await post(self.session, self.url, self._own_headers(method), body, request_id, self.tls)

    def _own_headers(self, method: str) -> dict[str, str]:
        headers = telemetry.inject({
            **self.headers,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        })  # fmt: skip
        if method != "initialize":
            headers["MCP-Protocol-Version"] = self._version
        if self._era == "modern":
            headers["Mcp-Method"] = method
        if self._session_id is not None:
            headers["Mcp-Session-Id"] = self._session_id
        return headers

    def _modern_verdict(self, answer: Answer) -> Introduction | None:
        """What a modern upstream said; None when the answer is no evidence of a modern one."""
        message = answer.message
        if message is None:
            return None
        if message.error is not None:
            if message.error.code not in MODERN_ERRORS:
                return None
            supported = _supported(message)
            if MODERN in supported or not supported:
                return Introduction("modern", MODERN)
            if any(version in UNDERSTOOD for version in supported):
                return None
            raise UpstreamUnusable(
                f"{self.place} speaks only {', '.join(supported)[:200]}, which this gateway does not", "protocol"
            )
        result = result_of(message, DiscoverResult)
        if result is None or MODERN not in result.supported_versions:
            return None
        return introduction("modern", MODERN, result.capabilities, result.instructions, self.place)

    async def _shake_hands(self) -> Introduction:
        self._era, self._version = "legacy", LEGACY[0]
        params: dict[str, object] = {"protocolVersion": self._version, "capabilities": {}, "clientInfo": CLIENT}
        answer = await self.ask("initialize", params)
        result = None if answer.message is None else result_of(answer.message, InitializeResult)
        if result is None:
            cause = "not_mcp" if answer.message is None else "protocol"
            raise UpstreamUnusable(
                f"{self.place} does not answer as an MCP server: {described(answer)}", cause, status=answer.status
            )
        if result.protocol_version not in UNDERSTOOD:
            raise UpstreamUnusable(
                f"{self.place} wants revision {result.protocol_version[:32]!r}, which this gateway does not speak",
                "protocol",
            )
        self._version, self._session_id = result.protocol_version, answer.session_id
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await self._post("notifications/initialized", msgspec.json.encode(note), None)
        return introduction("legacy", self._version, result.capabilities, result.instructions, self.place)


def _supported(message: RpcMessage) -> tuple[str, ...]:
    if message.error is None:
        return ()
    try:
        return msgspec.json.decode(message.error.data, type=_Versions).supported
    except (msgspec.DecodeError, RecursionError):
        return ()
