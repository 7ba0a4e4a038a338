"""Issuing leaves: for who joins, for who renews, and for certs itself and the bus."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.authority import Authority, Leaf
from interlock_certs.errors import NotRenewable
from interlock_certs.joining import JoinDrops
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.access import BUS_ADMIN
from interlock_common.messages.certs import IssuedLeaf, LeafList, LeafSummary

BUS = "bus"
_MADE_HERE = frozenset({BUS, BUS_ADMIN})
_MAX_LISTED = 500


class Announcer(Protocol):
    """Who is told of each leaf; ``bus.py`` tells the bus and the audit log."""

    async def issued(self, leaf: Leaf, *, renewal: bool) -> None: ...


class Issuing:
    """What certs does with its authority; each leaf is in the database before anybody gets it."""

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

    async def enrol(self, identity: str | None, token: str, csr: bytes) -> Leaf:
        """The first leaf of the identity whose join token this is; the token is used up if, and only if, it is issued.

        With ``identity`` None the token alone says whose it is.
        """
        async with transaction(self._engine) as session:
            joining = await self._drops.use(session, identity, token)
            leaf = self._authority.issue(joining, csr, self._lifetime)
            await store.add_leaf(session, leaf, renewal=False)
        self._drops.used(joining)
        await self._announcer.issued(leaf, renewal=False)
        return leaf

    async def renew(self, identity: str, csr_pem: str) -> IssuedLeaf:
        """The next leaf of an identity that the bus vouches for."""
        if identity in _MADE_HERE:
            raise NotRenewable(f"the certificate of {identity} is made by certs and renewed by nobody else")
        leaf = self._authority.issue(identity, csr_pem.encode(), self._lifetime)
        await self._record(leaf, renewal=True)
        return IssuedLeaf(
            chain=leaf.chain_pem.decode(),
            bundle=self._authority.bundle_pem.decode(),
            not_before=int(leaf.not_before.timestamp()),
            not_after=int(leaf.not_after.timestamp()),
        )

    async def issue_own(self, identity: str, csr: bytes, lifetime: timedelta, names: Sequence[str]) -> Leaf:
        """A leaf for certs itself or for the bus."""
        leaf = self._authority.issue(identity, csr, lifetime, names)
        await self._record(leaf, renewal=False)
        return leaf

    async def listing(self) -> LeafList:
        """The leaves that count at the moment, newest first."""
        async with transaction(self._engine) as session:
            rows = await store.live_leaves(session, int(self._clock.time()), _MAX_LISTED)
        return LeafList(tuple(
            LeafSummary(row.serial, row.identity, row.fingerprint, row.not_before, row.not_after) for row in rows
        ))  # fmt: skip

    async def _record(self, leaf: Leaf, *, renewal: bool) -> None:
        async with transaction(self._engine) as session:
            await store.add_leaf(session, leaf, renewal=renewal)
        await self._announcer.issued(leaf, renewal=renewal)
