from random import Random
from typing import Any

import pytest

from interlock_auth.errors import NotContained, SelectorRefused
from interlock_auth.models import NEVER
from interlock_auth.selector_store import SelectorStore
from interlock_auth.selectors import Selectors
from interlock_common.database import transaction
from interlock_common.errors import Unavailable
from interlock_common.messages.auth import CreateToken, revocation_key
from interlock_common.messages.common import Actor
from interlock_common.messages.revocation import Revoke, Selector, SelectorRevocation, selector_key
from interlock_common.messages.subjects import EVT_SELECTOR_REVOKED
from interlock_common.revocation_set import RevocationSet

USER = "u@example.com"


def published(world: Any) -> dict[str, SelectorRevocation]:
    return world.outlet.buckets.get("revocations", {})


async def test_a_selector_is_published_until_the_last_token_it_can_concern_has_ended(world: Any) -> None:
    admin = await world.administrator()
    now = int(world.clock.time())
    receipt = await world.selectors.revoke(Revoke(admin, Selector("user", USER), reason="left"))
    key = selector_key("user", USER)
    selector = SelectorRevocation("user", USER, now + 1, now, "left")
    assert published(world)[key] == selector
    assert 90 * 86400 <= world.outlet.ttls[key] <= 90 * 86400 + 600
    assert (receipt.kind, receipt.id, receipt.before) == ("user", USER, now + 1)
    assert receipt.revision == world.outlet.revision
    assert (EVT_SELECTOR_REVOKED, selector) in world.outlet.events
    assert ("user.revoked", admin.principal, USER) in world.outlet.actions


async def test_a_token_that_outlives_the_limit_of_today_is_covered_to_its_end(world: Any) -> None:
    admin = await world.administrator()
    await world.tokens.create(CreateToken(admin, "long", 80 * 86400))
    world.clock.advance(10)
    short = Selectors(world.engine, world.outlet, world.revocations, world.receipts, world.clock, max_lifetime=60)
    await short.revoke(Revoke(admin, Selector("team", "red")))
    assert world.outlet.ttls[selector_key("team", "red")] >= 80 * 86400 - 10
    forever = Selectors(world.engine, world.outlet, world.revocations, world.receipts, world.clock, max_lifetime=None)
    await forever.revoke(Revoke(admin, Selector("team", "blue")))
    assert world.outlet.ttls[selector_key("team", "blue")] is None
    async with transaction(world.engine) as session:
        row = await SelectorStore(session).get("team", "blue")
    assert row is not None
    assert row.expires_at == NEVER


async def test_everyone_revokes_what_is_theirs_and_an_administrator_anything(world: Any) -> None:
    admin = await world.administrator()
    user = await world.add(USER, "tools.execute")
    await world.selectors.revoke(Revoke(user, Selector("user", USER)))
    for selector in (
        Selector("user", "o@example.com"), Selector("team", "red"), Selector("certificate", "x"),
        Selector("session", "s"), Selector("all"),
    ):  # fmt: skip
        with pytest.raises(NotContained):
            await world.selectors.revoke(Revoke(user, selector))
        await world.selectors.revoke(Revoke(admin, selector))
    assert len(published(world)) == 6


async def test_the_most_restrictive_moment_stands(world: Any) -> None:
    admin = await world.administrator()
    now = int(world.clock.time())
    key = selector_key("user", USER)
    for before, stands in ((now - 100, now - 100), (now - 10, now - 10), (now - 50, now - 10)):
        receipt = await world.selectors.revoke(Revoke(admin, Selector("user", USER), before, f"at {before}"))
        assert published(world)[key].before == receipt.before == stands
    assert published(world)[key].reason == f"at {now - 10}"


@pytest.mark.parametrize("seed", range(4))
async def test_in_whichever_order_the_most_restrictive_moment_stands(world: Any, seed: int) -> None:
    admin, random = await world.administrator(), Random(seed)  # noqa: S311 - repeatable, and no secret
    now, asked = int(world.clock.time()), dict[Selector, int]()
    named = [Selector("user", "u"), Selector("team", "u"), Selector("session", "s"), Selector("certificate", "c")]
    for _ in range(15):
        selector, before = random.choice([*named, Selector("all")]), now - random.randrange(50)
        receipt = await world.selectors.revoke(Revoke(admin, selector, before))
        asked[selector] = max(before, asked.get(selector, 0))
        assert receipt.before == asked[selector]
    assert {Selector(each.kind, each.id): each.before for each in published(world).values()} == asked


@pytest.mark.parametrize(
    ("selector", "ahead"), [(Selector("user"), -1), (Selector("all", "x"), -1), (Selector("team", "t" * 321), -1),
                            (Selector("user", USER), 60)],
)  # fmt: skip
async def test_a_selector_names_whom_it_is_for_and_no_moment_to_come(
    world: Any, selector: Selector, ahead: int
) -> None:
    admin = await world.administrator()
    with pytest.raises(SelectorRefused):
        await world.selectors.revoke(Revoke(admin, selector, int(world.clock.time()) + ahead))


async def test_one_token_is_a_selector_too(world: Any) -> None:
    admin = await world.administrator()
    issued = await world.tokens.create(CreateToken(admin, "t", 600))
    receipt = await world.selectors.revoke(Revoke(admin, Selector("token", issued.id)))
    assert receipt.id == issued.id
    assert revocation_key(issued.id) in published(world)


async def test_a_revoked_user_mints_nothing_with_an_old_token(world: Any) -> None:
    admin = await world.administrator()
    user = await world.add(USER, "tools.execute")
    old = await world.tokens.create(CreateToken(user, "old", 600))
    await world.selectors.revoke(Revoke(admin, Selector("user", USER)))
    with pytest.raises(NotContained, match="revoked"):
        await world.tokens.create(CreateToken(Actor(USER, token_id=old.id), "another", 600))
    world.clock.advance(2)
    new = await world.tokens.create(CreateToken(user, "new", 600))
    assert await world.tokens.create(CreateToken(Actor(USER, token_id=new.id), "another", 600))


async def test_a_selector_the_bus_did_not_take_is_published_later(world: Any) -> None:
    admin = await world.administrator()
    world.outlet.away = True
    with pytest.raises(Unavailable):
        await world.selectors.revoke(Revoke(admin, Selector("all")))
    world.outlet.away = False
    assert await world.selectors.publish(unpublished_only=True) == 1
    assert published(world)["all"].before > 0
    assert await world.selectors.publish(unpublished_only=True) == 0
    held = RevocationSet()
    assert await world.selectors.publish(unpublished_only=False, held=held) == 1
    held["all"] = published(world)["all"].before
    assert await world.selectors.publish(unpublished_only=False, held=held) == 0, "the bucket has it"
    held["all"] = held.before["all"] - 1
    assert await world.selectors.publish(unpublished_only=False, held=held) == 1, "the bucket has an earlier moment"
    world.clock.advance(91 * 86400)
    await world.selectors.forget(int(world.clock.time()))
    assert await world.selectors.publish(unpublished_only=False) == 0
