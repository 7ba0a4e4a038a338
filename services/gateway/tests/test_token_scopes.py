from typing import Any

import jwt
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import InterlockError
from interlock_common.messages.auth import NarrowedScopes, Scopes, UsageLimits
from interlock_common.messages.token_usage import ReportUses, TokenStanding, UsesCounted
from interlock_common.testing.clock import ManualClock
from interlock_gateway import usage
from interlock_gateway.authentication import Authenticator
from interlock_gateway.claims import NEVER, ClaimRules
from interlock_gateway.errors import (
    ScopeAddress,
    ScopeTime,
    ScopeUsage,
    ScopeUsedUp,
    TokenAudience,
    TokenEnvironment,
    TokenIssuer,
    TokenMalformed,
)
from interlock_gateway.testing.callers import ADA, AUDIENCE, ISSUER
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.fakes import FakeMirror
from interlock_gateway.token_scopes import ScopeGate
from interlock_gateway.usage import UsageReports, Uses

MONDAY_NOON = 1_795_392_000 + 12 * 3600  # 2026-11-23, UTC


@pytest.fixture
def world() -> EdgeWorld:
    return EdgeWorld()


def bearer(world: EdgeWorld, **claims: Any) -> bytes:
    return b"Bearer " + world.signer.token(**claims).encode()


def at(world: EdgeWorld, clock: ManualClock) -> Authenticator:
    return Authenticator(
        world.keys, world.principals, world.revocations, rules=world.rules, clock=clock, gate=world.gate
    )


# addresses


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8::1", "2001:db8::1%eth0"])
def test_a_token_counts_from_the_networks_it_names(world: EdgeWorld, address: str) -> None:
    token = bearer(world, scopes={"ip_restrictions": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]})
    assert world.authenticator.caller(token, address).principal == ADA


@pytest.mark.parametrize("address", ["11.0.0.1", "192.0.2.8", "2001:db9::1", "", "unix", None])
def test_a_token_does_not_count_from_elsewhere(world: EdgeWorld, address: str | None) -> None:
    token = bearer(world, scopes={"ip_restrictions": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]})
    with pytest.raises(ScopeAddress) as refused:
        world.authenticator.caller(token, address)
    assert (refused.value.code, refused.value.status) == ("scope_ip", 403)


# times


def test_a_token_counts_in_its_window_and_ends_with_it(world: EdgeWorld) -> None:
    clock = ManualClock(SYSTEM_CLOCK.now())
    clock.advance(MONDAY_NOON - clock.time())
    within = {"days": ["mon"], "start_time": "09:00", "end_time": "17:00"}
    token = bearer(world, scopes={"time_restrictions": within}, exp=4_000_000_000)
    assert at(world, clock).caller(token).expires_at == MONDAY_NOON + 5 * 3600
    clock.advance(5 * 3600)
    with pytest.raises(ScopeTime) as refused:
        at(world, clock).caller(token)
    assert (refused.value.code, refused.value.status) == ("scope_time", 403)


def test_a_time_that_nobody_can_enforce_is_no_token(world: EdgeWorld) -> None:
    for scopes in (
        {"time_restrictions": {"timezone": "Europe/Nowhere"}},
        {"time_restrictions": {"weekdays": True}},
        {"ip_restrictions": ["everywhere"]},
        {"usage_limits": {"requests_per_hour": 0}},
        {"audience": "x"},
    ):
        with pytest.raises(TokenMalformed):
            world.authenticator.caller(bearer(world, scopes=scopes))


# use


def test_a_token_is_good_for_so_many_requests(world: EdgeWorld) -> None:
    authenticator = world.authenticator
    token = bearer(world, scopes={"usage_limits": {"requests_total": 3}})
    for _ in range(3):
        authenticator.caller(token)
    with pytest.raises(ScopeUsedUp) as refused:
        authenticator.caller(token)
    assert (refused.value.code, refused.value.status) == ("scope_usage", 403)


def test_a_limit_of_an_hour_says_when_to_come_back(world: EdgeWorld) -> None:
    clock = ManualClock(SYSTEM_CLOCK.now())
    clock.advance(MONDAY_NOON + 1800 - clock.time())
    token = bearer(world, scopes={"usage_limits": {"requests_per_hour": 1}}, exp=4_000_000_000)
    authenticator = at(world, clock)
    authenticator.caller(token)
    with pytest.raises(ScopeUsage) as refused:
        authenticator.caller(token)
    assert (refused.value.status, refused.value.fields["retry_after"]) == (429, 1801)


