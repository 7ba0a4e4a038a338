"""Who comes back from a provider is let in once, in the browser that went there, and for what the provider signed."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from stories.attack_table import Expected
from stories.attackers import PASSWORD, Ground
from stories.authorizing import CALLBACK, Browser, form_of, question
from stories.issuing import SUBJECT, Issuer, Signer, serving

CLIENT = "gateway-there"


@dataclass(frozen=True)
class Sso:
    """A provider with which alice can log in, and a client that asks for her."""

    provider: Issuer
    client_id: str
    base: str

    def gone(self) -> "Away":
        """A new browser that was sent to the provider."""
        browser = Browser(self.base, "", PASSWORD)
        page = browser.ask("GET", f"/oauth/authorize?{urlencode(question(self.client_id))}")
        action, form = form_of(page.text, "login/sso")
        location = browser.ask("POST", action, form).headers["location"]
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        return Away(self, browser, asked)


@dataclass(frozen=True)
class Away:
    """A browser at the provider, with what it was sent there with."""

    sso: Sso
    browser: Browser
    asked: dict[str, str]

    def signed(self, *, by: Signer | None = None, headers: dict[str, object] | None = None, **claims: Any) -> str:
        said = {"aud": CLIENT, "sub": SUBJECT, "nonce": self.asked["nonce"]} | claims
        return self.sso.provider.token(by=by, headers={"typ": "JWT"} | (headers or {}), **said)

    def back(self, browser: Browser | None = None, **changes: str) -> tuple[int, str]:
        """The status of coming back, and where one is sent from there."""
        said = {"code": "x", "state": self.asked["state"], "iss": self.sso.provider.url} | changes
        query = urlencode({name: value for name, value in said.items() if value})
        answer = (browser or self.browser).ask("GET", f"/oauth/callback?{query}")
        return answer.status_code, answer.headers.get("location", "")


@pytest.fixture(scope="module")
def sso(prepared: Ground) -> Generator[Sso]:
    with serving(Issuer()) as provider, prepared.as_(prepared.stage.token) as admin:
        body = {"issuer": provider.url, "login": {"client_id": CLIENT, "title": "SSO"}}
        told = admin.put("/issuers/sso", json=body)
        assert told.is_success, told.text
        for subject, person in ((SUBJECT, prepared.alice.name), ("admin-there", "admin@example.com")):
            admin.post("/issuers/sso/identities", json={"subject": subject, "principal": person}).raise_for_status()
        metadata = {"redirect_uris": [CALLBACK], "client_name": "x", "token_endpoint_auth_method": "none"}
        made = admin.post("/oauth/register", json=metadata).raise_for_status().json()
        yield Sso(provider, made["client_id"], prepared.url)
        admin.delete("/issuers/sso").raise_for_status()


def test_whoever_comes_back_as_they_should_is_logged_in(sso: Sso) -> None:
    away = sso.gone()
    sso.provider.id_token = away.signed()
    status, location = away.back()
    assert (status, location.partition("?")[0]) == (303, "/oauth/authorize")


RETURNS: dict[str, Callable[[Away], tuple[int, str]]] = {
    "in another browser": lambda away: away.back(away.sso.gone().browser),
    "in a browser without cookies": lambda away: away.back(Browser(away.sso.base, "", "")),
    "with the state of another browser": lambda away: away.back(state=away.sso.gone().asked["state"]),
    "with an invented state": lambda away: away.back(state="A" * 43),
    "without a state": lambda away: away.back(state=""),
    "from another provider (mix-up)": lambda away: away.back(iss="https://attacker.example"),
    "from nobody": lambda away: away.back(iss=""),
    "without a code": lambda away: away.back(code=""),
    "with a very long code": lambda away: away.back(code="x" * 5000),
    "a second time": lambda away: (away.back(), away.back())[1],
}


@pytest.mark.attack("a browser back from a provider (login CSRF, mix-up)", 401)
@pytest.mark.parametrize("back", RETURNS.values(), ids=RETURNS)
def test_a_login_ends_where_it_began_and_once(
    expected: Expected, sso: Sso, back: Callable[[Away], tuple[int, str]]
) -> None:
    away = sso.gone()
    sso.provider.id_token = away.signed()
    status, location = back(away)
    expected.check_status(status)
    assert not location


_STRANGER = Signer()

ID_TOKENS: dict[str, Callable[[Away], str]] = {
    "of another key with the same kid": lambda away: away.signed(by=_STRANGER),
    "of a key that it offers": lambda away: away.signed(by=_STRANGER, headers={"jwk": _STRANGER.jwk}),
    "alg none": lambda away: f"eyJhbGciOiJub25lIiwia2lkIjoic2lnbmluZy0xIn0.{away.signed().split('.')[1]}.",
    "of another issuer": lambda away: away.signed(iss="https://attacker.example"),
    "for another client": lambda away: away.signed(aud="somebody"),
    "for several clients": lambda away: away.signed(aud=[CLIENT, "somebody"]),
    "given to another client": lambda away: away.signed(azp="somebody"),
    "of another login": lambda away: away.signed(nonce="A" * 43),
    "without a nonce": lambda away: away.signed(nonce=...),
    "expired": lambda away: away.signed(iat=1, exp=2),
    "without an end": lambda away: away.signed(exp=...),
    "of nobody": lambda away: away.signed(sub=""),
    "of somebody who is not linked": lambda away: away.signed(sub="stranger", email="alice@attacks.example"),
    "of an administrator here": lambda away: away.signed(sub="admin-there"),
    "garbage": lambda _: "garbage",
    "none": lambda _: "",
}


@pytest.mark.attack("an ID token that the provider gives for a login", 401)
@pytest.mark.parametrize("forge", ID_TOKENS.values(), ids=ID_TOKENS)
def test_an_id_token_counts_for_its_login_only(expected: Expected, sso: Sso, forge: Callable[[Away], str]) -> None:
    away = sso.gone()
    sso.provider.id_token = forge(away)
    status, location = away.back()
    expected.check_status(status)
    assert not location
