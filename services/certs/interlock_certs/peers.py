"""Who is on the bus, which trust bundle each confirmed, and which generation of the CA issued the leaf it shows."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.bus_admin import Connection
from interlock_certs.generations import Generations
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.access import SERVICES
from interlock_common.messages.certs import ConfirmTrust, Peer

_CERTS = "certs"
_CONFIRMING = frozenset(SERVICES) - {_CERTS}
"""Who follows the trust bundle; operators and workers bring the bundle along with each new leaf."""
_KEPT_SECONDS = 30 * 86400
_SHOWN = 8


class Connections(Protocol):
    """Where the connections of the bus are asked for: ``BusAdmin``."""

    async def connections(self) -> list[Connection]: ...


class Peers:
    """The clients of the bus as a rotation of the CA sees them."""

    def __init__(self, engine: AsyncEngine, admin: Connections, generations: Generations, clock: Clock) -> None:
        self._engine = engine
        self._admin = admin
        self._generations = generations
        self._clock = clock

    async def confirm(self, identity: str, confirmation: ConfirmTrust) -> None:
        """Note which bundle an instance uses; the bus vouches for ``identity``."""
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            await store.forget_confirmations(session, now - _KEPT_SECONDS)
            await store.confirm(session, identity, confirmation.instance, confirmation.generation, now)

    async def listing(self) -> list[Peer]:
        """One entry for each process, with the oldest leaf that it shows. Raises Unavailable when the bus is away."""
        connections = await self._admin.connections()
        async with transaction(self._engine) as session:
            issuers = await store.issuers_of(session, {one.fingerprint for one in connections})
            confirmed = {(row.identity, row.instance): row.bundle for row in await store.confirmations(session)}
        found: dict[tuple[str, str], Peer] = {}
        for one in connections:
            identity = one.user.rpartition("/")[2]
            instance = one.name.removeprefix(f"{identity}-")
            leaf = self._generations.number_of(issuers.get(one.fingerprint, ""))
            before = found.get((identity, instance))
            oldest = leaf if before is None else _older(leaf, before.leaf)
            bundle = self._generations.bundle if identity == _CERTS else confirmed.get((identity, instance))
            found[identity, instance] = Peer(identity, instance, bundle, oldest)
        return [found[key] for key in sorted(found)]


def unconfirmed(peers: Iterable[Peer], bundle: int) -> Sequence[str]:
    """Who must use a bundle and has not said so yet."""
    return [_name(peer) for peer in peers if peer.identity in _CONFIRMING and (peer.bundle or 0) < bundle]


def showing_other_than(peers: Iterable[Peer], generation: int) -> Sequence[str]:
    """Who shows a leaf that another generation issued."""
    return [_name(peer) for peer in peers if peer.leaf != generation]


def named(peers: Sequence[str]) -> str:
    """The first few of them, for an error message."""
    more = f" and {len(peers) - _SHOWN} more" if len(peers) > _SHOWN else ""
    return ", ".join(peers[:_SHOWN]) + more


def _name(peer: Peer) -> str:
    return f"{peer.identity} {peer.instance}".strip()


def _older(one: int | None, other: int | None) -> int | None:
    """The older of two generations; one that is not known may be older than any."""
    return None if one is None or other is None else min(one, other)