def test_requests_that_are_only_looked_at_are_not_counted(world: EdgeWorld) -> None:
    authenticator = world.authenticator
    token = bearer(world, scopes={"usage_limits": {"requests_total": 1}})
    for _ in range(3):
        authenticator.caller(token, counted=False)
    authenticator.caller(token)


async def test_what_other_edges_let_in_counts_as_soon_as_auth_has_told() -> None:
    clock = ManualClock(SYSTEM_CLOCK.now())
    uses, told = Uses(), list[ReportUses]()
    hour, day = int(clock.time()) // 3600, int(clock.time()) // 86400

    async def tell(report: ReportUses) -> UsesCounted:
        told.append(report)
        return UsesCounted((TokenStanding("t", hour, 5, day, 8, 100),))

    uses.check("t", UsageLimits(), clock.time())
    assert uses.wanted.is_set()  # a token that is not known yet is told at once
    uses.count("t")
    assert await UsageReports(uses, tell, "edge-1", clock).report()
    assert [(report.edge, [(use.id, use.count) for use in report.uses]) for report in told] == [("edge-1", [("t", 1)])]
    uses.check("t", UsageLimits(6, 9, 101), clock.time())
    for limits, kind in (
        (UsageLimits(requests_per_hour=5), ScopeUsage),
        (UsageLimits(requests_per_day=8), ScopeUsage),
        (UsageLimits(requests_total=100), ScopeUsedUp),
    ):
        with pytest.raises(kind):
            uses.check("t", limits, clock.time())
    uses.check("t", UsageLimits(requests_per_hour=5), clock.time() + 3600)


async def test_a_token_that_auth_does_not_know_is_limited_by_what_was_used_here() -> None:
    clock, uses = ManualClock(SYSTEM_CLOCK.now()), Uses()

    async def tell(_report: ReportUses) -> UsesCounted:
        return UsesCounted()

    reports = UsageReports(uses, tell, "edge-1", clock)
    for _ in range(3):
        uses.check("t", UsageLimits(requests_total=3), clock.time())
        uses.count("t")
        assert await reports.report()
    for limits, kind in (
        (UsageLimits(requests_per_hour=3), ScopeUsage),
        (UsageLimits(requests_per_day=3), ScopeUsage),
        (UsageLimits(requests_total=3), ScopeUsedUp),
    ):
        with pytest.raises(kind):
            uses.check("t", limits, clock.time())
    clock.advance(86400)
    uses.check("t", UsageLimits(3, 3, 4), clock.time())


async def test_what_auth_did_not_take_is_told_again() -> None:
    clock, uses = ManualClock(SYSTEM_CLOCK.now()), Uses()
    counted: list[int] = []

    async def away(_report: ReportUses) -> UsesCounted:
        raise InterlockError("away")

    async def there(report: ReportUses) -> UsesCounted:
        counted.extend(use.count for use in report.uses)
        return UsesCounted()

    uses.count("t")
    assert not await UsageReports(uses, away, "edge-1", clock).report()
    uses.count("t")
    assert await UsageReports(uses, there, "edge-1", clock).report()
    assert counted == [2]
    assert uses.batch("edge-1", clock.time()) is None


async def test_what_is_used_during_a_report_has_time_until_the_next() -> None:
    clock, uses = ManualClock(SYSTEM_CLOCK.now()), Uses()
    told: list[int] = []

    async def busy(report: ReportUses) -> UsesCounted:
        told.extend(use.count for use in report.uses)
        uses.count("t")
        return UsesCounted()

    uses.count("t")
    assert await UsageReports(uses, busy, "edge-1", clock).report()
    assert told == [1], "an edge under load does not report without a pause"


def test_counting_is_bounded_and_limited_tokens_are_not_let_through_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_MOST_TOKENS", 10)
    uses = Uses()
    for n in range(20):
        uses.count(f"t-{n}")
    batch = uses.batch("edge-1", 0)
    assert batch is not None
    assert len(batch.uses) == 10
    for n in range(20):
        uses.count(f"t-{n}")
    with pytest.raises(InterlockError, match="cannot be counted"):
        uses.check("another", UsageLimits(1), 0)


# scopes that were narrowed since


