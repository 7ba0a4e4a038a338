"""Somebody's browser at the authorization endpoint, and a client's requests to the token endpoint, by hand."""

import base64
import hashlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

CALLBACK = "http://127.0.0.1:53998/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Browser:
    """Keeps cookies as browsers do on this machine, where they count as sent over a secure connection."""

    base: str
    email: str
    password: str
    cookies: dict[str, str] = field(default_factory=dict[str, str])

    def ask(
        self, method: str, place: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = dict(headers or {}) | ({"Cookie": cookies} if cookies else {})
        with httpx.Client(base_url=self.base, timeout=20, verify=_NO_TLS) as client:
            answer = client.request(method, place, data=form, headers=sent)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def consent(self, query: Mapping[str, str]) -> httpx.Response:
        """The page on which to decide, after a login where one is asked for."""
        page = self.ask("GET", f"/oauth/authorize?{urlencode(query)}")
        if "/oauth/login?" not in page.text:
            return page
        action, form = form_of(page.text, "login")
        page = self.ask("POST", action, form | {"email": self.email, "password": self.password})
        assert page.status_code == 303, page.text
        return self.ask("GET", page.headers["location"])

    def code(self, query: Mapping[str, str]) -> str:
        """A code that this person has agreed to."""
        action, form = form_of(self.consent(query).text, "authorize")
        back = self.ask("POST", action, form | {"decision": "allow"})
        assert back.status_code == 303, back.text
        return returned(back)["code"]


def form_of(page: str, where: str) -> tuple[str, dict[str, str]]:
    """Where the form of a page goes, and what is hidden in it."""
    found = re.search(rf'action="(/oauth/{where}\?[^"]+)"><input type="hidden" name="proof" value="([^"]+)"', page)
    assert found, page
    return unescape(found[1]), {"proof": found[2]}


def returned(answer: httpx.Response) -> dict[str, str]:
    """What a client is told in the address that its user comes back to."""
    location = answer.headers["location"]
    assert location.startswith(f"{CALLBACK}?"), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def question(client_id: str, **also: str) -> dict[str, str]:
    """What a client asks for at the authorization endpoint."""
    return {
        "client_id": client_id, "redirect_uri": CALLBACK, "response_type": "code", "code_challenge": CHALLENGE,
        "code_challenge_method": "S256", "scope": "tools.read", "state": "s",
    } | also  # fmt: skip
