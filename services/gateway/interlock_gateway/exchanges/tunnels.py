"""Servers that dial in: each is an upstream for as long as its tunnel stands, at whichever edge it reached.

What stands is written to the bucket ``tunnels``, which every edge mirrors: so each can list all of them, and end one by
writing there that it is to end.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import structlog
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import InterlockError, NotFound, PermissionDenied, Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.catalog import CreateUpstream, Upstream, Visibility
from interlock_common.messages.common import Actor, ById
from interlock_common.messages.gateway import Tunnel
from interlock_common.messages.resources import TUNNELS
from interlock_common.mirror import Mirror
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.exchanges.answers import answering
from interlock_gateway.exchanges.server import ExchangeServer
from interlock_gateway.upstreams.pipes.conversation import Conversation, Pipe

_log = structlog.get_logger()
_QUEUE = "connector"
_TTL_SECONDS = 15.0
_RENEW_SECONDS = 4.0
_PROBE_SECONDS, _START_SECONDS = 10.0, 60.0
_CATALOG_SECONDS = 32.0
_PERMISSION = "gateways.create"


class SessionClosed(InterlockError):
    """Somebody ended the tunnel; whoever dialled in is not to try again."""

    status = 410
    code = "session_closed"


type Connected = Callable[[Tunnel], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody who dials in asks for: the name of the upstream, and who may see it."""

    name: str
    visibility: Visibility = "public"
    team: str | None = None
    description: str = ""


