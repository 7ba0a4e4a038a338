from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.pins import Pins
from interlock_certs.testing import ADMIN, DAY, NOBODY, CaWorld
from interlock_common.database import transaction
from interlock_common.errors import Conflict, NotFound, PermissionDenied
from interlock_common.messages.certs import ReinstateIdentity, RevokeIdentity, RevokeLeaf
from interlock_common.testing.clock import ManualClock


@pytest.fixture
async def ca(tmp_path: Path, engine: AsyncEngine, clock: ManualClock) -> CaWorld:
    world = CaWorld(tmp_path, engine, clock)
    await world.generations.load()
    return world


async def revoked_in_crl(ca: CaWorld) -> set[str]:
    crl = x509.load_der_x509_crl(await ca.crls.of(ca.generations.issuers[0].key_id))
    return {f"{entry.serial_number:x}" for entry in crl}


async def test_a_revoked_leaf_is_told_to_everybody_who_asks(ca: CaWorld) -> None:
    leaf, other = await ca.issue("auth"), await ca.issue("auth")
    ca.bus.connect("auth", "a1", leaf)
    ca.bus.connect("auth", "a2", other)
    done = await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, "00" + leaf.serial, "key_compromise"))
    (revoked,) = done.revoked
    assert (revoked.serial, revoked.fingerprint, revoked.subject, revoked.reason) == (
        leaf.serial, leaf.fingerprint, "auth", "key_compromise",
    )  # fmt: skip
    assert revoked.issuer == ca.generations.issuers[0].key_id
    assert (done.connections_ended, done.enforced, ca.bus.reloads) == (1, True, 1)
    assert [one.name for one in ca.bus.kicked] == ["auth-a1"]
    assert ca.edges.entries == [(revoked, int(leaf.not_after.timestamp()))]
    assert ca.announcer.told == [("revoked", "auth by root@example.com")]
    assert await revoked_in_crl(ca) == {leaf.serial}


async def test_a_certificate_of_another_ca_is_refused_by_the_edges_only(ca: CaWorld) -> None:
    request = RevokeLeaf(ADMIN, "beef", issuer="ab" * 20, subject="CN=ann", fingerprint="sha256:01", not_after=2**33)
    done = await ca.revocations.revoke_leaf(request)
    assert [(one.serial, one.issuer, one.subject) for one in done.revoked] == [("beef", "ab" * 20, "CN=ann")]
    assert (done.connections_ended, ca.bus.reloads) == (0, 0)
    assert await revoked_in_crl(ca) == set()
    assert [end for _, end in ca.edges.entries] == [2**33]


async def test_a_serial_that_nobody_knows_needs_its_issuer(ca: CaWorld) -> None:
    with pytest.raises(NotFound, match="no certificate with the serial number beef: name its issuer"):
        await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, "beef"))


async def test_revoking_twice_keeps_the_first_moment(ca: CaWorld, clock: ManualClock) -> None:
    leaf = await ca.issue("auth")
    first = await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, leaf.serial, "superseded"))
    clock.advance(60)
    again = await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, leaf.serial, "key_compromise"))
    assert again.revoked == first.revoked


@pytest.mark.parametrize("identity", ["certs", "bus", "bus-admin"])
async def test_what_the_deployment_stands_on_is_rotated_not_revoked(ca: CaWorld, identity: str) -> None:
    leaf = await ca.issue(identity)
    with pytest.raises(Conflict, match="rotating the CA"):
        await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, leaf.serial))
    with pytest.raises(Conflict, match="rotate the CA instead"):
        await ca.revocations.revoke_identity(RevokeIdentity(ADMIN, identity))


async def test_an_identity_loses_every_leaf_and_gets_none_until_it_is_reinstated(ca: CaWorld) -> None:
    leaves = {(await ca.issue("auth")).serial for _ in range(3)}
    await ca.issue("gateway")
    done = await ca.revocations.revoke_identity(RevokeIdentity(ADMIN, "auth", "privilege_withdrawn"))
    assert {one.serial for one in done.revoked} == leaves
    async with transaction(ca.engine) as session:
        assert await store.revoked_identity(session, "auth") is not None
    await ca.revocations.reinstate(ReinstateIdentity(ADMIN, "auth"))
    async with transaction(ca.engine) as session:
        assert await store.revoked_identity(session, "auth") is None
    assert await revoked_in_crl(ca) == leaves
    with pytest.raises(NotFound, match="auth is not revoked"):
        await ca.revocations.reinstate(ReinstateIdentity(ADMIN, "auth"))


