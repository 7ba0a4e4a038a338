"""Nobody mints, gives or takes more than they hold, and what is another's looks like what does not exist."""

from typing import Any, cast

import httpx
import pytest

from stories.attack_table import Expected
from stories.attackers import OWN_SERVER, SECRET_SERVER, Ground, bearer, marked
from stories.load import modern_call

NARROW: dict[str, Any] = {"permissions": ["tools.read", "tools.execute", "tokens.create", "tokens.update"]}
HERE: dict[str, Any] = {
    **NARROW,
    "ip_restrictions": ["127.0.0.0/8"],
    "time_restrictions": {"start_time": "00:00", "end_time": "23:59"},
}

MINTED: dict[str, tuple[dict[str, Any], dict[str, Any], int, str]] = {
    "everything": ({}, {"scopes": {"permissions": ["*"]}}, 403, "not_contained"),
    "a permission of administrators": ({}, {"scopes": {"permissions": ["admin.system_config"]}}, 403, "not_contained"),
    "a foreign team": ({}, {"teams": ["{team}"]}, 403, "not_contained"),
    "a team of a foreign name": ({}, {"teams": ["Red"]}, 403, "not_contained"),
    "for longer than allowed": ({}, {"lifetime": 10 * 365 * 86400}, 400, "lifetime_refused"),
    "for no time": ({}, {"lifetime": 0}, 400, "invalid_input"),
    "for a negative time": ({}, {"lifetime": -1}, 400, "invalid_input"),
    "without the limit of permissions": (NARROW, {}, 403, "not_contained"),
    "with one permission more": (NARROW, {"scopes": {"permissions": ["tools.delete"]}}, 403, "not_contained"),
    "with all permissions": (NARROW, {"scopes": {"permissions": ["*"]}}, 403, "not_contained"),
    "from elsewhere": (HERE, {"scopes": {**HERE, "ip_restrictions": ["0.0.0.0/0"]}}, 403, "not_contained"),
    "from anywhere": (HERE, {"scopes": {**HERE, "ip_restrictions": []}}, 403, "not_contained"),
    "at any time": (HERE, {"scopes": {**NARROW, "ip_restrictions": ["127.0.0.0/8"]}}, 403, "not_contained"),
    "a limit that nobody knows": ({}, {"scopes": {"moon_phase": "full"}}, 400, "invalid_input"),
}  # fmt: skip


@pytest.mark.attack("a token to be minted by one that is less")
@pytest.mark.parametrize(("scopes", "body", "status", "code"), MINTED.values(), ids=MINTED)
def test_a_token_mints_no_more_than_it_holds(
    ground: Ground, scopes: dict[str, Any], body: dict[str, Any], status: int, code: str
) -> None:
    with ground.as_(ground.bob.token) as his:
        wide = {"name": "wide", "scopes": {"permissions": ["tools.read", "tools.execute", "tokens.create"]}}
        assert his.post("/tokens", json=wide).status_code == 201
        narrow = {"name": "narrow", "lifetime": 600, "scopes": scopes}
        token = his.post("/tokens", json=narrow).raise_for_status().json()["token"] if scopes else ground.bob.token
    if "teams" in body:
        body = body | {"teams": [each.format(team=ground.team) for each in body["teams"]]}
    with ground.as_(token) as client:
        answer = client.post("/tokens", json={"name": "more", "lifetime": 300} | body)
    Expected(status, code).check(answer)
    assert "token" not in answer.json()


@pytest.mark.attack("a token that would widen itself", 403, "not_contained")
def test_a_token_does_not_widen_itself(ground: Ground, expected: Expected) -> None:
    with ground.as_(ground.bob.token) as his:
        issued = his.post("/tokens", json={"name": "narrow", "scopes": NARROW}).raise_for_status().json()
    with ground.as_(issued["token"]) as narrow:
        for scopes in ({}, {"permissions": ["*"]}, {"permissions": [*NARROW["permissions"], "tools.delete"]}):
            expected.check(narrow.put(f"/tokens/{issued['id']}", json={"scopes": scopes}))


