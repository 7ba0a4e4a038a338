import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import text

from interlock_certs.errors import JoinRefused, NotRenewable, RequestRejected
from interlock_common.database import transaction

CSR = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
)
DER, PEM = CSR.public_bytes(Encoding.DER), CSR.public_bytes(Encoding.PEM).decode()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - files have no event
            await asyncio.sleep(0.005)


async def test_a_token_counts_once(world: Any) -> None:
    token = world.token("auth")
    leaf = await world.issuing.enrol("auth", token, DER)
    assert world.announcer.leaves == [(leaf, False)]
    with pytest.raises(JoinRefused):
        await world.issuing.enrol("auth", token, DER)


async def test_a_token_counts_once_for_many_at_the_same_time(world: Any) -> None:
    token = world.token("auth")
    attempts = [world.issuing.enrol("auth", token, DER) for _ in range(8)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert {type(result) for result in results if isinstance(result, BaseException)} == {JoinRefused}


async def test_a_token_that_has_expired_is_refused(world: Any) -> None:
    world.clock.advance(300)
    with pytest.raises(JoinRefused):
        await world.issuing.enrol("auth", world.token("auth"), DER)


async def test_a_token_of_another_identity_is_refused_and_not_used_up(world: Any) -> None:
    with pytest.raises(JoinRefused):
        await world.issuing.enrol("gateway", world.token("auth"), DER)
    assert await world.issuing.enrol("auth", world.token("auth"), DER)


async def test_a_token_alone_says_whose_it_is(world: Any) -> None:
    assert (await world.issuing.enrol(None, world.token("gateway"), DER)).identity == "gateway"


async def test_a_rejected_request_does_not_use_up_the_token(world: Any) -> None:
    with pytest.raises(RequestRejected):
        await world.issuing.enrol("auth", world.token("auth"), b"nonsense")
    assert await world.issuing.enrol("auth", world.token("auth"), DER)


@pytest.mark.parametrize("token", ["", "nonsense", "\udcff", "' OR 1=1 --"])
async def test_an_unknown_token_is_refused(world: Any, token: str) -> None:
    with pytest.raises(JoinRefused):
        await world.issuing.enrol("auth", token, DER)


async def test_used_and_ageing_tokens_are_replaced_in_their_drop(world: Any) -> None:
    keeping = asyncio.create_task(world.drops.keep_fresh())
    first, other = world.token("auth"), world.token("gateway")
    await world.issuing.enrol("auth", first, DER)
    await until(lambda: world.token("auth") != first)
    assert world.token("gateway") == other
    await world.clock.until_asleep()
    world.clock.advance(150)
    await until(lambda: world.token("gateway") != other)
    assert await world.issuing.enrol("gateway", world.token("gateway"), DER)
    keeping.cancel()


async def test_drops_are_private_and_the_database_has_no_token(world: Any) -> None:
    drop = world.join / "auth"
    assert drop.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in drop.iterdir()} == {"token": 0o600, "bundle.pem": 0o600}
    async with transaction(world.engine) as session:
        kept = (await session.execute(text("select digest, identity from join_tokens"))).all()
    assert {row.identity for row in kept} == {"auth", "gateway"}
    assert not any(world.token("auth") in row.digest for row in kept)


async def test_a_renewal_is_recorded_and_listed(world: Any) -> None:
    issued = await world.issuing.renew("auth", PEM)
    assert issued.bundle == world.authority.bundle_pem.decode()
    assert issued.not_after - issued.not_before == 86400 + 60
    [summary] = (await world.issuing.listing()).leaves
    assert (summary.identity, summary.not_after) == ("auth", issued.not_after)
    assert [renewal for _, renewal in world.announcer.leaves] == [True]
    world.clock.advance(86400)
    assert (await world.issuing.listing()).leaves == ()


@pytest.mark.parametrize("identity", ["bus", "bus-admin"])
async def test_what_certs_makes_nobody_else_renews(world: Any, identity: str) -> None:
    with pytest.raises(NotRenewable):
        await world.issuing.renew(identity, PEM)
