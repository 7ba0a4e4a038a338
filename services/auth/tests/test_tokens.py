import hashlib
from typing import Any

import jwt
import msgspec
import pytest

from interlock_auth.containment import Grant
from interlock_auth.errors import LifetimeRefused, NameRefused, NotContained
from interlock_auth.store import Store
from interlock_auth.tokens import Mint, TokenRules, settings_left_default
from interlock_common.database import transaction
from interlock_common.messages.auth import CreateToken, ListTokens, Principal, RevokeToken, Scopes, SigningKey
from interlock_common.messages.common import Actor


def verified(world: Any, token: str) -> dict[str, Any]:
    """The claims, verified as an edge does: by the published key, at the time of the test clock."""
    kid = jwt.get_unverified_header(token)["kid"]
    key: SigningKey = world.outlet.buckets["signing-keys"][kid]
    options: Any = {"verify_exp": False, "verify_iat": False}
    return jwt.decode(
        token, jwt.PyJWK(msgspec.json.decode(key.jwk)), algorithms=[key.algorithm], audience="mcpgateway-api",
        issuer="mcpgateway", options=options,
    )  # fmt: skip


async def test_a_token_says_who_for_whom_and_until_when(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "ci", 600))
    now = int(world.clock.time())
    assert verified(world, issued.token) == {
        "iss": "mcpgateway", "aud": "mcpgateway-api", "sub": admin.principal, "jti": issued.id, "iat": now,
        "exp": now + 600,
    }  # fmt: skip
    assert jwt.get_unverified_header(issued.token)["typ"] == "at+jwt"
    assert issued.expires_at == now + 600
    assert ("token.created", admin.principal, issued.id) in world.outlet.actions


async def test_teams_and_scopes_are_claims_when_given(world: Any) -> None:
    admin = await world.administrator()
    scopes = Scopes("one", ("tools.execute",))
    issued = await world.tokens.create(CreateToken(admin, "ci", 600, scopes, ()))
    claims = verified(world, issued.token)
    assert claims["teams"] == []
    assert claims["scopes"] == {"server_id": "one", "permissions": ["tools.execute"]}


async def test_only_a_hash_of_the_token_is_kept(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "ci", 600))
    async with transaction(world.engine) as session:
        row = await Store(session).token(issued.id)
    assert row is not None
    assert row.digest == hashlib.sha256(issued.token.encode()).digest()
    signature = issued.token.rsplit(".", 1)[1]
    assert not any(signature in str(getattr(row, column.key)) for column in row.__table__.columns)


@pytest.mark.parametrize("lifetime", [0, -1, 90 * 86400 + 1])
async def test_a_token_must_end_within_the_bound(world: Any, lifetime: int) -> None:
    admin = await world.administrator()
    with pytest.raises(LifetimeRefused):
        await world.tokens.create(CreateToken(admin, "ci", lifetime))


async def test_a_token_without_end_needs_the_setting(world: Any) -> None:
    mint = Mint(world.engine, world.keyring, TokenRules(require_expiration=False), world.clock)
    issued = await mint.issue(Principal("a@example.com"), "forever", 0, Grant(Scopes(), None))
    assert issued.expires_at == 0
    assert "exp" not in verified(world, issued.token)


async def test_the_environment_is_embedded_when_asked(world: Any) -> None:
    mint = Mint(world.engine, world.keyring, TokenRules(environment="staging"), world.clock)
    issued = await mint.issue(Principal("a@example.com"), "t", 60, Grant(Scopes(), None))
    assert verified(world, issued.token)["env"] == "staging"


async def test_nobody_mints_what_they_do_not_hold(world: Any) -> None:
    user = await world.add("u@example.com", "tools.execute", teams=("red",))
    with pytest.raises(NotContained):
        await world.tokens.create(CreateToken(user, "t", 60, Scopes(permissions=("admin.system_config",))))
    with pytest.raises(NotContained):
        await world.tokens.create(CreateToken(user, "t", 60, teams=("blue",)))
    await world.tokens.create(CreateToken(user, "t", 60, Scopes(permissions=("tools.execute",)), ("red",)))


