import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_auth.containment import Grant, Reach, reach_of_actor, reach_of_token, require_contained
from interlock_auth.errors import NotContained
from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.common import Actor

_permission = st.sampled_from(["tools.execute", "tools.read", "tokens.delete", "*"])
_team = st.sampled_from(["red", "green", "blue"])
_permissions = st.lists(_permission, unique=True, max_size=3).map(tuple)
_teams = st.lists(_team, unique=True, max_size=3).map(tuple)
_scopes = st.builds(Scopes, server_id=st.sampled_from([None, "one", "two"]), permissions=_permissions)
_grants = st.builds(Grant, _scopes, st.none() | _teams)
_exact = st.lists(st.sampled_from(["tools.execute", "tools.read", "tokens.delete"]), unique=True).map(tuple)
_in_teams = st.dictionaries(_team, _exact, max_size=3)


@st.composite
def _principal(draw: st.DrawFn) -> Principal:
    teams = draw(_teams)
    in_teams = {team: held for team, held in draw(_in_teams).items() if team in teams}
    return Principal(
        "p@example.com", is_admin=draw(st.booleans()), teams=teams, permissions=draw(_permissions),
        team_permissions=in_teams,
    )  # fmt: skip


_principals = _principal()


def allowed(principal: Principal, held: Reach, asked: Grant) -> bool:
    try:
        require_contained(principal, held, asked)
    except NotContained:
        return False
    return True


@given(_principals, _grants, _grants)
def test_a_minted_token_never_reaches_further_than_its_maker(principal: Principal, parent: Grant, child: Grant) -> None:
    held = reach_of_token(principal, parent)
    if allowed(principal, held, child):
        assert held.holds(reach_of_token(principal, child))


@given(_principals, st.lists(_grants, min_size=2, max_size=5))
def test_no_chain_of_tokens_escapes_its_first(principal: Principal, chain: list[Grant]) -> None:
    first = held = reach_of_token(principal, chain[0])
    for grant in chain[1:]:
        if allowed(principal, held, grant):
            held = reach_of_token(principal, grant)
    assert first.holds(held)


@given(_principals, _grants)
def test_what_a_token_names_its_maker_holds(principal: Principal, grant: Grant) -> None:
    held = reach_of_token(principal, Grant(Scopes(), principal.teams))
    if allowed(principal, held, grant) and not principal.is_admin:
        anywhere = set(principal.permissions).union(*principal.team_permissions.values())
        assert "*" in principal.permissions or set(grant.scopes.permissions) <= anywhere
        assert set(grant.teams or ()) <= set(principal.teams)


@given(_principals, st.booleans(), _teams, _permissions, _in_teams)
def test_an_actor_without_a_token_never_holds_more_than_its_principal(
    principal: Principal, claims_admin: bool, teams: tuple[str, ...], permissions: tuple[str, ...],
    in_teams: dict[str, tuple[str, ...]],
) -> None:  # fmt: skip
    actor = Actor(principal.name, claims_admin, teams, permissions, team_permissions=in_teams)
    limit = reach_of_token(principal, Grant(Scopes(), None if principal.is_admin else principal.teams))
    assert limit.holds(reach_of_actor(principal, actor))


def test_what_is_held_in_one_team_may_be_named_and_opens_that_team_only() -> None:
    user = Principal("u@example.com", teams=("red", "blue"), team_permissions={"red": ("tools.execute",)})
    held = reach_of_token(user, Grant(Scopes(), ("red", "blue")))
    asked = Grant(Scopes(permissions=("tools.execute",)), ("red", "blue"))
    require_contained(user, held, asked)
    minted = reach_of_token(user, asked)
    assert minted.may("tools.execute", "red")
    assert not minted.may("tools.execute", "blue")
    assert not minted.may("tools.execute")


def test_an_unlimited_administrator_may_mint_anything() -> None:
    admin = Principal("a@example.com", is_admin=True)
    held = reach_of_token(admin, Grant(Scopes(), None))
    for asked in (Grant(Scopes(), None), Grant(Scopes("one", ("*",)), ("red",)), Grant(Scopes(), ())):
        require_contained(admin, held, asked)


def test_a_refusal_names_what_is_missing() -> None:
    user = Principal("u@example.com", teams=("red",), permissions=("tools.execute",))
    held = reach_of_token(user, Grant(Scopes(), ("red",)))
    with pytest.raises(NotContained, match=r"names tools\.read, which the actor does not hold"):
        require_contained(user, held, Grant(Scopes(permissions=("tools.execute", "tools.read")), None))
    with pytest.raises(NotContained, match="names blue, which the actor is not in"):
        require_contained(user, held, Grant(Scopes(), ("red", "blue")))


def test_a_limited_token_cannot_mint_an_unlimited_one() -> None:
    admin = Principal("a@example.com", is_admin=True)
    for parent in (
        Grant(Scopes(permissions=("tokens.create",)), None),
        Grant(Scopes(), ("red",)),
        Grant(Scopes("one"), None),
    ):
        with pytest.raises(NotContained):
            require_contained(admin, reach_of_token(admin, parent), Grant(Scopes(), None))
