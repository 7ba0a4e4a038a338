import asyncio
from typing import Any

import jwt
import pytest

from interlock_auth.errors import LockedOut, LoginRefused
from interlock_auth.passwords import Passwords
from interlock_auth.store import Store
from interlock_common.database import transaction
from interlock_common.errors import ConfigurationError
from interlock_common.messages.auth import Login, Principal, principal_key

ADMIN = "admin@example.com"
PASSWORD = "correct horse battery staple"


async def stored_hash(world: Any) -> str:
    async with transaction(world.engine) as session:
        row = await Store(session).principal(ADMIN)
    assert row is not None
    return row.password_hash or ""


async def test_the_administrator_is_created_once_with_argon2id(world: Any) -> None:
    await world.administrator()
    first = await stored_hash(world)
    assert first.startswith("$argon2id$")
    await world.ensure("another password")
    assert await stored_hash(world) == first
    await world.principals.publish()
    assert world.outlet.buckets["principals"][principal_key(ADMIN)] == Principal(ADMIN, is_admin=True)


@pytest.mark.parametrize(
    ("password", "complaint"),
    [(None, "must be set"), ("changeme", "well-known default"), ("short", "at least 8 characters")],
)
async def test_a_bad_first_password_stops_the_start_outside_development(
    world: Any, password: str | None, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        await world.ensure(password)


async def test_a_stored_default_password_stops_the_start_outside_development(world: Any) -> None:
    await world.ensure(None, development=True)
    await world.ensure(None, development=True)
    with pytest.raises(ConfigurationError, match="still has the well-known default password"):
        await world.ensure(None)


async def test_a_login_answers_a_short_lived_token(world: Any) -> None:
    await world.administrator()
    issued = await world.principals.login(Login(" Admin@Example.com", PASSWORD))
    claims = jwt.decode(issued.token, options={"verify_signature": False, "verify_exp": False})
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (ADMIN, 3600)
    assert "teams" not in claims
    assert ("login.accepted", ADMIN, issued.id) in world.outlet.actions


async def test_an_unknown_user_is_refused_like_a_wrong_password(world: Any) -> None:
    await world.administrator()
    refusals: list[str] = []
    for email in (ADMIN, "nobody@example.com"):
        with pytest.raises(LoginRefused) as refused:
            await world.principals.login(Login(email, "wrong"))
        refusals.append(refused.value.detail)
    assert len(set(refusals)) == 1


@pytest.mark.parametrize("email", [ADMIN, "nobody@example.com"])
async def test_repeated_failures_lock_an_email_whether_it_exists_or_not(world: Any, email: str) -> None:
    await world.administrator()
    for _ in range(3):
        with pytest.raises(LoginRefused):
            await world.principals.login(Login(email, "wrong"))
    with pytest.raises(LockedOut) as locked:
        await world.principals.login(Login(email, PASSWORD))
    assert locked.value.fields == {"retry_after": 1800}


async def test_a_lock_ends_by_itself(world: Any) -> None:
    await world.administrator()
    for _ in range(3):
        with pytest.raises(LoginRefused):
            await world.principals.login(Login(ADMIN, "wrong"))
    world.clock.advance(1800)
    await world.principals.login(Login(ADMIN, PASSWORD))


async def test_a_success_forgets_the_failures_before_it(world: Any) -> None:
    await world.administrator()
    for _ in range(3):
        for _ in range(2):
            with pytest.raises(LoginRefused):
                await world.principals.login(Login(ADMIN, "wrong"))
        await world.principals.login(Login(ADMIN, PASSWORD))


async def test_parallel_guesses_all_count(world: Any) -> None:
    await world.administrator()
    guesses = [world.principals.login(Login(ADMIN, f"guess {number}")) for number in range(8)]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(outcome, LoginRefused) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, LockedOut) for outcome in outcomes) == 5


async def test_old_failures_are_forgotten(world: Any) -> None:
    with pytest.raises(LoginRefused):
        await world.principals.login(Login("nobody@example.com", "wrong"))
    world.clock.advance(1801)
    await world.principals.forget_old_failures()
    async with transaction(world.engine) as session:
        assert await Store(session).failures("nobody@example.com") is None


async def test_a_hash_of_weaker_parameters_is_renewed_at_login(world: Any) -> None:
    await world.administrator()
    weak = await stored_hash(world)
    world.principals._passwords = Passwords()
    await world.principals.login(Login(ADMIN, PASSWORD))
    assert await stored_hash(world) != weak
    assert "m=65536" in await stored_hash(world)
    await world.principals.login(Login(ADMIN, PASSWORD))


async def test_an_overlong_password_is_just_wrong() -> None:
    passwords = Passwords()
    assert not await passwords.verify(await passwords.hash("x" * 1024), "x" * 1025)
    assert not await passwords.verify(None, "nobody has this password")
    assert not await passwords.verify("not a hash", "x")
