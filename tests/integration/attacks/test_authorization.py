"""Codes, refresh tokens and consents are for the client and the person they were meant for, once."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from stories.attack_table import Expected
from stories.attackers import PASSWORD, SECRET_SERVER, Ground, bearer, marked
from stories.authorizing import CALLBACK, VERIFIER, Browser, form_of, question, returned

CODE = "authorization_code"


def registered(ground: Ground, **metadata: Any) -> dict[str, Any]:
    """A client that registers itself."""
    said = {"redirect_uris": [CALLBACK], "client_name": "Attacked", "token_endpoint_auth_method": "none"}
    with ground.as_(None) as client:
        body = said | {"grant_types": [CODE, "refresh_token"]} | metadata
        return client.post("/oauth/register", json=body).raise_for_status().json()


@pytest.fixture(scope="module")
def client_id(prepared: Ground) -> str:
    return str(registered(prepared)["client_id"])


@pytest.fixture(scope="module")
def confidential(prepared: Ground) -> dict[str, Any]:
    return registered(prepared, token_endpoint_auth_method="client_secret_basic")


@pytest.fixture(scope="module")
def logged_in(prepared: Ground, client_id: str) -> Browser:
    browser = Browser(prepared.url, prepared.bob.name, PASSWORD)
    browser.consent(question(client_id))
    return browser


@pytest.fixture
def browser(logged_in: Browser) -> Browser:
    """Bob's, who is logged in."""
    return Browser(logged_in.base, logged_in.email, logged_in.password, dict(logged_in.cookies))


def token(ground: Ground, client_id: str, **form: str) -> httpx.Response:
    with ground.as_(None) as client:
        return client.post("/oauth/token", data={"client_id": client_id, **form})