async def test_a_bus_that_is_away_is_told_later_and_the_answer_says_so(ca: CaWorld) -> None:
    leaf = await ca.issue("auth")
    ca.bus.away = ca.edges.away = True
    done = await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, leaf.serial))
    assert not done.enforced
    assert await revoked_in_crl(ca) == {leaf.serial}
    ca.edges.away = False
    await ca.revocations.publish_all()
    assert [one.serial for one, _ in ca.edges.entries] == [leaf.serial]


async def test_only_who_may_configure_the_system_revokes(ca: CaWorld) -> None:
    leaf = await ca.issue("auth")
    for refused in (
        ca.revocations.revoke_leaf(RevokeLeaf(NOBODY, leaf.serial)),
        ca.revocations.revoke_identity(RevokeIdentity(NOBODY, "auth")),
        ca.revocations.reinstate(ReinstateIdentity(NOBODY, "auth")),
    ):
        with pytest.raises(PermissionDenied, match=r"admin\.system_config"):
            await refused


async def test_a_crl_is_numbered_ends_and_is_signed_anew_in_time(ca: CaWorld, clock: ManualClock) -> None:
    issuer = ca.generations.issuers[0]
    first = x509.load_der_x509_crl(await ca.crls.of(issuer.key_id))
    assert first.is_signature_valid(issuer.certificate.public_key())  # pyright: ignore[reportArgumentType] - EC
    assert await ca.crls.of(issuer.key_id) == first.public_bytes(Encoding.DER)
    clock.advance(1801)
    second = x509.load_der_x509_crl(await ca.crls.of(issuer.key_id))
    numbers = [crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in (first, second)]
    assert numbers[1] > numbers[0]
    assert second.next_update_utc is not None
    assert second.next_update_utc - clock.now() == timedelta(hours=1)
    with pytest.raises(NotFound):
        await ca.crls.of("00")


async def test_an_expired_leaf_leaves_the_crl(ca: CaWorld, clock: ManualClock) -> None:
    leaf = await ca.issue("auth")
    await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, leaf.serial))
    clock.advance(2 * DAY.total_seconds())
    assert await revoked_in_crl(ca) == set()


@pytest.fixture
def pins(ca: CaWorld, tmp_path: Path, clock: ManualClock) -> Pins:
    return Pins(ca.engine, tmp_path / "bus", ca.bus, lambda: ca.generations.issuer_ids, 3600, clock)


async def test_the_bus_takes_what_was_issued_and_not_revoked(ca: CaWorld, pins: Pins, tmp_path: Path) -> None:
    kept, revoked = await ca.issue("auth"), await ca.issue("gateway")
    await pins.write()
    file = tmp_path / "bus" / "pins.conf"
    assert all(store.public_key_digest(leaf.certificate) in file.read_text() for leaf in (kept, revoked))
    await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, revoked.serial))
    await pins.write()
    assert store.public_key_digest(kept.certificate) in file.read_text()
    assert store.public_key_digest(revoked.certificate) not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644


async def test_a_leaf_that_ended_keeps_its_connection_for_a_while(
    ca: CaWorld, pins: Pins, tmp_path: Path, clock: ManualClock
) -> None:
    digest = store.public_key_digest((await ca.issue("auth")).certificate)
    for seconds, listed in ((DAY.total_seconds() + 60, True), (3600, False)):
        clock.advance(seconds)
        await pins.write()
        assert (digest in (tmp_path / "bus" / "pins.conf").read_text()) is listed


async def test_without_the_keys_of_all_leaves_nothing_is_pinned(ca: CaWorld, pins: Pins, tmp_path: Path) -> None:
    leaf = await ca.issue("auth")
    async with transaction(ca.engine) as session:
        (await store.leaf_of(session, leaf.serial)).public_key = ""  # type: ignore[union-attr]  # as issued before
    await pins.write()
    assert "pinned_certs" not in (tmp_path / "bus" / "pins.conf").read_text()
