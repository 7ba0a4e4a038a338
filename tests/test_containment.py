"""Nobody mints what they do not hold, as the edges see it: auth decides what is minted, the edge what that opens."""

from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from interlock_auth.containment import Grant, reach_of_token, require_contained, require_narrower
from interlock_auth.errors import NotContained
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.auth import Principal, Scopes, TimeRestrictions, UsageLimits, principal_key
from interlock_common.restrictions import restrictions_of, widened
from interlock_gateway.caller import Caller
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.token_scopes import limits_of

PERMISSIONS = ("tools.execute", "tools.read", "resources.read", "tokens.delete", "admin.system_config")
TEAMS = ("red", "green", "blue")
NETWORKS = (
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/9",
    "10.128.0.0/9",
    "10.1.2.3",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
)
ADDRESSES = ("10.1.2.3", "10.200.0.1", "192.0.2.9", "203.0.113.1", "2001:db8::1", "2001:db9::1")
WORLD = EdgeWorld()

_names = st.lists(st.sampled_from((*PERMISSIONS, "*")), unique=True, max_size=4).map(tuple)
_teams = st.lists(st.sampled_from(TEAMS), unique=True, max_size=3).map(tuple)
_time = st.sampled_from(("00:00", "06:30", "09:00", "17:00", "23:59", "24:00"))
_windows = st.builds(
    TimeRestrictions, days=st.lists(st.sampled_from(("mon", "sat", "sun")), unique=True).map(tuple), start_time=_time,
    end_time=_time, timezone=st.sampled_from(("UTC", "Europe/Berlin")),
).filter(lambda said: said.start_time != said.end_time)  # fmt: skip
_limit = st.none() | st.integers(1, 3)
_limits = st.builds(UsageLimits, _limit, _limit, _limit)
_scopes = st.builds(
    Scopes, server_id=st.sampled_from((None, "one", "two")), permissions=_names,
    ip_restrictions=st.lists(st.sampled_from(NETWORKS), unique=True, max_size=3).map(tuple),
    time_restrictions=st.none() | _windows, usage_limits=st.none() | _limits,
)  # fmt: skip
_grants = st.builds(Grant, _scopes, st.none() | _teams)


@st.composite
def _principals(draw: st.DrawFn) -> Principal:
    """Somebody with roles everywhere and in teams: an administrator now and then."""
    teams = draw(_teams)
    in_teams = {team: draw(_names.map(lambda names: tuple(n for n in names if n != "*"))) for team in teams}
    return Principal(
        "p@example.com", is_admin=draw(st.booleans()), teams=teams, permissions=draw(_names), team_permissions=in_teams
    )


def at_the_edge(principal: Principal, grant: Grant) -> Caller:
    """The caller that a token of that grant is, by the code that every request goes through."""
    WORLD.principals.items[principal_key(principal.name)] = principal
    claims: dict[str, Any] = {"teams": list(grant.teams)} if grant.teams is not None else {}
    reach_only = Scopes(grant.scopes.server_id, grant.scopes.permissions)
    scopes = {"server_id": reach_only.server_id, "permissions": list(reach_only.permissions)}
    token = WORLD.signer.token(principal.name, scopes=scopes, **claims)
    return WORLD.authenticator.caller(b"Bearer " + token.encode())


def opens(caller: Caller) -> set[tuple[str, str | None]]:
    """Every permission, everywhere and within each team, whose objects the caller may see."""
    seen = [team for team in TEAMS if caller.unrestricted or team in caller.teams]
    return {(name, team) for name in PERMISSIONS for team in (None, *seen) if caller.may(name, team)}


def told(caller: Caller) -> set[tuple[str, str | None]]:
    """The same, as other services are told of the caller."""
    actor = caller.actor()
    seen = [team for team in TEAMS if caller.unrestricted or team in actor.teams]
    return {(name, team) for name in PERMISSIONS for team in (None, *seen) if actor.may(name, team)}


def minted(principal: Principal, parent: Grant, child: Grant) -> bool:
    try:
        require_contained(principal, reach_of_token(principal, parent), child)
    except NotContained:
        return False
    return True


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(_principals(), _grants, _grants)
@example(Principal("p@example.com", is_admin=True), Grant(Scopes(), ()), Grant(Scopes(), None))
@example(Principal("p@example.com", permissions=("*",)), Grant(Scopes("one"), ()), Grant(Scopes(), ()))
def test_what_a_minted_token_opens_its_minter_opens(principal: Principal, parent: Grant, child: Grant) -> None:
    assume(minted(principal, parent, child))
    outer, inner = at_the_edge(principal, parent), at_the_edge(principal, child)
    assert opens(inner) <= opens(outer)
    assert told(inner) <= opens(outer)
    assert outer.unrestricted or not inner.unrestricted
    assert outer.unrestricted or inner.teams <= outer.teams
    assert outer.scopes.server_id in (None, inner.scopes.server_id)
    lets_in(child.scopes, parent.scopes)
    assert parent.scopes.usage_limits is None


def lets_in(inner: Scopes, outer: Scopes) -> None:
    """From each address and at each time at which the one counts, the other does."""
    of_inner, of_outer = limits_of(inner).restrictions, limits_of(outer).restrictions
    for text in ADDRESSES:
        assert of_outer.lets_in(ip_address(text)) or not of_inner.lets_in(ip_address(text))
    start = 1_767_225_600  # 2026-01-01, and then every 50 minutes for a fortnight, and one in summer
    for begin in (start, start + 180 * 86400):
        for moment in range(begin, begin + 14 * 86400, 3000):
            open_inner = of_inner.window is None or of_inner.window.ends(moment) is not None
            open_outer = of_outer.window is None or of_outer.window.ends(moment) is not None
            assert open_outer or not open_inner


@settings(max_examples=300, deadline=None)
@given(_scopes, _scopes)
def test_scopes_that_are_no_wider_let_nothing_more_in(inner: Scopes, outer: Scopes) -> None:
    assume(widened(inner, outer) is None)
    lets_in(inner, outer)
    if outer.usage_limits is not None:
        for name in outer.usage_limits.__struct_fields__:
            most = getattr(outer.usage_limits, name)
            assert most is None or (inner.usage_limits is not None and getattr(inner.usage_limits, name) <= most)


@settings(max_examples=400, deadline=None)
@given(_principals(), _principals(), _grants, _scopes)
def test_narrowed_scopes_open_no_more_whatever_the_principal_comes_to_hold(
    now: Principal, later: Principal, minted_with: Grant, asked: Scopes
) -> None:
    try:
        require_narrower(asked, minted_with.scopes)
    except NotContained:
        return
    narrowed = Grant(asked, minted_with.teams)
    for principal in (now, later):
        assert opens(at_the_edge(principal, narrowed)) <= opens(at_the_edge(principal, minted_with))


@settings(max_examples=200, deadline=None)
@given(_principals(), _principals(), _grants)
def test_what_a_principal_no_longer_holds_its_tokens_do_not_tell_of(
    before: Principal, after: Principal, grant: Grant
) -> None:
    assume(minted(before, Grant(Scopes(), None if before.is_admin else before.teams), grant))
    caller = at_the_edge(after, grant)
    assert told(caller) <= opens(caller)


def test_the_networks_of_these_tests_are_ones() -> None:
    assert all(ip_network(text) for text in NETWORKS)
    assert restrictions_of(Scopes(ip_restrictions=NETWORKS)).networks is not None
    assert SYSTEM_CLOCK.time() > 0
