from typing import Any

import pytest

from interlock_auth.changing_tokens import ChangingTokens
from interlock_auth.errors import NotContained, NotPermitted, ReportRefused, TokenNotFound
from interlock_auth.models import MembershipRow, TeamRow
from interlock_auth.token_uses import TokenUses
from interlock_common.database import transaction
from interlock_common.errors import Unavailable
from interlock_common.messages.auth import (
    CreateToken,
    ListTokens,
    NarrowedScopes,
    RevokeToken,
    Scopes,
    TimeRestrictions,
    UpdateToken,
    UsageLimits,
)
from interlock_common.messages.common import Actor, ById
from interlock_common.messages.token_usage import ReportUses, TokenUse
from interlock_common.restrictions import RestrictionRefused


def changing(world: Any) -> ChangingTokens:
    return ChangingTokens(world.engine, world.outlet, world.clock)


async def minted(world: Any, actor: Actor, name: str = "ci", **said: Any) -> str:
    return (await world.tokens.create(CreateToken(actor, name, 600, **said))).id


async def test_a_token_is_shown_with_what_it_may_do(world: Any) -> None:
    user = await world.add("u@example.com", "tools.execute", teams=("red",))
    scopes = Scopes(permissions=("tools.execute",), ip_restrictions=("10.0.0.0/8",))
    token = await minted(world, user, scopes=scopes, teams=("red",), description="for the pipeline")
    shown = await changing(world).get(ById(user, token))
    assert (shown.scopes, shown.teams, shown.description) == (scopes, ("red",), "for the pipeline")
    stranger = await world.add("s@example.com", "tools.execute")
    for unknown in (ById(stranger, token), ById(user, "00000000-0000-0000-0000-000000000000")):
        with pytest.raises(TokenNotFound):
            await changing(world).get(unknown)
    assert (await changing(world).get(ById(await world.administrator(), token))).principal == "u@example.com"


async def test_scopes_that_nobody_can_enforce_are_not_minted(world: Any) -> None:
    admin = await world.administrator()
    for scopes in (
        Scopes(ip_restrictions=("10.0.0.1/8",)),
        Scopes(ip_restrictions=("home",)),
        Scopes(time_restrictions=TimeRestrictions(days=("someday",))),
        Scopes(time_restrictions=TimeRestrictions(start_time="9:00")),
        Scopes(time_restrictions=TimeRestrictions(timezone="../../etc/passwd")),
        Scopes(usage_limits=UsageLimits(requests_per_day=0)),
    ):
        with pytest.raises(RestrictionRefused):
            await minted(world, admin, scopes=scopes)


async def test_scopes_become_narrower_at_every_edge_and_stay_so(world: Any) -> None:
    user = await world.add("u@example.com", "tools.execute", "tools.read")
    token = await minted(world, user)
    narrower = Scopes(permissions=("tools.read",), ip_restrictions=("10.0.0.0/8",))
    shown = await changing(world).update(UpdateToken(user, token, "renamed", "less", narrower))
    assert (shown.name, shown.description, shown.scopes) == ("renamed", "less", narrower)
    assert world.outlet.buckets["token-scopes"][token] == NarrowedScopes(token, narrower)
    assert ("token.updated", user.principal, token) in world.outlet.actions
    for wider in (
        Scopes(),
        Scopes(permissions=("tools.read",)),
        Scopes(permissions=("tools.read",), ip_restrictions=("0.0.0.0/0",)),
        Scopes(permissions=("tools.read", "tools.execute"), ip_restrictions=("10.0.0.0/8",)),
        Scopes(permissions=("*",), ip_restrictions=("10.0.0.0/8",)),
    ):
        with pytest.raises(NotContained):
            await changing(world).update(UpdateToken(user, token, scopes=wider))
    holder = Actor(user.principal, permissions=("tools.read",), token_id=token)
    with pytest.raises(NotContained):  # what it was minted with no longer counts for what it mints either
        await minted(world, holder)


async def test_narrowed_scopes_are_published_as_soon_as_the_bus_takes_them(world: Any) -> None:
    user = await world.add("u@example.com", "tools.read")
    token = await minted(world, user)
    world.outlet.away = True
    with pytest.raises(Unavailable):
        await changing(world).update(UpdateToken(user, token, scopes=Scopes("one")))
    world.outlet.away = False
    await changing(world).publish(unpublished_only=True)
    assert world.outlet.buckets["token-scopes"][token] == NarrowedScopes(token, Scopes("one"))
    world.outlet.buckets.clear()
    await changing(world).publish(unpublished_only=True)
    assert world.outlet.buckets == {}
    await changing(world).publish(unpublished_only=False)
    assert token in world.outlet.buckets["token-scopes"]


