"""A bus for tests of REST: answers what a test says, and keeps what was asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from fastapi import Request

from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import InterlockError, NotFound, Unauthenticated, Unavailable
from interlock_common.messages.auth import SigningKey
from interlock_common.messages.catalog import CatalogItem, Upstream, upstream_key
from interlock_common.messages.common import Actor
from interlock_common.messages.gateway import Tunnel
from interlock_common.sealing import Sealer
from interlock_gateway.rest.dependencies import RestDependencies
from interlock_gateway.testing.grants import FakeGrants, FakeOnce
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.oauth.consents import Consents
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints

TOKEN = "Bearer good"  # noqa: S105 - nobody's
ACTOR = Actor("ada@example.com", teams=("red",), permissions=("tools.read",), token_id="t-1")  # noqa: S106


@dataclass
class FakeBus:
    """``replies`` by subject, errors raised; what is not there, nobody answers."""

    replies: dict[str, msgspec.Struct | Exception] = field(default_factory=dict[str, msgspec.Struct | Exception])
    asked: list[tuple[str, msgspec.Struct]] = field(default_factory=list[tuple[str, msgspec.Struct]])

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T:
        del timeout
        self.asked.append((subject, message))
        answer = self.replies.get(subject, Unavailable(f"nobody answers {subject} at the moment"))
        if isinstance(answer, Exception):
            raise answer
        return msgspec.json.decode(msgspec.json.encode(answer), type=reply)  # as over the wire


@dataclass
class FakeView[T]:
    """A mirror that holds what a test puts there."""

    items: Mapping[str, T] = field(default_factory=dict[str, T])


@dataclass
class FakeTunnels:
    """Servers that dialled in, as a test says; administrators see all, others their own."""

    tunnels: list[Tunnel] = field(default_factory=list[Tunnel])

    def listed(self, actor: Actor) -> list[Tunnel]:
        return [tunnel for tunnel in self.tunnels if actor.is_admin or tunnel.principal == actor.principal]

    async def close(self, actor: Actor, tunnel_id: str) -> None:
        found = [tunnel for tunnel in self.listed(actor) if tunnel.id == tunnel_id]
        if not found:
            raise NotFound("no such session")
        self.tunnels.remove(found[0])


@dataclass
class FakeWorld:
    """Everything outside of REST."""

    bus: FakeBus = field(default_factory=FakeBus)
    catalog: FakeView[CatalogItem] = field(default_factory=FakeView[CatalogItem])
    signing_keys: FakeView[SigningKey] = field(default_factory=FakeView[SigningKey])
    tunnels: FakeTunnels = field(default_factory=FakeTunnels)
    grants: FakeGrants = field(default_factory=FakeGrants)
    reasons: list[str] = field(default_factory=list[str])
    actor: Actor = ACTOR
    refusal: InterlockError | None = None
    clock: Clock = SYSTEM_CLOCK

    def __post_init__(self) -> None:
        self.endpoints = TokenEndpoints(AddressPolicy(allow_private=True))
        self.consents = Consents(
            self.upstream, self.grants, Sealer(b"secret"), self.endpoints, FakeOnce(), self.clock,
            base="http://gateway.example",
        )  # fmt: skip

    def upstream(self, upstream_id: str) -> Upstream | None:
        found = self.catalog.items.get(upstream_key(upstream_id))
        return found if isinstance(found, Upstream) else None

    def dependencies(self) -> RestDependencies:
        return RestDependencies(
            bus=self.bus,
            authenticate=self.authenticate,
            catalog=self.catalog,
            signing_keys=self.signing_keys,
            ready=lambda: self.reasons,
            tunnels=self.tunnels,
            consents=self.consents,
        )

    async def authenticate(self, request: Request) -> Actor:
        if self.refusal is not None:
            raise self.refusal
        if request.headers.get("authorization") != TOKEN:
            raise Unauthenticated("a bearer token is required")
        return self.actor