async def test_what_an_actor_says_of_itself_does_not_widen_it(world: Any) -> None:
    await world.add("u@example.com", "tools.execute")
    liar = Actor("u@example.com", is_admin=True, permissions=("*",), teams=("red",))
    for asked in (CreateToken(liar, "t", 60, Scopes(permissions=("*",))), CreateToken(liar, "t", 60, teams=("red",))):
        with pytest.raises(NotContained):
            await world.tokens.create(asked)


async def test_a_token_that_asks_limits_what_it_gets(world: Any) -> None:
    admin = await world.administrator()
    narrow = await world.tokens.create(CreateToken(admin, "narrow", 60, Scopes(permissions=("tokens.create",))))
    actor = Actor(admin.principal, permissions=("tokens.create",), token_id=narrow.id)
    with pytest.raises(NotContained, match=r"without scopes\.permissions"):
        await world.tokens.create(CreateToken(actor, "wide", 60))
    await world.tokens.create(CreateToken(actor, "same", 60, Scopes(permissions=("tokens.create",))))


async def test_a_token_is_bound_to_the_certificate_that_it_is_asked_for(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "bound", 60, certificate="A" * 43))
    assert verified(world, issued.token)["cnf"] == {"x5t#S256": "A" * 43}
    assert "cnf" not in verified(world, (await world.tokens.create(CreateToken(admin, "free", 60))).token)


async def test_what_a_bound_token_mints_is_bound_to_the_same_certificate(world: Any) -> None:
    admin = msgspec.structs.replace(await world.administrator(), bound_to="A" * 43)
    for asked in (None, "A" * 43):
        issued = await world.tokens.create(CreateToken(admin, "child", 60, certificate=asked))
        assert verified(world, issued.token)["cnf"] == {"x5t#S256": "A" * 43}
    with pytest.raises(NotContained, match="certificate"):
        await world.tokens.create(CreateToken(admin, "shed", 60, certificate="B" * 43))


async def test_a_revoked_or_unknown_token_mints_nothing(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "t", 60))
    await world.revocations.revoke(RevokeToken(admin, issued.id))
    for token_id in (issued.id, "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(NotContained):
            await world.tokens.create(CreateToken(Actor(admin.principal, is_admin=True, token_id=token_id), "t", 60))


async def test_an_inactive_principal_mints_nothing(world: Any) -> None:
    user = await world.add("u@example.com", "tools.execute", active=False)
    with pytest.raises(NotContained, match="not an active principal"):
        await world.tokens.create(CreateToken(user, "t", 60))


async def test_a_token_needs_a_name(world: Any) -> None:
    admin = await world.administrator()
    with pytest.raises(NameRefused):
        await world.tokens.create(CreateToken(admin, "  ", 60))


async def test_tokens_are_listed_newest_first_page_by_page(world: Any) -> None:
    admin = await world.administrator()
    ids: list[str] = []
    for number in range(5):
        world.clock.advance(1)
        ids.insert(0, (await world.tokens.create(CreateToken(admin, f"t{number}", 600))).id)
    await world.revocations.revoke(RevokeToken(admin, ids[3]))
    first = (await world.tokens.list(ListTokens(admin, limit=3))).tokens
    rest = (await world.tokens.list(ListTokens(admin, cursor=first[-1].id, limit=3))).tokens
    assert [token.id for token in (*first, *rest)] == ids
    assert [token.id for token in (*first, *rest) if token.revoked] == [ids[3]]


async def test_everyone_sees_their_own_tokens_and_an_administrator_all(world: Any) -> None:
    admin = await world.administrator()
    user = await world.add("u@example.com", "tools.execute")
    await world.tokens.create(CreateToken(admin, "a", 60))
    await world.tokens.create(CreateToken(user, "u", 60))
    assert {token.name for token in (await world.tokens.list(ListTokens(user))).tokens} == {"u"}
    assert {token.name for token in (await world.tokens.list(ListTokens(admin))).tokens} == {"a", "u"}


def test_default_names_are_known_as_such() -> None:
    assert settings_left_default(TokenRules()) == ("JWT_ISSUER", "JWT_AUDIENCE")
    assert settings_left_default(TokenRules("https://id.example.com", "https://gw.example.com")) == ()