TAKEN: dict[str, tuple[str, str, dict[str, Any] | None, int, str]] = {
    "revoke another's token": ("DELETE", "/tokens/{alice_token}", None, 404, "token_not_found"),
    "read another's token": ("GET", "/tokens/{alice_token}", None, 404, "token_not_found"),
    "narrow another's token": ("PUT", "/tokens/{alice_token}", {"name": "x"}, 404, "token_not_found"),
    "usage of another's token": ("GET", "/tokens/{alice_token}/usage", None, 404, "token_not_found"),
    "a foreign team": ("GET", "/teams/{team}", None, 404, "team_not_found"),
    "members of a foreign team": ("GET", "/teams/{team}/members", None, 404, "team_not_found"),
    "join a foreign team": ("PUT", "/teams/{team}/members/{bob}", {"owner": True}, 404, "team_not_found"),
    "remove from a foreign team": ("DELETE", "/teams/{team}/members/{alice}", None, 404, "team_not_found"),
    "invite oneself": ("POST", "/teams/{team}/invitations", {"email": "{bob}"}, 404, "team_not_found"),
    "rename a foreign team": ("PATCH", "/teams/{team}", {"name": "Blue"}, 404, "team_not_found"),
    "delete a foreign team": ("DELETE", "/teams/{team}", None, 404, "team_not_found"),
    "an invitation that was made up": ("POST", "/invitations/accept", {"token": "x" * 43}, 404, "team_not_found"),
    "a team's server": ("GET", f"/servers/{SECRET_SERVER}", None, 404, "server_not_found"),
    "change a team's server": ("PUT", f"/servers/{SECRET_SERVER}", {"name": "x"}, 404, "server_not_found"),
    "delete a team's server": ("DELETE", f"/servers/{SECRET_SERVER}", None, 404, "server_not_found"),
    "tools of a private server": ("GET", f"/servers/{OWN_SERVER}/tools", None, 404, "not_found"),
    "delete a private server": ("DELETE", f"/servers/{OWN_SERVER}", None, 404, "server_not_found"),
    "a team's upstream": ("GET", "/gateways/{gateway}", None, 404, "upstream_not_found"),
    "delete a team's upstream": ("DELETE", "/gateways/{gateway}", None, 404, "upstream_not_found"),
    "refresh a team's upstream": ("POST", "/gateways/{gateway}/refresh", None, 404, "upstream_not_found"),
    "a tool of a team's upstream": ("GET", "/tools/{gateway}/add_note", None, 404, "not_found"),
    "become administrator": ("PATCH", "/users/{bob}", {"is_admin": True}, 403, "not_permitted"),
    "give oneself a role": ("POST", "/users/{bob}/roles", {"role": "platform_admin"}, 403, "not_permitted"),
    "a role in a foreign team": (
        "POST", "/users/{bob}/roles", {"role": "team_admin", "team": "{team}"}, 404, "team_not_found",
    ),
    "another's password": ("POST", "/users/admin@example.com/password", {}, 403, "not_permitted"),
    "make a user": ("POST", "/users", {"name": "eve@attacks.example", "is_admin": True}, 403, "not_permitted"),
    "delete a user": ("DELETE", "/users/{alice}", None, 403, "not_permitted"),
    "list users": ("GET", "/users", None, 403, "not_permitted"),
    "make a role": ("POST", "/roles", {"name": "all", "permissions": ["tools.read"]}, 403, "not_permitted"),
    "revoke everything": ("POST", "/revocations", {"kind": "all"}, 403, "not_contained"),
    "revoke a user": ("POST", "/revocations", {"kind": "user", "id": "{alice}"}, 403, "not_contained"),
    "revoke a certificate": ("POST", "/certificates/ab/revoke", {}, 403, "permission_denied"),
    "revoke a service": ("POST", "/certificates/identities/gateway/revoke", {}, 403, "permission_denied"),
    "let a service join again": ("POST", "/certificates/identities/gateway/reinstate", None, 403, "permission_denied"),
    "rotate the CA": ("POST", "/certificates/authority/prepare", None, 403, "permission_denied"),
    "look at the CAs": ("GET", "/certificates/authority", None, 403, "permission_denied"),
    "the record": ("GET", "/audit/records", None, 403, "audit_reading_denied"),
    "a command": (
        "POST", "/gateways", {"name": "sh", "transport": "stdio", "command": {"argv": ["id"]}}, 403, "not_allowed",
    ),
    "an upstream in a foreign team": (
        "POST", "/gateways", {"name": "x", "url": "{notes}", "visibility": "team", "team_id": "{team}"}, 400,
        "invalid_visibility",
    ),
    "a server in a foreign team": (
        "POST", "/servers", {"name": "x", "visibility": "team", "team_id": "{team}"}, 400, "invalid_visibility",
    ),
    "a server over a foreign upstream": (
        "POST", "/servers", {"name": "x", "associated_upstreams": ["{gateway}"]}, 400, "unknown_reference",
    ),
}  # fmt: skip


