"""Discovery over a transport: what runs behind a connector or a tunnel, workers on the bus, HTTP with SSE.

The transport shakes hands by itself where the upstream needs that, so the upstream is asked to describe itself. One
that does not know the question is taken for modern; one that does not know ``server/discover`` either is asked
for its lists, and what it does not know it does not have.
"""

from contextlib import suppress

import msgspec

from interlock_common import telemetry
from interlock_common.errors import UpstreamFailed
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import DESCRIBE, Description
from interlock_gateway.revisions import LEGACY, MODERN, UNDERSTOOD
from interlock_gateway.upstreams.discovery.asking import (
    META,
    METHOD_NOT_FOUND,
    DiscoverResult,
    Introduction,
    described,
    introduction,
    result_of,
)
from interlock_gateway.upstreams.discovery.exchange import Answer, RpcMessage, UpstreamUnusable, read_message
from interlock_gateway.upstreams.transport import Exchange, Transport, UpstreamRequest

SESSION_KEY = "catalog"


class TransportAsking:
    """The requests of one discovery over ``transport``."""

    def __init__(self, transport: Transport, upstream: Upstream) -> None:
        self._transport = transport
        self._upstream = upstream

    @property
    def place(self) -> str:
        return f"upstream {self._upstream.name}"

    async def introduce(self) -> Introduction:
        if self._upstream.transport == "sse":
            self._speak("legacy", LEGACY[0])
        else:
            self._speak("modern", MODERN)
        answer = await self.ask(DESCRIBE, {})
        said = self._result(answer, Description)
        if said is not None:
            if said.protocol_version not in {MODERN, *UNDERSTOOD}:
                raise UpstreamUnusable(f"{self.place} speaks revision {said.protocol_version[:32]!r}, "
                                       "which this gateway does not", "protocol")  # fmt: skip
            self._speak(said.era, said.protocol_version)
            return introduction(said.era, said.protocol_version, said.capabilities, said.instructions, self.place)
        if self._upstream.era == "legacy":
            return Introduction("legacy", self._upstream.protocol_version)
        found = self._result(await self.ask("server/discover", {}), DiscoverResult)
        if found is None or MODERN not in found.supported_versions:
            return Introduction("modern", MODERN)
        return introduction("modern", MODERN, found.capabilities, found.instructions, self.place)

    async def resume(self, known: Introduction) -> None:
        self._speak(known.era, known.protocol_version)

    async def ask(self, method: str, params: dict[str, object]) -> Answer:
        if self._upstream.era == "modern":
            params = {**params, "_meta": telemetry.inject({}) | META}
        upstream = self._upstream
        request = UpstreamRequest(upstream, method, "", msgspec.json.encode(params), upstream.owner, SESSION_KEY)
        async with self._transport.open(request) as exchange:
            async for raw in exchange:
                message = read_message(raw)
                if message is None:
                    raise UpstreamUnusable(f"{self.place} sent what is no JSON-RPC message", "protocol")
                if message.method is None:
                    return Answer(200, None, message)
                if message.id is not None:
                    await _decline(exchange, message)
        raise UpstreamUnusable(f"{self.place} ended {method} without an answer", "protocol")

    async def close(self) -> None:
        with suppress(UpstreamFailed):
            await self._transport.end_session(self._upstream, SESSION_KEY)

    def _speak(self, era: str, version: str) -> None:
        self._upstream = msgspec.structs.replace(self._upstream, era=era, protocol_version=version)

    def _result[T](self, answer: Answer, kind: type[T]) -> T | None:
        """The result of an answer; None where the method is not known, whatever code says so."""
        message = answer.message
        if message is None or message.error is not None:
            return None
        result = result_of(message, kind)
        if result is None:
            raise UpstreamUnusable(f"{self.place} does not say what it is: {described(answer)}", "protocol")
        return result


async def _decline(exchange: Exchange, message: RpcMessage) -> None:
    """Answer a request of the upstream: a ping is answered, and nobody is there for anything else."""
    answer: dict[str, object] = {"jsonrpc": "2.0", "id": message.id}
    if message.method == "ping":
        answer["result"] = {}
    else:
        answer["error"] = {"code": METHOD_NOT_FOUND, "message": "nobody is asked while the catalog looks"}
    await exchange.answer(msgspec.json.encode(answer))
