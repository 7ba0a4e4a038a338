"""A good token counts in one place only, and nothing else in a request says who somebody is."""

import base64

import httpx
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from stories.attackers import Ground, bearer, code_of, marked

TOKEN = "{token}"
BASIC = "{basic}"

PLACES: dict[str, dict[str, str]] = {
    "nowhere": {},
    "cookie": {"Cookie": f"access_token={TOKEN}; jwt_token={TOKEN}; Authorization=Bearer {TOKEN}"},
    "basic": {"Authorization": f"Basic {BASIC}"},
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


@pytest.mark.parametrize("headers", PLACES.values(), ids=PLACES)
def test_a_token_elsewhere_than_in_its_header_is_none(ground: Ground, headers: dict[str, str]) -> None:
    token, marker = ground.stage.token, marked()
    basic = base64.b64encode(f"admin@example.com:{token}".encode()).decode()
    sent = {name: value.replace(TOKEN, token).replace(BASIC, basic) for name, value in headers.items()}
    ground.refused(ground.call(sent, marker), 401, "token_missing")
    assert not ground.left(marker)
    with ground.as_(None) as client:
        answer = client.get("/tools", headers=sent)
    assert (answer.status_code, code_of(answer)) == (401, "token_missing")


@pytest.mark.parametrize("name", ["access_token", "token", "authorization", "bearer", "jwt"])
def test_a_token_in_the_address_is_none(ground: Ground, name: str) -> None:
    marker = marked()
    ground.refused(ground.call({}, marker, f"/mcp?{name}={ground.stage.token}"), 401, "token_missing")
    assert not ground.left(marker)


def test_a_token_in_the_body_is_none(ground: Ground) -> None:
    with ground.as_(None) as client:
        answer = client.post("/mcp", data={"access_token": ground.stage.token})
    ground.refused(answer, 401, "token_missing")


@pytest.mark.parametrize("good_first", [True, False], ids=["good first", "good last"])
@pytest.mark.parametrize("other", ["Bearer garbage", "Bearer", "Basic YTpi"])
def test_two_credentials_are_none(ground: Ground, other: str, good_first: bool) -> None:
    marker, good = marked(), f"Bearer {ground.stage.token}"
    both = (good, other) if good_first else (other, good)
    sent = [("Authorization", each) for each in both]
    ground.refused(ground.call(sent, marker), 400, "header_repeated")
    assert not ground.left(marker)
    with ground.as_(None) as client:
        assert client.get("/tools", headers=sent).status_code == 400


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
@pytest.mark.parametrize("forged", ["", "X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP"])
def test_no_header_widens_a_token(ground: Ground, scopes: object, status: int, code: str, forged: str) -> None:
    marker = marked()
    headers = bearer(ground.forger.token({"scopes": scopes})) | ({forged: "10.9.8.7"} if forged else {})
    ground.refused(ground.call(headers, marker), status, code)
    assert not ground.left(marker)


def test_a_token_for_one_request_is_good_for_one(ground: Ground) -> None:
    first, second = marked(), marked()
    token = ground.forger.token({"scopes": {"usage_limits": {"requests_total": 1}}})
    assert ground.call(bearer(token), first).status_code == 200
    ground.refused(ground.call(bearer(token), second), 403, "scope_usage")
    assert ground.left(first)
    assert not ground.left(second)


def test_a_revoked_token_opens_nothing(ground: Ground) -> None:
    marker = marked()
    with ground.as_(ground.bob.token) as his:
        issued = his.post("/tokens", json={"name": "to be revoked", "lifetime": 600}).raise_for_status().json()
        his.delete(f"/tokens/{issued['id']}").raise_for_status()
    ground.refused(ground.call(bearer(issued["token"]), marker), 401, "token_revoked")
    assert not ground.left(marker)


def test_a_cached_token_is_checked_each_time(ground: Ground) -> None:
    """The same bytes that were let in a moment ago, once their principal is no more."""
    name, marker = "leaver@attacks.example", marked()
    with ground.as_(ground.stage.token) as admin:
        admin.post("/users", json={"name": name, "password": "Leaves-soon-enough-5"}).raise_for_status()
        token = ground.forger.token({"sub": name})
        before: httpx.Response = ground.call(bearer(token), marker)
        assert before.status_code in {200, 403}, before.text  # somebody, with no role
        admin.patch(f"/users/{name}", json={"active": False}).raise_for_status()
    ground.refused(ground.call(bearer(token), marker), 401, "token_rejected")
    assert not ground.left(marker)
