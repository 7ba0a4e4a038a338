"""Issuing leaves: for who joins, and for who renews."""

from datetime import timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.certs import IssuedLeaf, LeafList, LeafSummary
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.authority import Authority, Leaf
from interlock_certs.errors import RequestRejected
from interlock_certs.joining import JoinDrops

_MAX_LISTED = 500


class Announcer(Protocol):
    """Who is told of each leaf; ``bus.py`` tells the bus and the audit log."""

    async def issued(self, leaf: Leaf, *, renewal: bool) -> None: ...


class Issuing:
    """What certs does with its authority."""

    def __init__(
        self,
        authority: Authority,
        drops: JoinDrops,
        engine: AsyncEngine,
        announcer: Announcer,
        lifetime: timedelta,
        clock: Clock,
    ) -> None:
        self._authority = authority
        self._drops = drops
        self._engine = engine
        self._announcer = announcer
        self._lifetime = lifetime
        self._clock = clock

    async def enrol(self, identity: str, token: str, csr_der: bytes) -> Leaf:
        """The first leaf of an identity, for a join token that this uses up."""
        await self._drops.use(identity, token)
        return await self._issue(identity, csr_der, renewal=False)

    async def renew(self, identity: str, csr_pem: str) -> IssuedLeaf:
        """The next leaf of an identity that the bus vouches for."""
        try:
            csr_der = x509.load_pem_x509_csr(csr_pem.encode()).public_bytes(Encoding.DER)
        except ValueError:
            raise RequestRejected("this is no PEM request") from None
        leaf = await self._issue(identity, csr_der, renewal=True)
        return IssuedLeaf(
            chain=leaf.chain_pem.decode(),
            bundle=self._authority.bundle_pem.decode(),
            not_before=int(leaf.not_before.timestamp()),
            not_after=int(leaf.not_after.timestamp()),
        )

    async def listing(self) -> LeafList:
        """The leaves that count at the moment, newest first."""
        async with transaction(self._engine) as session:
            rows = await store.live_leaves(session, int(self._clock.time()), _MAX_LISTED)
        return LeafList(tuple(
            LeafSummary(row.serial, row.identity, row.fingerprint, row.not_before, row.not_after) for row in rows
        ))  # fmt: skip

    async def _issue(self, identity: str, csr_der: bytes, *, renewal: bool) -> Leaf:
        leaf = self._authority.issue(identity, csr_der, self._lifetime)
        async with transaction(self._engine) as session:
            await store.add_leaf(session, leaf, renewal=renewal)
        await self._announcer.issued(leaf, renewal=renewal)
        return leaf
