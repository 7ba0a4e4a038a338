from typing import Any

import pytest

from interlock_auth.credential_store import DAY
from interlock_auth.credential_uses import CredentialUses
from interlock_auth.errors import NotPermitted
from interlock_common.messages.credential_uses import (
    MOST_DAYS,
    AskMigration,
    Credential,
    CredentialUse,
    ReportCredentials,
)


def said(world: Any, *uses: tuple[str, Credential, int], ago: int = 0) -> ReportCredentials:
    now = int(world.clock.time())
    return ReportCredentials("edge-1", tuple(CredentialUse(who, kind, count, now - ago) for who, kind, count in uses))


async def test_the_report_says_who_still_comes_with_tokens_alone(world: Any) -> None:
    admin, uses = await world.administrator(), CredentialUses(world.engine, world.clock)
    await uses.count(said(world, ("robot", "certificate", 5), ("ada", "token", 2), ("ada", "both", 1)))
    await uses.count(said(world, ("ada", "token", 3), ("eve", "proxy", 1)))
    found = await uses.report(AskMigration(admin))
    assert [client.principal for client in found.clients] == ["ada", "eve", "robot"]
    ada = found.clients[0]
    assert (ada.token, ada.both, ada.certificate, ada.ready) == (5, 1, 0, False)
    assert ada.last_token_at == int(world.clock.time())
    assert (found.ready, found.waiting, found.more) == (2, 1, False)


async def test_days_that_are_not_asked_for_do_not_count_and_are_forgotten(world: Any) -> None:
    admin, uses = await world.administrator(), CredentialUses(world.engine, world.clock)
    await uses.count(said(world, ("ada", "token", 2), ago=10 * DAY))
    await uses.count(said(world, ("ada", "certificate", 1)))
    assert (await uses.report(AskMigration(admin, days=5))).clients[0].ready
    assert not (await uses.report(AskMigration(admin, days=30))).clients[0].ready
    world.clock.advance(MOST_DAYS * DAY - 5 * DAY)
    await uses.tidy()
    assert [client.token for client in (await uses.report(AskMigration(admin, days=MOST_DAYS))).clients] == [0]


async def test_an_edge_whose_clock_runs_ahead_counts_today(world: Any) -> None:
    admin, uses = await world.administrator(), CredentialUses(world.engine, world.clock)
    await uses.count(said(world, ("ada", "token", 1), ago=-5 * DAY))
    assert (await uses.report(AskMigration(admin, days=1))).clients[0].last_at == int(world.clock.time())


async def test_the_report_is_for_those_who_audit(world: Any) -> None:
    user = await world.add("u@example.com", "tools.execute")
    with pytest.raises(NotPermitted):
        await CredentialUses(world.engine, world.clock).report(AskMigration(user))
