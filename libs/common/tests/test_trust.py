"""Following the trust bundle, on a real bus; what is done with a bundle is faked."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import DeadlineExceeded, Unavailable
from interlock_common.identity import Identity
from interlock_common.messages import resources, subjects
from interlock_common.messages.certs import BUNDLE_KEY, ConfirmTrust, TrustBundle
from interlock_common.messages.common import Empty
from interlock_common.testing.bus import TRUST_DOMAIN, EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_common.trust import TrustFollower


@dataclass
class Trusting:
    """Takes bundles, after as many failures as it is told to have."""

    failures: int = 0
    taken: list[tuple[bytes, tuple[str, ...]]] = field(default_factory=list[tuple[bytes, tuple[str, ...]]])

    async def trust(self, bundle_pem: bytes, tainted: tuple[str, ...]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("not now")
        self.taken.append((bundle_pem, tainted))


@dataclass
class Certs:
    """certs, as far as a follower knows it."""

    bus: Bus
    confirmed: list[tuple[str, ConfirmTrust]] = field(default_factory=list[tuple[str, ConfirmTrust]])

    async def start(self) -> None:
        async def confirm(subject: str, said: ConfirmTrust) -> Empty:
            self.confirmed.append((subject, said))
            return Empty()

        self.bus.endpoint_with_subject(f"{subjects.CERTS_TRUST_CONFIRM}.*", ConfirmTrust, confirm)
        await self.bus.start()
        await kv.ensure_bucket(self.bus, resources.TRUST)

    async def publish(self, bundle: str, generation: int) -> None:
        await kv.put(self.bus, resources.TRUST, BUNDLE_KEY, TrustBundle(bundle, generation))


@pytest.fixture
async def certs(embedded_bus: EmbeddedBus) -> AsyncGenerator[Certs]:
    found = Certs(embedded_bus.bus("certs"))
    await found.start()
    yield found
    await found.bus.stop()


@pytest.fixture
async def auth(embedded_bus: EmbeddedBus) -> AsyncGenerator[Bus]:
    bus = embedded_bus.bus("auth")
    await bus.start()
    yield bus
    await bus.stop()


def identity(embedded_bus: EmbeddedBus) -> Identity:
    return Identity("auth", TRUST_DOMAIN, Path(embedded_bus.identity("auth").directory))


async def test_each_bundle_is_used_and_then_confirmed_by_its_number(
    embedded_bus: EmbeddedBus, certs: Certs, auth: Bus
) -> None:
    await certs.publish("one", 1)
    trusting = Trusting(failures=1)
    following = asyncio.create_task(TrustFollower(identity(embedded_bus), auth, trusting, SYSTEM_CLOCK).run())
    try:
        await until(lambda: len(certs.confirmed) == 1)
        await certs.publish("two", 2)
        await until(lambda: len(certs.confirmed) == 2)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert trusting.taken == [(b"one", ()), (b"two", ())]
    assert certs.confirmed == [
        ("svc.certs.trust.confirm.auth", ConfirmTrust(1, auth.instance)),
        ("svc.certs.trust.confirm.auth", ConfirmTrust(2, auth.instance)),
    ]


async def test_nobody_confirms_for_another_service(certs: Certs, auth: Bus) -> None:
    with pytest.raises((DeadlineExceeded, Unavailable)):  # the bus drops what is not permitted
        await auth.request(subjects.trust_confirm("gateway"), ConfirmTrust(1, "x"), Empty, timeout=0.5)
    assert certs.confirmed == []
