from typing import Any

import pytest

from interlock_auth import revocation
from interlock_auth.changing_tokens import ChangingTokens
from interlock_auth.errors import TokenNotFound
from interlock_auth.housekeeping import Housekeeping
from interlock_auth.token_uses import TokenUses
from interlock_common.errors import Unavailable
from interlock_common.messages.auth import CreateToken, Revocation, RevokeToken, revocation_key
from interlock_common.messages.revocation import FOR_EVER
from interlock_common.messages.subjects import EVT_TOKEN_REVOKED
from interlock_common.revocation_set import RevocationSet


def published(world: Any) -> dict[str, Revocation]:
    return world.outlet.buckets.get("revocations", {})


def housekeeping(world: Any) -> Housekeeping:
    return Housekeeping(
        world.engine, world.keyring, world.principals, world.revocations, world.selectors,
        ChangingTokens(world.engine, world.outlet, world.clock), TokenUses(world.engine, world.clock), world.clock, 15,
    )  # fmt: skip


async def test_a_revocation_is_published_until_its_token_has_expired(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "t", 600))
    revoked = await world.revocations.revoke(RevokeToken(admin, issued.id, "lost laptop"))
    key = revocation_key(issued.id)
    selector = Revocation(issued.id, int(world.clock.time()), "lost laptop")
    assert published(world)[key] == selector
    assert 600 <= world.outlet.ttls[key] <= 900
    assert revoked.revision == world.outlet.revision
    assert (EVT_TOKEN_REVOKED, selector) in world.outlet.events
    assert ("token.revoked", admin.principal, issued.id) in world.outlet.actions


async def test_everyone_revokes_their_own_tokens_and_an_administrator_any(world: Any) -> None:
    admin = await world.administrator()
    user = await world.add("u@example.com", "tools.execute")
    other = await world.add("o@example.com", "tools.execute")
    issued = await world.tokens.create(CreateToken(user, "t", 600))
    with pytest.raises(TokenNotFound):
        await world.revocations.revoke(RevokeToken(other, issued.id))
    await world.revocations.revoke(RevokeToken(user, issued.id))
    foreign = await world.tokens.create(CreateToken(user, "t", 600))
    await world.revocations.revoke(RevokeToken(admin, foreign.id))
    assert len(published(world)) == 2


async def test_an_unknown_token_is_not_reported_as_revoked(world: Any) -> None:
    admin = await world.administrator()
    with pytest.raises(TokenNotFound):
        await world.revocations.revoke(RevokeToken(admin, "00000000-0000-0000-0000-000000000000"))


async def test_the_first_revocation_of_a_token_stands(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "t", 600))
    await world.revocations.revoke(RevokeToken(admin, issued.id, "first"))
    again = await world.revocations.revoke(RevokeToken(admin, issued.id, "second"))
    assert published(world)[revocation_key(issued.id)].reason == "first"
    assert again.revision == world.outlet.revision
    assert [action for action, *_ in world.outlet.actions].count("token.revoked") == 1


async def test_a_revocation_the_bus_did_not_take_is_published_later(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "t", 600))
    world.outlet.away = True
    with pytest.raises(Unavailable):
        await world.revocations.revoke(RevokeToken(admin, issued.id))
    assert revocation_key(issued.id) not in published(world)
    world.outlet.away = False
    await housekeeping(world).tidy()
    assert revocation_key(issued.id) in published(world)
    assert await world.revocations.publish(unpublished_only=True) == 0


async def test_what_the_bucket_has_is_not_published_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_PAGE", 3)
    admin, held = await world.administrator(), RevocationSet()
    ids = [(await world.tokens.create(CreateToken(admin, f"t-{number}", 600))).id for number in range(7)]
    for token_id in ids:
        await world.revocations.revoke(RevokeToken(admin, token_id))
    assert await world.revocations.publish(unpublished_only=False, held=held) == 7
    for token_id in ids[:4]:
        held[revocation_key(token_id)] = FOR_EVER
    assert await world.revocations.publish(unpublished_only=False, held=held) == 3
    assert await world.revocations.publish(unpublished_only=True) == 0


async def test_lost_buckets_are_rebuilt_from_the_database(world: Any) -> None:
    admin = await world.administrator()
    await world.principals.publish()
    gone = await world.tokens.create(CreateToken(admin, "expired", 60))
    await world.revocations.revoke(RevokeToken(admin, gone.id))
    world.clock.advance(1000)
    live = await world.tokens.create(CreateToken(admin, "live", 600))
    await world.revocations.revoke(RevokeToken(admin, live.id))
    before = {name: dict(bucket) for name, bucket in world.outlet.buckets.items()}
    world.outlet.buckets.clear()
    await housekeeping(world).reconcile()
    del before["revocations"][revocation_key(gone.id)]
    assert world.outlet.buckets == before