def filled(ground: Ground, value: Any, token_id: str) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: filled(ground, each, token_id) for name, each in members.items()}
    if isinstance(value, list):
        return [filled(ground, each, token_id) for each in cast("list[Any]", value)]
    if not isinstance(value, str):
        return value
    known_names = {"alice": ground.alice.name, "bob": ground.bob.name, "team": ground.team, "gateway": ground.gateway,
                   "alice_token": token_id, "notes": ground.stage.notes.url}  # fmt: skip
    return value.format(**known_names)


@pytest.fixture(scope="module")
def hers(prepared: Ground) -> str:
    """The id of a token of alice."""
    with prepared.as_(prepared.alice.token) as client:
        return client.post("/tokens", json={"name": "hers"}).raise_for_status().json()["id"]


@pytest.mark.attack("a request for what is not one's own")
@pytest.mark.parametrize(("method", "path", "body", "status", "code"), TAKEN.values(), ids=TAKEN)
def test_what_is_not_ones_own_is_not_had(
    ground: Ground, hers: str, method: str, path: str, body: dict[str, Any] | None, status: int,
    code: str,
) -> None:  # fmt: skip
    with ground.as_(ground.bob.token) as client:
        answer = client.request(method, filled(ground, path, hers), json=filled(ground, body, hers))
    Expected(status, code).check(answer)


def test_nothing_of_what_was_attacked_changed(ground: Ground, hers: str) -> None:
    with ground.as_(ground.stage.token) as admin:
        token = admin.get(f"/tokens/{hers}").raise_for_status().json()
        assert (token["name"], token["revoked"]) == ("hers", False)
        names = {each["name"] for each in admin.get("/users").raise_for_status().json()}
        members = {each["principal"] for each in admin.get(f"/teams/{ground.team}/members").raise_for_status().json()}
        gateways = {each["name"] for each in admin.get("/gateways").raise_for_status().json()}
        bob = admin.get(f"/users/{ground.bob.name}").raise_for_status().json()
    assert ground.alice.name in names
    assert "eve@attacks.example" not in names
    assert ground.bob.name not in members
    assert gateways == {"notes", "secret"}
    assert not bob["is_admin"]


def test_no_token_of_a_foreign_team_is_listed(ground: Ground, hers: str) -> None:
    with ground.as_(ground.alice.token) as client:
        client.post("/tokens", json={"name": "red", "teams": [ground.team]}).raise_for_status()
    with ground.as_(ground.bob.token) as client:
        of_team = client.get(f"/teams/{ground.team}/tokens")
        of_alice = client.get("/tokens", params={"principal": ground.alice.name})
    for answer in (of_team, of_alice):
        assert hers not in answer.text
        assert ground.alice.name not in answer.text