def test_scopes_that_were_narrowed_count_at_once(world: EdgeWorld) -> None:
    narrowed = FakeMirror[NarrowedScopes]()
    world.gate = ScopeGate(Uses(), narrowed)
    authenticator, token = world.authenticator, bearer(world)
    assert authenticator.caller(token).may("tools.execute")
    narrowed.items["t-1"] = NarrowedScopes("t-1", Scopes("one", ("tools.read",), ("10.0.0.0/8",)))
    with pytest.raises(ScopeAddress):
        authenticator.caller(token, "11.0.0.1")
    caller = authenticator.caller(token, "10.0.0.1")
    assert (caller.may("tools.execute"), caller.may("tools.read"), caller.scopes.server_id) == (False, True, "one")


# what tokens must say


def ruled(world: EdgeWorld, **rules: Any) -> Authenticator:
    world.rules = ClaimRules(ISSUER, AUDIENCE, **rules)
    return world.authenticator


def test_a_token_without_an_end_counts_where_that_is_allowed(world: EdgeWorld) -> None:
    token = b"Bearer " + world.signer.token(without=["exp"]).encode()
    with pytest.raises(TokenMalformed):
        ruled(world).caller(token)
    assert ruled(world, require_expiration=False).caller(token).expires_at == NEVER


def test_a_token_without_an_id_is_known_by_its_digest(world: EdgeWorld) -> None:
    token = b"Bearer " + world.signer.token(without=["jti"]).encode()
    with pytest.raises(TokenMalformed):
        ruled(world).caller(token)
    caller = ruled(world, require_jti=False).caller(token)
    assert caller.token_id.startswith("sha256-")
    world.revoke(caller.token_id)
    with pytest.raises(InterlockError, match="revoked"):
        ruled(world, require_jti=False).caller(token)


def test_issuer_and_audience_may_be_left_unverified(world: EdgeWorld) -> None:
    elsewhere = bearer(world, iss="somebody", aud="something")
    with pytest.raises(TokenIssuer):
        ruled(world).caller(elsewhere)
    with pytest.raises(TokenAudience):
        ruled(world, verify_issuer=False).caller(elsewhere)
    assert ruled(world, verify_issuer=False, verify_audience=False).caller(elsewhere).principal == ADA


def test_a_token_of_another_environment_is_refused_and_one_of_none_is_not(world: EdgeWorld) -> None:
    authenticator = ruled(world, environment="production")
    with pytest.raises(TokenEnvironment) as refused:
        authenticator.caller(bearer(world, env="staging"))
    assert refused.value.code == "token_environment"
    for claims in ({"env": "production"}, {}):
        assert authenticator.caller(bearer(world, **claims)).principal == ADA
    assert ruled(world).caller(bearer(world, env="staging")).principal == ADA


def test_a_token_for_one_server_counts_there_only(world: EdgeWorld) -> None:
    resources = {"one": frozenset({"https://gw.example/servers/one/mcp"})}
    authenticator = Authenticator(
        world.keys, world.principals, world.revocations, rules=world.rules, clock=SYSTEM_CLOCK,
        resources=lambda server_id: resources.get(server_id, frozenset()),
    )  # fmt: skip
    token = bearer(world, aud=["https://gw.example/servers/one/mcp", "https://else.example"])
    assert authenticator.caller(token, None, "one").principal == ADA
    for server_id in (None, "two"):
        with pytest.raises(TokenAudience):
            authenticator.caller(token, None, server_id)


def typed(world: EdgeWorld, kind: str) -> bytes:
    claims = jwt.decode(world.signer.token(), options={"verify_signature": False})
    headers = {"kid": world.signer.kid, "typ": kind}
    return b"Bearer " + jwt.encode(claims, world.signer.private, world.signer.algorithm, headers).encode()


@pytest.mark.parametrize("kind", ["assertion+jwt", "refresh", "dpop+jwt", "text"])
def test_what_is_no_access_token_is_refused_whatever_its_audience(world: EdgeWorld, kind: str) -> None:
    token = typed(world, kind)
    with pytest.raises(TokenMalformed, match="no access token"):
        ruled(world, verify_audience=False).caller(token)


def test_the_types_of_access_tokens_are_taken(world: EdgeWorld) -> None:
    for kind in ("JWT", "at+jwt", "application/at+jwt"):
        assert world.authenticator.caller(typed(world, kind)).principal == ADA
