from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from interlock_auth.errors import KeyNotOurs
from interlock_auth.keys import Keyring, KeyRules
from interlock_auth.signing import KeyFolder, generate, secret_pair
from interlock_auth.store import Store
from interlock_common.database import transaction
from interlock_common.errors import PermissionDenied, Unavailable
from interlock_common.messages.auth import CreateToken, RotateKey, SigningKey
from interlock_common.messages.common import Actor
from interlock_common.messages.subjects import EVT_KEY_ROTATED


def published(world: Any) -> dict[str, SigningKey]:
    return world.outlet.buckets["signing-keys"]


async def kid_of_new_token(world: Any, lifetime: int = 600) -> str:
    token = (await world.tokens.create(CreateToken(Actor("admin@example.com", is_admin=True), "t", lifetime))).token
    return jwt.get_unverified_header(token)["kid"]


async def test_a_new_key_is_published_before_it_signs(world: Any) -> None:
    admin = await world.administrator()
    old = await kid_of_new_token(world)
    rotated = await world.keyring.rotate(RotateKey(admin))
    assert set(published(world)) == {old, rotated.kid}
    assert await kid_of_new_token(world) == old
    world.clock.advance(10)
    assert await kid_of_new_token(world) == rotated.kid
    assert rotated.not_before == int(world.clock.time())
    assert (EVT_KEY_ROTATED, rotated) in world.outlet.events


async def test_keys_rotated_within_a_second_sign_one_after_the_other(world: Any) -> None:
    admin = await world.administrator()
    first = await world.keyring.rotate(RotateKey(admin))
    second = await world.keyring.rotate(RotateKey(admin))
    assert second.not_before > first.not_before
    world.clock.advance(10)
    assert await kid_of_new_token(world) == first.kid
    world.clock.advance(1)
    assert await kid_of_new_token(world) == second.kid


async def test_an_old_key_stays_until_its_last_token_has_expired(world: Any, tmp_path: Path) -> None:
    admin = await world.administrator()
    old = await kid_of_new_token(world, lifetime=600)
    await world.keyring.rotate(RotateKey(admin))
    world.clock.advance(599)
    assert await world.keyring.prune() == ()
    assert old in published(world)
    world.clock.advance(2)
    assert await world.keyring.prune() == (old,)
    assert old not in published(world)
    assert not (tmp_path / "keys" / f"{old}.pem").exists()


async def test_a_key_is_withdrawn_only_when_its_successor_signs(world: Any) -> None:
    admin = await world.administrator()
    await world.keyring.rotate(RotateKey(admin))
    assert await world.keyring.prune() == ()
    world.clock.advance(19)
    assert await world.keyring.prune() == ()
    world.clock.advance(1)
    assert len(await world.keyring.prune()) == 1


async def test_a_key_is_rotated_at_the_end_of_its_lifetime(world: Any) -> None:
    assert not await world.keyring.rotate_when_due()
    world.clock.advance(90 * 86400)
    assert await world.keyring.rotate_when_due()
    assert not await world.keyring.rotate_when_due()
    assert len(published(world)) == 2


async def test_only_an_administrator_rotates(world: Any) -> None:
    user = await world.add("u@example.com", "admin.system_config")
    with pytest.raises(PermissionDenied):
        await world.keyring.rotate(RotateKey(msgspec.structs.replace(user, is_admin=True)))


async def test_a_restart_keeps_the_key(world: Any, tmp_path: Path) -> None:
    admin = await world.administrator()
    before = await kid_of_new_token(world)
    keyring = Keyring(
        world.engine, KeyFolder(tmp_path / "keys"), world.outlet, KeyRules("EdDSA", 10, 86400), world.clock
    )
    await keyring.prepare()
    await keyring.publish()
    assert set(published(world)) == {before}
    assert admin.is_admin


async def test_a_key_that_nobody_could_verify_is_not_kept(world: Any) -> None:
    await world.administrator()
    world.outlet.away = True
    with pytest.raises(Unavailable):
        await world.keyring.rotate(RotateKey(Actor("admin@example.com", is_admin=True)))
    async with transaction(world.engine) as session:
        assert len(await Store(session).signing_keys()) == 1


async def test_another_algorithm_signs_at_once_and_old_tokens_still_verify(world: Any) -> None:
    await world.administrator()
    old = await kid_of_new_token(world)
    keyring = Keyring(world.engine, world.folder, world.outlet, KeyRules("ES256", 10, 86400), world.clock)
    await keyring.prepare()
    async with transaction(world.engine) as session:
        pair = await keyring.signer(Store(session), 1)
    assert pair.algorithm == "ES256"
    assert {key.algorithm for key in published(world).values()} == {"EdDSA", "ES256"}
    assert old in published(world)


async def test_a_key_from_outside_signs_alone_and_is_not_rotated_here(world: Any) -> None:
    brought = generate("EdDSA")
    keyring = Keyring(world.engine, world.folder, world.outlet, KeyRules("EdDSA", 10, 1), world.clock, brought)
    await keyring.prepare()
    async with transaction(world.engine) as session:
        assert await keyring.signer(Store(session), 1) is brought
    world.clock.advance(100)
    assert not await keyring.rotate_when_due()
    with pytest.raises(KeyNotOurs):
        await keyring.rotate(RotateKey(await world.administrator()))


async def test_a_shared_secret_is_published_to_verify_with_and_never_stored(world: Any) -> None:
    brought = secret_pair("s" * 40, development=False)
    keyring = Keyring(world.engine, world.folder, world.outlet, KeyRules("HS256", 10, 86400), world.clock, brought)
    await keyring.prepare()
    await keyring.publish()
    jwk: dict[str, str] = msgspec.json.decode(published(world)[brought.kid].jwk)
    token = jwt.encode({"sub": "a"}, "s" * 40, "HS256")
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["HS256"]) == {"sub": "a"}
    async with transaction(world.engine) as session:
        assert all(jwk["k"] not in row.jwk for row in await Store(session).signing_keys())


async def test_a_secret_of_before_is_not_published_again(world: Any) -> None:
    old, new = secret_pair("s" * 40, development=False), secret_pair("t" * 40, development=False)
    rules = KeyRules("HS256", 10, 86400)
    await Keyring(world.engine, world.folder, world.outlet, rules, world.clock, old).prepare()
    keyring = Keyring(world.engine, world.folder, world.outlet, rules, world.clock, new)
    await keyring.prepare()
    world.outlet.buckets.clear()
    await keyring.publish()
    assert [kid for kid, key in published(world).items() if key.algorithm == "HS256"] == [new.kid]