def redeemed(ground: Ground, client_id: str, code: str, **also: str) -> httpx.Response:
    form = {"grant_type": CODE, "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER} | also
    return token(ground, client_id, **{name: value for name, value in form.items() if value})


ASKED: dict[str, tuple[dict[str, str], str]] = {
    "PKCE left out": ({"code_challenge": "", "code_challenge_method": ""}, "invalid_request"),
    "PKCE without a method": ({"code_challenge_method": ""}, "invalid_request"),
    "PKCE plain": ({"code_challenge_method": "plain"}, "invalid_request"),
    "PKCE plain by another name": ({"code_challenge_method": "s256"}, "invalid_request"),
    "PKCE with a short challenge": ({"code_challenge": "a"}, "invalid_request"),
    "PKCE with a long challenge": ({"code_challenge": "a" * 200}, "invalid_request"),
    "a token in the address": ({"response_type": "token"}, "unsupported_response_type"),
    "a code and a token": ({"response_type": "code token"}, "unsupported_response_type"),
    "a scope that nobody knows": ({"scope": "root"}, "invalid_scope"),
    "all scopes": ({"scope": "*"}, "invalid_scope"),
    "a resource of others": ({"resource": "https://attacker.example/mcp"}, "invalid_target"),
    "a resource of a similar name": ({"resource": "{url}.attacker.example/mcp"}, "invalid_target"),
}


@pytest.mark.attack("an authorization request, answered at the client's own address", 303)
@pytest.mark.parametrize(("also", "code"), ASKED.values(), ids=ASKED)
def test_a_request_that_is_less_than_it_must_be_gets_no_code(
    ground: Ground, expected: Expected, client_id: str, browser: Browser, also: dict[str, str], code: str
) -> None:
    asked = question(client_id, **{name: value.format(url=ground.url) for name, value in also.items()})
    answer = browser.ask("GET", f"/oauth/authorize?{urlencode(asked)}")
    expected.check_status(answer.status_code)
    said = returned(answer)
    assert (said["error"], "code" in said) == (code, False)


REDIRECTS = {
    "elsewhere": "https://attacker.example/callback",
    "a longer host": "http://127.0.0.1.attacker.example/callback",
    "user information": "http://127.0.0.1:53998@attacker.example/callback",
    "a backslash": "http://127.0.0.1:53998\\@attacker.example/callback",
    "a longer path": f"{CALLBACK}/more",
    "up": f"{CALLBACK}/../more",
    "a query": f"{CALLBACK}?next=https://attacker.example",
    "a fragment": f"{CALLBACK}#https://attacker.example",
    "another scheme": "https://127.0.0.1:53998/callback",
    "no scheme": "//attacker.example/callback",
    "a script": "javascript:alert(1)",
    "data": "data:text/html,x",
    "capitals": "HTTP://127.0.0.1:53998/Callback",
    "a line break": f"{CALLBACK}\r\nLocation: https://attacker.example",
    "none": "",
}


@pytest.mark.attack("an authorization request with another redirect_uri (open redirect); the page goes nowhere", 400)
@pytest.mark.parametrize("redirect", REDIRECTS.values(), ids=REDIRECTS)
def test_nobody_is_sent_to_an_address_of_somebody_else(
    expected: Expected, client_id: str, browser: Browser, redirect: str
) -> None:
    answer = browser.ask("GET", f"/oauth/authorize?{urlencode(question(client_id, redirect_uri=redirect))}")
    expected.check_status(answer.status_code)
    assert "location" not in answer.headers
    assert "attacker.example" not in answer.headers["content-security-policy"]


CLIENTS = {
    "nobody": "nobody",
    "SQL": "' OR '1'='1",
    "a document at a metadata service": "https://169.254.169.254/client.json",
    "a document on this machine": "https://127.0.0.1:{port}/client.json",
    "a document over plain HTTP": "http://attacker.example/client.json",
    "a file": "file:///etc/passwd",
}


@pytest.mark.attack("an authorization request of a client that is none", 400)
@pytest.mark.parametrize("name", CLIENTS.values(), ids=CLIENTS)
def test_a_client_that_is_none_gets_nobody_anywhere(
    ground: Ground, expected: Expected, browser: Browser, name: str
) -> None:
    asked = question(name.format(port=ground.stage.deployment.ports["public"]))
    answer = browser.ask("GET", f"/oauth/authorize?{urlencode(asked)}")
    expected.check_status(answer.status_code)
    assert "location" not in answer.headers


type Forge = Callable[[Browser, dict[str, str], str], tuple[str, dict[str, str], dict[str, str]]]


def forged(page: str, **changes: Any) -> Forge:
    """The form of a page, sent as its reader did not send it."""

    def forge(browser: Browser, asked: dict[str, str], other: str) -> tuple[str, dict[str, str], dict[str, str]]:
        where = "login" if page == "login" else "authorize"
        if page == "login":
            browser.cookies.clear()
        action, form = form_of(browser.ask("GET", f"/oauth/authorize?{urlencode(asked)}").text, where)
        form |= {"email": browser.email, "password": browser.password} if page == "login" else {"decision": "allow"}
        if changes.get("cookies") == "none":
            browser.cookies.clear()
        if changes.get("cookies") == "others":
            browser.cookies |= dict.fromkeys(browser.cookies, "A" * 43)
        if changes.get("action") == "other":
            action = f"/oauth/{where}?{urlencode(asked | {'client_id': other})}"
        if changes.get("action") == "more":
            action = f"/oauth/{where}?{urlencode(asked | {'scope': 'tools.read tools.execute'})}"
        form |= changes.get("form", {})
        return action, form, changes.get("headers", {})

    return forge


FORMS: dict[str, Forge] = {
    "login without a proof": forged("login", form={"proof": ""}),
    "login with an invented proof": forged("login", form={"proof": "0" * 64}),
    "login without cookies": forged("login", cookies="none"),
    "login with cookies of another browser": forged("login", cookies="others"),
    "login from another site": forged("login", headers={"Sec-Fetch-Site": "cross-site"}),
    "login from a sibling site": forged("login", headers={"Sec-Fetch-Site": "same-site"}),
    "login from another origin": forged("login", headers={"Origin": "https://attacker.example"}),
    "login from no origin": forged("login", headers={"Origin": "null"}),
    "login for another client": forged("login", action="other"),
    "consent without a proof": forged("consent", form={"proof": ""}),
    "consent with an invented proof": forged("consent", form={"proof": "0" * 64}),
    "consent without cookies": forged("consent", cookies="none"),
    "consent with cookies of another browser": forged("consent", cookies="others"),
    "consent from another site": forged("consent", headers={"Sec-Fetch-Site": "cross-site"}),
    "consent from another origin": forged("consent", headers={"Origin": "https://attacker.example"}),
    "consent for another client": forged("consent", action="other"),
    "consent to more than was shown": forged("consent", action="more"),
}


@pytest.mark.attack("a form of the login or the consent page (CSRF)", 403)
@pytest.mark.parametrize("forge", FORMS.values(), ids=FORMS)
def test_a_form_counts_from_its_page_only(
    expected: Expected, client_id: str, confidential: dict[str, Any], browser: Browser, forge: Forge
) -> None:
    place, form, headers = forge(browser, question(client_id), confidential["client_id"])
    answer = browser.ask("POST", place, form, headers)
    expected.check_status(answer.status_code)
    assert "location" not in answer.headers


def test_a_page_is_shown_in_no_frame_and_runs_no_script(client_id: str, browser: Browser) -> None:
    page = browser.consent(question(client_id, state="</script><script>alert(1)</script>"))
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert "<script" not in page.text


REDEEMED: dict[str, dict[str, str]] = {
    "another verifier (PKCE)": {"code_verifier": "w" * 64},
    "no verifier (PKCE)": {"code_verifier": ""},
    "the challenge as verifier (PKCE)": {"code_verifier": "{challenge}"},
    "another redirect_uri": {"redirect_uri": "https://attacker.example/callback"},
    "no redirect_uri": {"redirect_uri": ""},
    "of another client": {"client_id": "{other}"},
    "cut": {"code": "{code[:-1]}"},
    "invented": {"code": "A" * 43},
    "for another resource": {"resource": "{url}/servers/" + SECRET_SERVER + "/mcp"},
}


@pytest.mark.attack("a code")
@pytest.mark.parametrize(
    ("also", "status", "code"),
    [(also, 400, "invalid_target" if "resource" in also else "invalid_grant") for also in REDEEMED.values()],
    ids=REDEEMED,
)
def test_a_code_is_redeemed_by_whoever_asked_for_it(
    ground: Ground, client_id: str, browser: Browser, also: dict[str, str], status: int, code: str
) -> None:
    given = browser.code(question(client_id))
    known = {
        "{challenge}": question("")["code_challenge"], "{other}": registered(ground)["client_id"],
        "{code[:-1]}": given[:-1],
    }  # fmt: skip
    changes = {name: known.get(value, value).replace("{url}", ground.url) for name, value in also.items()}
    answer = redeemed(ground, changes.pop("client_id", client_id), changes.pop("code", given), **changes)
    Expected(status, code).check(answer)


def opens(ground: Ground, access: str) -> bool:
    return ground.call(bearer(access), marked()).status_code != 401


@pytest.mark.attack("a code again: what it gave the first time ends", 400, "invalid_grant")
def test_a_code_counts_once(ground: Ground, expected: Expected, client_id: str, browser: Browser) -> None:
    code = browser.code(question(client_id))
    given = redeemed(ground, client_id, code).raise_for_status().json()
    assert opens(ground, given["access_token"])
    expected.check(redeemed(ground, client_id, code))
    assert not opens(ground, given["access_token"])
    assert token(ground, client_id, grant_type="refresh_token", refresh_token=given["refresh_token"]).is_client_error


async def test_a_code_that_two_redeem_at_once_counts_once(ground: Ground, client_id: str, browser: Browser) -> None:
    code = browser.code(question(client_id))
    answers = await asyncio.gather(*(asyncio.to_thread(redeemed, ground, client_id, code) for _ in range(4)))
    assert sum(answer.is_success for answer in answers) <= 1


@pytest.mark.attack("a refresh token again: all that came of it ends", 400, "invalid_grant")
def test_a_refresh_token_counts_once(ground: Ground, expected: Expected, client_id: str, browser: Browser) -> None:
    given = redeemed(ground, client_id, browser.code(question(client_id))).raise_for_status().json()
    old = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    newer = token(ground, client_id, **old).raise_for_status().json()
    expected.check(token(ground, client_id, **old))
    assert not opens(ground, given["access_token"])
    assert not opens(ground, newer["access_token"])
    expected.check(token(ground, client_id, grant_type="refresh_token", refresh_token=newer["refresh_token"]))


REFRESHED: dict[str, tuple[dict[str, str], str]] = {
    "by another client": ({"client_id": "{other}"}, "invalid_grant"),
    "for more scopes": ({"scope": "tools.read tools.execute admin.system_config"}, "invalid_scope"),
    "for another resource": ({"resource": "{url}/servers/" + SECRET_SERVER + "/mcp"}, "invalid_target"),
    "an access token": ({"refresh_token": "{access}"}, "invalid_grant"),
    "invented": ({"refresh_token": "A" * 43}, "invalid_grant"),
    "none": ({"refresh_token": ""}, "invalid_request"),
}


@pytest.mark.attack("a refresh token", 400)
@pytest.mark.parametrize(("also", "code"), REFRESHED.values(), ids=REFRESHED)
def test_a_refresh_token_gives_no_more_and_to_nobody_else(
    ground: Ground, expected: Expected, client_id: str, browser: Browser, also: dict[str, str], code: str
) -> None:
    given = redeemed(ground, client_id, browser.code(question(client_id))).raise_for_status().json()
    known = {"{other}": registered(ground)["client_id"], "{access}": given["access_token"]}
    changes = {name: known.get(value, value).replace("{url}", ground.url) for name, value in also.items()}
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]} | changes
    assert expected.code == code
    expected.check(token(ground, form.pop("client_id", client_id), **form))


