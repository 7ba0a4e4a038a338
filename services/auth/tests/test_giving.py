"""Nobody gives, or takes over, what they do not hold: over random principals, credentials and roles."""

from hypothesis import given
from hypothesis import strategies as st

from interlock_auth.asking import Asker
from interlock_auth.containment import Grant, reach_of_token
from interlock_auth.effective import RolesOf, effective, role_of_member
from interlock_auth.errors import NotPermitted
from interlock_auth.teams import require_to_give_membership
from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.permissions import BUILT_IN_ROLES, PERMISSIONS, expand

_TEAMS = ("red", "blue")
_exact = st.lists(st.sampled_from(PERMISSIONS), unique=True, max_size=6).map(tuple)
_roles = st.sampled_from([*BUILT_IN_ROLES, "one", "two"])
_custom = st.fixed_dictionaries({"one": _exact, "two": _exact})
_scopes = st.builds(
    Scopes, server_id=st.sampled_from([None, "desk"]), permissions=_exact | st.just(("*",)) | st.just(())
)
_grants = st.builds(Grant, _scopes, st.none() | st.lists(st.sampled_from(_TEAMS), unique=True).map(tuple))
_held = st.builds(
    RolesOf,
    st.lists(st.tuples(st.sampled_from(_TEAMS), st.booleans()), unique_by=lambda each: each[0]),
    st.lists(st.tuples(_roles, st.sampled_from([None, *_TEAMS])), max_size=4),
)
Custom = dict[str, tuple[str, ...]]


def principal_of(name: str, roles: RolesOf, custom: Custom, *, is_admin: bool = False) -> Principal:
    known = custom | {role.name: role.permissions for role in BUILT_IN_ROLES.values()}
    teams, permissions, in_teams = effective(roles, known)
    return Principal(name, is_admin=is_admin, teams=teams, permissions=permissions, team_permissions=in_teams)


def asker_of(roles: RolesOf, custom: Custom, grant: Grant, *, is_admin: bool) -> Asker:
    principal = principal_of("asker@example.com", roles, custom, is_admin=is_admin)
    return Asker(principal, reach_of_token(principal, grant))


def gained(before: Principal, after: Principal) -> set[tuple[str, str | None]]:
    """What somebody may do now and could not before: permissions, each with the team it is for, if any."""
    everywhere = set(after.permissions) - set(before.permissions)
    found: set[tuple[str, str | None]] = {(name, None) for name in everywhere}
    for team, names in after.team_permissions.items():
        had = {*before.permissions, *before.team_permissions.get(team, ())}
        found |= {(name, team) for name in set(names) - had}
    return found


@given(_held, _custom, _grants, st.booleans(), _held, _roles, st.sampled_from([None, *_TEAMS]))
def test_a_role_given_opens_nothing_that_its_giver_does_not_open(
    held: RolesOf, custom: Custom, grant: Grant, is_admin: bool, theirs: RolesOf, role: str, team: str | None
) -> None:
    giver = asker_of(held, custom, grant, is_admin=is_admin)
    known = custom | {each.name: each.permissions for each in BUILT_IN_ROLES.values()}
    try:
        giver.require_held(known[role], team)
    except NotPermitted:
        return
    after = RolesOf(theirs.memberships, [*theirs.assignments, (role, team)])
    for permission, within in gained(principal_of("b", theirs, custom), principal_of("b", after, custom)):
        assert giver.reach.may(permission, within)


@given(_held, _custom, _grants, st.booleans(), _held, st.sampled_from(_TEAMS), st.booleans())
def test_a_membership_given_opens_nothing_that_its_giver_does_not_open(
    held: RolesOf, custom: Custom, grant: Grant, is_admin: bool, theirs: RolesOf, team: str, owner: bool
) -> None:
    giver = asker_of(held, custom, grant, is_admin=is_admin)
    try:
        require_to_give_membership(giver, team, owner=owner)
    except NotPermitted:
        return
    outside = [each for each in theirs.memberships if each[0] != team]
    waiting = [each for each in theirs.assignments if each[1] != team]  # they go when somebody leaves
    before, after = RolesOf(outside, waiting), RolesOf([*outside, (team, owner)], waiting)
    for permission, within in gained(principal_of("b", before, custom), principal_of("b", after, custom)):
        assert giver.reach.may(permission, within)
    assert set(BUILT_IN_ROLES[role_of_member(owner=owner)].permissions)


@given(_held, _custom, _grants, st.booleans(), _held, st.booleans())
def test_whom_one_may_take_over_holds_nothing_more(
    held: RolesOf, custom: Custom, grant: Grant, is_admin: bool, theirs: RolesOf, of_admin: bool
) -> None:
    taker = asker_of(held, custom, grant, is_admin=is_admin)
    other = principal_of("other@example.com", theirs, custom, is_admin=of_admin)
    try:
        taker.require_to_hold_all_of(other)
    except NotPermitted:
        return
    assert taker.reach.holds(reach_of_token(other, Grant(Scopes(), None if of_admin else other.teams)))
    assert taker.unlimited or not of_admin


@given(_held, _custom, _grants, st.booleans(), st.sampled_from(PERMISSIONS), st.sampled_from([None, *_TEAMS]))
def test_a_credential_for_one_server_may_nothing_here(
    held: RolesOf, custom: Custom, grant: Grant, is_admin: bool, permission: str, team: str | None
) -> None:
    asking = asker_of(held, custom, grant, is_admin=is_admin)
    if grant.scopes.server_id is not None:
        assert not asking.may(permission, team)
        assert not asking.unlimited


@given(st.lists(st.text(max_size=30) | st.sampled_from([*PERMISSIONS, "tools.*", "admin.*", "*", "tools.exec"])))
def test_only_exact_permissions_come_out_of_what_is_given(names: list[str]) -> None:
    exact, unknown = expand(names)
    assert set(exact) <= set(PERMISSIONS)
    assert "*" not in exact
    assert all(name not in PERMISSIONS for name in unknown)
    assert all(set(near) <= set(PERMISSIONS) for near in unknown.values())


def test_an_administrator_whose_token_is_bound_to_addresses_is_limited() -> None:
    bound = Grant(Scopes(ip_restrictions=("10.0.0.0/8",)), None)
    assert not asker_of(RolesOf(), {}, bound, is_admin=True).unlimited
    assert asker_of(RolesOf(), {}, Grant(Scopes(), None), is_admin=True).unlimited