async def test_a_token_with_a_limit_of_use_mints_no_other(world: Any) -> None:
    user = await world.add("u@example.com", "tools.read")
    token = await minted(world, user, scopes=Scopes(usage_limits=UsageLimits(requests_per_day=5)))
    holder = Actor(user.principal, permissions=("tools.read",), token_id=token)
    with pytest.raises(NotContained, match="usage_limits"):
        await minted(world, holder, scopes=Scopes(usage_limits=UsageLimits(requests_per_day=5)))


async def test_use_is_counted_by_hour_day_and_in_all(world: Any) -> None:
    admin, uses = await world.administrator(), TokenUses(world.engine, world.clock)
    limited = await minted(world, admin, scopes=Scopes(usage_limits=UsageLimits(requests_total=100)))
    free = await minted(world, admin)
    now = int(world.clock.time())
    report = ReportUses("edge-1", (TokenUse(free, 3, now), TokenUse(limited, 2, now), TokenUse("nobody's", 1, now)))
    (standing,) = (await uses.report(report)).standings
    assert (standing.id, standing.in_hour, standing.in_day, standing.total) == (limited, 2, 2, 2)
    world.clock.advance(3600)
    later = ReportUses("edge-2", (TokenUse(limited, 5, int(world.clock.time()) + 9999),))
    (standing,) = (await uses.report(later)).standings
    assert (standing.in_hour, standing.total, standing.hour) == (5, 7, int(world.clock.time()) // 3600)
    world.clock.advance(86400)
    await uses.report(ReportUses("edge-1", (TokenUse(limited, 1, int(world.clock.time())),)))
    shown = await uses.usage(ById(admin, limited))
    assert (shown.total, shown.last_used_at, shown.in_hour) == (8, int(world.clock.time()), 1)
    assert sum(day.count for day in shown.days) == 8
    assert len(shown.days) in {2, 3}
    assert (await changing(world).get(ById(admin, limited))).used == 8
    world.clock.advance(91 * 86400)
    await uses.prune()
    assert (await uses.usage(ById(admin, limited))).days == ()


async def test_reports_are_bounded(world: Any) -> None:
    uses = TokenUses(world.engine, world.clock)
    for report in (
        (TokenUse("t", 0, 0),),
        (TokenUse("t", 2**41, 0),),
        tuple(TokenUse(str(n), 1, 0) for n in range(1001)),
    ):
        with pytest.raises(ReportRefused):
            await uses.report(ReportUses("edge-1", report))


async def test_lists_are_filtered(world: Any) -> None:
    admin = await world.administrator()
    user = await world.add("u@example.com", "tools.read")
    short = (await world.tokens.create(CreateToken(user, "short_1", 60))).id
    dropped = await minted(world, user, "dropped%")
    kept = await minted(world, user, "kept")
    await minted(world, admin, "root")
    await world.revocations.revoke(RevokeToken(user, dropped))
    world.clock.advance(61)

    async def ids(actor: Actor, **asked: Any) -> set[str]:
        return {token.id for token in (await world.tokens.list(ListTokens(actor, **asked))).tokens}

    assert await ids(user, status="active") == {kept}
    assert await ids(user, status="expired") == {short}
    assert await ids(user, status="revoked") == {dropped}
    assert await ids(user, name="%") == {dropped}
    assert await ids(user, name="SHORT_") == {short}
    assert await ids(admin, principal="u@example.com") == {short, dropped, kept}
    with pytest.raises(NotPermitted):
        await ids(user, principal=admin.principal)


async def test_owners_of_a_team_see_the_tokens_for_it(world: Any) -> None:
    owner = await world.add("o@example.com", teams=("red",))
    member = await world.add("m@example.com", teams=("red", "blue"))
    async with transaction(world.engine) as session:
        session.add(TeamRow(id="red", name="Red", created_by="o@example.com", created_at=0))
        await session.flush()
        for name, owns in ((owner.principal, True), (member.principal, False)):
            session.add(MembershipRow(team_id="red", principal=name, owner=owns, joined_at=0))
    of_team = await minted(world, member, teams=("red",))
    await minted(world, member, teams=("blue",))

    async def ids(actor: Actor) -> set[str]:
        return {token.id for token in (await world.tokens.list(ListTokens(actor, team="red"))).tokens}

    assert await ids(owner) == {of_team}
    assert await ids(member) == {of_team}  # their own
    assert await ids(await world.add("s@example.com", "tokens.read")) == set()
    assert await ids(await world.administrator()) == {of_team}