GRANTS = ["password", "client_credentials", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "*"]


@pytest.mark.attack("a grant that there is not", 400, "unsupported_grant_type")
@pytest.mark.parametrize("grant", GRANTS)
def test_passwords_and_assertions_give_no_token(ground: Ground, expected: Expected, client_id: str, grant: str) -> None:
    form = {"username": ground.bob.name, "password": PASSWORD, "assertion": ground.bob.token}
    expected.check(token(ground, client_id, grant_type=grant, **form))


@pytest.mark.attack("a client with a secret", 401, "invalid_client")
@pytest.mark.parametrize("shown", ["no secret", "another secret", "the secret in the form", "an unknown client"])
def test_a_client_shows_its_secret_as_it_said_it_would(
    ground: Ground, expected: Expected, confidential: dict[str, Any], shown: str
) -> None:
    name, secret = confidential["client_id"], confidential["client_secret"]
    basic = {"another secret": (name, f"{secret}x"), "an unknown client": ("nobody", secret)}.get(shown)
    form = {"grant_type": CODE, "code": "x", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    form |= {"client_id": name} if basic is None else {}
    form |= {"client_secret": secret} if shown == "the secret in the form" else {}
    sent: dict[str, Any] = {} if basic is None else {"auth": basic}
    with ground.as_(None) as client:
        expected.check(client.post("/oauth/token", data=form, **sent))


@pytest.mark.attack("a request to the token endpoint that says two things", 400, "invalid_request")
@pytest.mark.parametrize("kind", ["a parameter twice", "two credentials", "JSON", "two clients"])
def test_a_request_says_one_thing(ground: Ground, expected: Expected, confidential: dict[str, Any], kind: str) -> None:
    name, secret = confidential["client_id"], confidential["client_secret"]
    form = urlencode({"grant_type": CODE, "code": "x", "redirect_uri": CALLBACK, "code_verifier": VERIFIER})
    sent: dict[str, dict[str, Any]] = {
        "a parameter twice": {"content": f"{form}&code=y", "auth": (name, secret)},
        "two credentials": {"content": f"{form}&client_secret={secret}", "auth": (name, secret)},
        "two clients": {"content": f"{form}&client_id=nobody", "auth": (name, secret)},
        "JSON": {"content": '{"grant_type":"authorization_code"}', "headers": {"Content-Type": "application/json"}},
    }  # fmt: skip
    request: dict[str, Any] = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}} | sent[kind]
    with ground.as_(None) as client:
        expected.check(client.post("/oauth/token", **request))


METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "back to a script": ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
    "back over plain HTTP": ({"redirect_uris": ["http://attacker.example/"]}, "invalid_redirect_uri"),
    "back to nowhere": ({"redirect_uris": []}, "invalid_redirect_uri"),
    "back with a fragment": ({"redirect_uris": ["https://a.example/#x"]}, "invalid_redirect_uri"),
    "to exchange tokens": (
        {"grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]}, "invalid_client_metadata",
    ),
    "to take passwords": ({"grant_types": ["password"]}, "invalid_client_metadata"),
    "tokens in the address": ({"response_types": ["token"]}, "invalid_client_metadata"),
    "keys of an address inside": (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://169.254.169.254/"},
        "invalid_client_metadata",
    ),
}  # fmt: skip


@pytest.mark.attack("a client that registers itself", 400)
@pytest.mark.parametrize(("metadata", "code"), METADATA.values(), ids=METADATA)
def test_a_client_does_not_register_for_more(
    ground: Ground, expected: Expected, metadata: dict[str, Any], code: str
) -> None:
    said = {"redirect_uris": [CALLBACK], "client_name": "x", "token_endpoint_auth_method": "none"}
    assert expected.code == code
    with ground.as_(None) as client:
        expected.check(client.post("/oauth/register", json=said | metadata))


def test_a_token_of_others_is_not_looked_into_and_not_given_back(
    ground: Ground, client_id: str, browser: Browser
) -> None:
    given = redeemed(ground, client_id, browser.code(question(client_id))).raise_for_status().json()
    with ground.as_(ground.bob.token) as his:
        told = his.post("/oauth/introspect", data={"token": ground.stage.token}).raise_for_status().json()
        assert told == {"active": False}
    with ground.as_(None) as client:
        form = {"client_id": registered(ground)["client_id"], "token": given["access_token"]}
        client.post("/oauth/revoke", data=form)
    assert opens(ground, given["access_token"])
