"""A good token counts in one place only, and nothing else in a request says who somebody is."""

import base64

import httpx
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from stories.attack_table import Expected
from stories.attackers import PASSWORD, Ground, bearer, marked

TOKEN = "{token}"

PLACES: dict[str, dict[str, str]] = {
    "nowhere": {},
    "cookie": {"Cookie": f"access_token={TOKEN}; jwt_token={TOKEN}; Authorization=Bearer {TOKEN}"},
    "digest": {"Authorization": f"Digest {TOKEN}"},
    "DPoP": {"Authorization": f"DPoP {TOKEN}", "DPoP": "proof"},
    "no scheme": {"Authorization": TOKEN},
    "colon": {"Authorization": f"Bearer:{TOKEN}"},
    "tab": {"Authorization": f"Bearer\t{TOKEN}"},
    "quoted scheme": {"Authorization": f'"Bearer" {TOKEN}'},
    "proxy": {"Proxy-Authorization": f"Bearer {TOKEN}"},
    "forwarded": {"X-Forwarded-Authorization": f"Bearer {TOKEN}", "X-Original-Authorization": f"Bearer {TOKEN}"},
    "keys": {"X-Access-Token": TOKEN, "X-Api-Key": TOKEN, "X-Auth-Token": TOKEN},
    "names": {"X-Authenticated-User": "admin@example.com", "X-Forwarded-User": "admin@example.com"},
    "remote user": {"Remote-User": "admin@example.com", "X-Remote-User": "admin@example.com"},
    "certificate": {"X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "CN=admin@example.com"},
    "mesh": {"X-Forwarded-Client-Cert": 'Subject="CN=admin@example.com"', "Client-Cert": ":AA==:"},
    "underscores": {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}", "Authorization_": f"Bearer {TOKEN}"},
    "addresses": {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1;by=admin", "X-Real-IP": "127.0.0.1"},
}


def _yesterday() -> str:
    return ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(int(SYSTEM_CLOCK.time()) // 86400 + 3 - 2) % 7]


@pytest.mark.attack("a good token, or a name, in the headers", 401, "token_missing")
@pytest.mark.parametrize("headers", PLACES.values(), ids=PLACES)
def test_a_token_elsewhere_than_in_its_header_is_none(
    ground: Ground, expected: Expected, headers: dict[str, str]
) -> None:
    token, marker = ground.stage.token, marked()
    sent = {name: value.replace(TOKEN, token) for name, value in headers.items()}
    ground.refused(ground.call(sent, marker), expected)
    assert not ground.left(marker)
    with ground.as_(None) as client:
        expected.check(client.get("/tools", headers=sent))


@pytest.mark.attack("a good token in the query", 401, "token_missing")
@pytest.mark.parametrize("name", ["access_token", "token", "authorization", "bearer", "jwt"])
def test_a_token_in_the_address_is_none(ground: Ground, expected: Expected, name: str) -> None:
    marker = marked()
    ground.refused(ground.call({}, marker, f"/mcp?{name}={ground.stage.token}"), expected)
    assert not ground.left(marker)
    with ground.as_(None) as client:
        expected.check(client.get("/tools", params={name: ground.stage.token}))


@pytest.mark.attack("a good token in a form", 401, "token_missing")
def test_a_token_in_the_body_is_none(ground: Ground, expected: Expected) -> None:
    with ground.as_(None) as client:
        answer = client.post("/mcp", data={"access_token": ground.stage.token})
    ground.refused(answer, expected)


BASIC = {
    "name and password": "admin@example.com:{password}",
    "a person's password": "{alice}:{hers}",
    "token as password": "x:{token}",
    "token as name": "{token}:",
    "no colon": "{token}",
}


@pytest.mark.attack("HTTP Basic, which counts nowhere but for OAuth clients", 401, "token_missing")
@pytest.mark.parametrize("text", BASIC.values(), ids=BASIC)
def test_a_password_opens_nothing_but_the_login(ground: Ground, expected: Expected, text: str) -> None:
    marker, password = marked(), ground.stage.deployment.state.admin_password.read_text()
    said = text.format(token=ground.stage.token, password=password, alice=ground.alice.name, hers=PASSWORD)
    sent = {"Authorization": f"Basic {base64.b64encode(said.encode()).decode()}"}
    ground.refused(ground.call(sent, marker), expected)
    assert not ground.left(marker)
    with ground.as_(None) as client:
        for path in ("/tools", "/tokens", "/users/me", "/openapi.json"):
            answer = client.get(path, headers=sent)
            expected.check(answer)
            assert not answer.headers["www-authenticate"].lower().startswith("basic")


@pytest.mark.attack("a token of another kind as bearer", 401, "token_malformed")
@pytest.mark.parametrize("kind", ["a session of MCP", "a JSON document", "a password"])
def test_what_is_no_access_token_is_no_bearer_token(ground: Ground, expected: Expected, kind: str) -> None:
    password = ground.stage.deployment.state.admin_password.read_text()
    sent = {"a session of MCP": "A" * 43, "a JSON document": "{}", "a password": password}
    ground.refused(ground.call({"Authorization": f"Bearer {sent[kind]}"}, marked()), expected)


@pytest.mark.attack("two Authorization headers", 400, "header_repeated")
@pytest.mark.parametrize("good_first", [True, False], ids=["good first", "good last"])
@pytest.mark.parametrize("other", ["Bearer garbage", "Bearer", "Basic YTpi", "the same"])
def test_two_credentials_are_none(ground: Ground, expected: Expected, other: str, good_first: bool) -> None:
    marker, good = marked(), f"Bearer {ground.stage.token}"
    second = good if other == "the same" else other
    both = (good, second) if good_first else (second, good)
    sent = [("Authorization", each) for each in both]
    ground.refused(ground.call(sent, marker), expected)
    assert not ground.left(marker)
    with ground.as_(None) as client:
        expected.check(client.get("/tools", headers=sent))


@pytest.mark.attack("a limited token, where its limit is broken, and a forged header that would lift it")
@pytest.mark.parametrize(
    ("scopes", "status", "code"),
    [
        ({"ip_restrictions": ["10.9.8.0/24"]}, 403, "scope_ip"),
        ({"ip_restrictions": ["::1/128"]}, 403, "scope_ip"),
        ({"time_restrictions": {"days": [_yesterday()]}}, 403, "scope_time"),
        ({"permissions": ["tools.read"]}, 403, "insufficient_scope"),
        ({"server_id": "another"}, 403, "insufficient_scope"),
    ],
    ids=["address", "address of IPv6", "time", "permission", "server"],
)
@pytest.mark.parametrize("forged", ["none", "X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP"])
def test_no_header_widens_a_token(ground: Ground, scopes: object, status: int, code: str, forged: str) -> None:
    marker = marked()
    headers = bearer(ground.forger.token({"scopes": scopes})) | ({} if forged == "none" else {forged: "10.9.8.7"})
    ground.refused(ground.call(headers, marker), Expected(status, code))
    assert not ground.left(marker)


@pytest.mark.attack("a token for one request once more", 403, "scope_usage")
@pytest.mark.parametrize("known", [True, False], ids=["minted here", "unknown to auth"])
def test_a_token_for_one_request_is_good_for_one(ground: Ground, expected: Expected, known: bool) -> None:
    first, second = marked(), marked()
    scopes = {"usage_limits": {"requests_total": 1}}
    if known:
        with ground.as_(ground.bob.token) as his:
            token = his.post("/tokens", json={"name": "once", "scopes": scopes}).raise_for_status().json()["token"]
    else:
        token = ground.forger.token({"scopes": scopes})
    assert ground.call(bearer(token), first).status_code == 200
    ground.refused(ground.call(bearer(token), second), expected)
    assert ground.left(first)
    assert not ground.left(second)


@pytest.mark.attack("a token that was revoked", 401, "token_revoked")
def test_a_revoked_token_opens_nothing(ground: Ground, expected: Expected) -> None:
    marker = marked()
    with ground.as_(ground.bob.token) as his:
        issued = his.post("/tokens", json={"name": "to be revoked", "lifetime": 600}).raise_for_status().json()
        his.delete(f"/tokens/{issued['id']}").raise_for_status()
    ground.refused(ground.call(bearer(issued["token"]), marker), expected)
    assert not ground.left(marker)


@pytest.mark.attack("a token that counted a moment ago, of a person who is no more", 401, "token_rejected")
def test_a_cached_token_is_checked_each_time(ground: Ground, expected: Expected) -> None:
    """The same bytes that were let in a moment ago, once their principal is no more."""
    name, marker = "leaver@attacks.example", marked()
    with ground.as_(ground.stage.token) as admin:
        admin.post("/users", json={"name": name, "password": "Leaves-soon-enough-5"}).raise_for_status()
        token = ground.forger.token({"sub": name})
        before: httpx.Response = ground.call(bearer(token), marker)
        assert before.status_code in {200, 403}, before.text  # somebody, with no role
        admin.patch(f"/users/{name}", json={"active": False}).raise_for_status()
    ground.refused(ground.call(bearer(token), marker), expected)
    assert not ground.left(marker)