class Tunnels:
    """The tunnels of this edge, and the list of all; at most ``limit`` here."""

    def __init__(
        self, bus: Bus, subscriptions: Subscriptions, exchanges: ExchangeServer, *, limit: int = 1000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:  # fmt: skip
        self.mirror: Mirror[Tunnel] = Mirror(bus, TUNNELS, Tunnel)
        self._bus = bus
        self._subscriptions = subscriptions
        self._exchanges = exchanges
        self._limit = limit
        self._clock = clock
        self._held: dict[str, tuple[Tunnel, Conversation]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.mirror.on_change(self._changed)

    async def start(self) -> None:
        """Make the bucket and read it; the bus is connected."""
        await kv.ensure_bucket(self._bus, TUNNELS)
        await self.mirror.start()
        await self.mirror.wait_complete(timeout=None)

    async def stop(self) -> None:
        for _, conversation in list(self._held.values()):
            conversation.give_up(Unavailable("the edge is ending"))
        while self._tasks:
            await asyncio.wait(self._tasks)  # not gather: see Processes.close
        await self.mirror.stop()

    def listed(self, actor: Actor) -> list[Tunnel]:
        """The tunnels of all edges that ``actor`` may see: administrators all, others their own; oldest first."""
        seen = [one for one in self._standing() if actor.is_admin or one.principal == actor.principal]
        return sorted(seen, key=lambda one: (one.connected_at, one.id))

    async def close(self, actor: Actor, tunnel_id: str) -> None:
        """End a tunnel, wherever it is; raises NotFound for one that ``actor`` may not know."""
        found = next((one for one in self.listed(actor) if one.id == tunnel_id), None)
        if found is None:
            raise NotFound("no such session")
        await self._show(msgspec.structs.replace(found, closing="the session was closed"))

    async def hold(self, pipe: Pipe, wish: Wish, actor: Actor, peer: str, connected: Connected) -> None:
        """Serve the server at the end of ``pipe`` as an upstream until it has ended.

        Raises PermissionDenied, Unavailable where this edge holds as many as it may, whatever the catalog refuses,
        and whatever the server answers that is no MCP.
        """
        if not actor.may(_PERMISSION, wish.team if wish.visibility == "team" else None):
            raise PermissionDenied(f"the permission {_PERMISSION} is required")
        if len(self._held) >= self._limit:
            raise Unavailable(f"this edge holds {self._limit} tunnels already")
        upstream = await self._registered(wish, actor)
        now = int(self._clock.time())
        tunnel = Tunnel(
            secrets.token_hex(16), upstream.id, upstream.name, actor.principal, self._bus.instance, now, peer
        )
        conversation = Conversation(pipe, name=upstream.name, unsolicited=partial(self._tell, upstream.id))
        self._held[tunnel.id] = (tunnel, conversation)
        try:
            await connected(tunnel)
            await conversation.begin(known_legacy=False, probe_seconds=_PROBE_SECONDS, start_seconds=_START_SECONDS)
            await self._serve(tunnel, conversation, actor)
        finally:
            self._held.pop(tunnel.id, None)
            await conversation.close()
        if isinstance(conversation.reason, SessionClosed):
            raise conversation.reason

    async def _registered(self, wish: Wish, actor: Actor) -> Upstream:
        """The upstream of the owner and the name, as before or new; the catalog says who may."""
        request = CreateUpstream(
            actor, wish.name, transport="reverse", visibility=wish.visibility, team=wish.team,
            description=wish.description,
        )  # fmt: skip
        return await self._bus.request(subjects.CATALOG_UPSTREAM_CREATE, request, Upstream, timeout=_CATALOG_SECONDS)

    async def _serve(self, tunnel: Tunnel, conversation: Conversation, actor: Actor) -> None:
        for other in [one for one in self._standing() if one.upstream_id == tunnel.upstream_id]:
            # Whoever dials in again means this one: the other may be half gone.
            await self._show(msgspec.structs.replace(other, closing="another connection took its place"))
        listening = await self._subscriptions.add(
            subjects.connector(tunnel.upstream_id),
            lambda message: self._exchanges.take(message, lambda asked: answering(conversation, asked.payload)),
            queue=_QUEUE,
        )
        _log.info("a server dialled in", upstream=tunnel.upstream_id, name=tunnel.name, principal=tunnel.principal)
        try:
            await self._show(tunnel)
            self._later(self._refresh(tunnel.upstream_id, actor))
            await self._until_ended(tunnel, conversation)
        finally:
            await self._subscriptions.remove(listening)
            with contextlib.suppress(InterlockError):
                await self._remove(tunnel.id)
            _log.info("a tunnel ended", upstream=tunnel.upstream_id, reason=conversation.reason.detail)
            self._later(self._refresh(tunnel.upstream_id, actor))

    async def _until_ended(self, tunnel: Tunnel, conversation: Conversation) -> None:
        while True:
            try:
                async with asyncio.timeout(_RENEW_SECONDS):
                    await conversation.ended.wait()
                    return
            except TimeoutError:
                if not conversation.ended.is_set():
                    with contextlib.suppress(InterlockError):
                        await self._show(tunnel)

    async def _show(self, tunnel: Tunnel) -> None:
        try:
            await kv.put(self._bus, TUNNELS, tunnel.id, tunnel, ttl=_TTL_SECONDS)
        except (NatsError, JetStreamError) as error:
            raise Unavailable(f"a tunnel cannot be listed at the moment: {type(error).__name__}") from None

    async def _remove(self, tunnel_id: str) -> None:
        try:
            await kv.delete(self._bus, TUNNELS, tunnel_id)
        except (NatsError, JetStreamError) as error:
            raise Unavailable(f"a tunnel cannot be ended at the moment: {type(error).__name__}") from None

    def _standing(self) -> list[Tunnel]:
        return [one for one in self.mirror.items.values() if not one.closing]

    def _changed(self, key: str, tunnel: Tunnel | None) -> None:
        if tunnel is not None and tunnel.closing and (held := self._held.get(key)) is not None:
            held[1].give_up(SessionClosed(tunnel.closing))

    async def _refresh(self, upstream_id: str, actor: Actor) -> None:
        """Have the catalog look: at what the server offers, or that it is away."""
        request = ById(actor, upstream_id)
        try:
            await self._bus.request(subjects.CATALOG_UPSTREAM_REFRESH, request, Upstream, timeout=_CATALOG_SECONDS)
        except (InterlockError, msgspec.DecodeError) as error:
            _log.warning("an upstream that dialled in was not looked at", upstream=upstream_id, reason=str(error))

    def _tell(self, upstream_id: str, message: bytes) -> None:
        self._later(self._publish(subjects.changed(upstream_id), message))

    async def _publish(self, subject: str, message: bytes) -> None:
        with contextlib.suppress(NatsError, Unavailable):  # whoever missed it looks again by its timer
            async with self._bus.lease() as client:
                await client.publish(subject, message)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="tunnel")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
