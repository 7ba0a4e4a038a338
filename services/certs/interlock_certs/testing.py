"""certs with several CAs and a bus that is pretended: who is on it, what it takes, who was told what."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.authority import Authority, Leaf
from interlock_certs.bus_admin import Connection
from interlock_certs.crl import Crls
from interlock_certs.generations import Generations
from interlock_certs.monitoring import Severity
from interlock_certs.ocsp import OcspResponder
from interlock_certs.peers import Peers
from interlock_certs.plan import Lifetimes, Plan
from interlock_certs.pointers import pointers_to
from interlock_certs.profiles import Grant
from interlock_certs.revocation import Revocations
from interlock_certs.rotation import Rotation
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import Unavailable
from interlock_common.messages.access import spiffe_id
from interlock_common.messages.certs import Reason, RevokedCertificate, Step
from interlock_common.messages.common import Actor

DOMAIN = "interlock.test"
DAY = timedelta(days=1)
ADMIN = Actor("root@example.com", is_admin=True)
NOBODY = Actor("ann@example.com")
STATUS_LIFETIME = timedelta(hours=1)


@dataclass
class FakeBus:
    """Connections by the leaf they show; with ``away`` nothing is obeyed."""

    shown: list[Connection] = field(default_factory=list[Connection])
    kicked: list[Connection] = field(default_factory=list[Connection])
    reloads: int = 0
    away: bool = False

    def connect(self, identity: str, instance: str, leaf: Leaf) -> None:
        number, user = len(self.shown) + 1, spiffe_id(DOMAIN, identity)
        self.shown.append(Connection("one", number, user, f"{identity}-{instance}", leaf.fingerprint))

    async def connections(self) -> list[Connection]:
        if self.away:
            raise Unavailable("the bus is away")
        return list(self.shown)

    async def ready(self) -> None:
        """It needs no certificate."""

    async def reload(self) -> int:
        await self._enforce()
        return 1

    async def kick(self, connections: list[Connection]) -> None:
        self.kicked += connections

    @property
    def enforce(self) -> Callable[[], Awaitable[None]]:
        return self._enforce

    async def _enforce(self) -> None:
        if self.away:
            raise Unavailable("the bus is away")
        self.reloads += 1


@dataclass
class FakeAnnouncer:
    """What was told, in its order."""

    told: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def revoked(self, actor: Actor, certificate: RevokedCertificate) -> None:
        self.told.append(("revoked", f"{certificate.subject} by {actor.principal}"))

    def identity_revoked(self, actor: Actor, identity: str, reason: Reason) -> None:
        self.told.append(("identity.revoked", f"{identity} by {actor.principal}: {reason}"))

    def identity_reinstated(self, actor: Actor, identity: str) -> None:
        self.told.append(("identity.reinstated", f"{identity} by {actor.principal}"))

    async def rotated(self, actor: Actor, step: Step, generation: int, bundle: int) -> None:
        self.told.append((step, f"{generation} {bundle} by {actor.principal}"))

    async def step_refused(self, actor: Actor, step: Step, reason: str) -> None:
        self.told.append((f"{step} refused", f"{actor.principal}: {reason}"))

    async def expiring(self, identity: str, serial: str, not_after: int, severity: Severity) -> None:
        self.told.append((severity, f"{identity} {serial} {not_after}"))


@dataclass
class FakeEdges:
    """The bucket that edges mirror."""

    entries: list[tuple[RevokedCertificate, int | None]] = field(
        default_factory=list[tuple[RevokedCertificate, int | None]]
    )
    away: bool = False

    async def put(self, certificate: RevokedCertificate, not_after: int | None) -> None:
        if self.away:
            raise Unavailable("the bus is away")
        self.entries.append((certificate, not_after))


class CaWorld:
    """The stories of revocation and rotation on a real database."""

    def __init__(self, directory: Path, engine: AsyncEngine, clock: Clock, status_url: str = "") -> None:
        self.directory = directory
        self.engine = engine
        self.clock = clock
        plan = Plan(DOMAIN, Lifetimes(3650 * DAY, 365 * DAY), pointers=pointers_to(status_url))
        self.generations = Generations(engine, directory / "ca", lambda path: Authority.open(path, plan, clock), clock)
        self.bus, self.announcer, self.edges = FakeBus(), FakeAnnouncer(), FakeEdges()
        self.applied = 0
        self.peers = Peers(engine, self.bus, self.generations, clock)
        self.rotation = Rotation(self.generations, self.peers, self._apply, self.announcer, clock)
        self.crls = Crls(engine, lambda: self.generations.issuers, STATUS_LIFETIME, directory / "crl", clock)
        self.ocsp = OcspResponder(engine, lambda: self.generations.issuers, STATUS_LIFETIME, clock)
        self.revocations = Revocations(engine, self.bus, self.bus, self.edges, self.announcer, self._changed, clock)

    async def issue(self, identity: str, lifetime: timedelta = DAY) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self.generations.issue(identity, key.public_key(), Grant(lifetime))
        async with transaction(self.engine) as session:
            await store.add_leaf(session, leaf, renewal=False)
        return leaf

    async def _apply(self) -> None:
        if self.bus.away:
            raise Unavailable("the bus is away")
        self.applied += 1

    def _changed(self) -> None:
        self.crls.changed()
        self.ocsp.changed()