def ask(ground: Ground, token: str, path: str, tool: str, marker: str) -> httpx.Response:
    return ground.call(bearer(token), marker, path, tool)


@pytest.mark.attack("a call at a server of others", 404, "not_found")
@pytest.mark.parametrize("server", [SECRET_SERVER, OWN_SERVER], ids=["of a foreign team", "of one person alone"])
def test_a_server_of_others_answers_as_one_that_does_not_exist(ground: Ground, expected: Expected, server: str) -> None:
    marker = marked()
    theirs = ask(ground, ground.bob.token, f"/servers/{server}/mcp", "add_note", marker)
    nobodys = ask(ground, ground.bob.token, "/servers/nonesuch/mcp", "add_note", marker)
    ground.refused(theirs, expected)
    assert theirs.text.replace(server, "nonesuch") == nobodys.text
    assert not ground.left(marker)


@pytest.mark.attack("a call of a tool of a foreign team", 200, "-32602")
def test_a_tool_of_others_answers_as_one_that_does_not_exist(ground: Ground, expected: Expected) -> None:
    marker = marked()
    theirs = ask(ground, ground.bob.token, "/mcp", "secret-add_note", marker)
    nobodys = ask(ground, ground.bob.token, "/mcp", "absent-add_note", marker)
    expected.check(theirs)
    assert (theirs.status_code, theirs.text.replace("secret-", "absent-")) == (nobodys.status_code, nobodys.text)
    assert not ground.left(marker)
    assert ask(ground, ground.alice.token, "/mcp", "secret-add_note", marker).status_code == 200
    assert ground.left(marker)


ELSEWHERE = ["/mcp", f"/servers/{OWN_SERVER}/mcp", f"/servers/{SECRET_SERVER}/../{OWN_SERVER}/mcp"]


@pytest.mark.attack("a token for one server, elsewhere", 403, "insufficient_scope")
@pytest.mark.parametrize("path", ELSEWHERE)
def test_a_token_of_one_server_works_at_no_other(ground: Ground, expected: Expected, path: str) -> None:
    marker = marked()
    with ground.as_(ground.alice.token) as client:
        body = {"name": "one", "scopes": {"server_id": SECRET_SERVER}, "teams": [ground.team]}
        token = client.post("/tokens", json=body).raise_for_status().json()["token"]
    ground.refused(ask(ground, token, path, "notes-add_note", marker), expected)
    assert not ground.left(marker)


@pytest.mark.attack("a token for one server, at the administration", 403, "insufficient_scope")
@pytest.mark.parametrize(
    "path", ["/tools", "/gateways", "/tokens", "/users/me", "/export", f"/servers/{OWN_SERVER}", "/rpc"]
)
def test_a_token_of_one_server_reads_nothing_beside_it(ground: Ground, expected: Expected, path: str) -> None:
    with ground.as_(ground.alice.token) as client:
        body = {"name": "one", "scopes": {"server_id": SECRET_SERVER}, "teams": [ground.team]}
        token = client.post("/tokens", json=body).raise_for_status().json()["token"]
    with ground.as_(token) as client:
        said, message = modern_call("notes-add_note", {"text": "x"}, 1)
        answer = client.post(path, json=message, headers=said) if path == "/rpc" else client.get(path)
    expected.check(answer)


@pytest.mark.attack("a call of somebody without a role", 403, "insufficient_scope")
def test_whoever_has_no_role_calls_nothing(ground: Ground, expected: Expected) -> None:
    marker = marked()
    answer = ground.call(bearer(ground.carol.token), marker)
    expected.check(answer)
    assert not ground.left(marker)
    with ground.as_(ground.carol.token) as client:
        for path in ("/gateways", "/servers"):
            refused = client.post(path, json={"name": "x", "url": ground.stage.notes.url})
            assert refused.status_code == 403, refused.text
        assert client.post("/tokens", json={"name": "x"}).status_code in {201, 403}
