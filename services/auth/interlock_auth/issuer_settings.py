"""What an authorization server of others may be said to be."""

import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

import msgspec

from interlock_auth.errors import IssuerRefused
from interlock_auth.jwks import ALGORITHMS
from interlock_common.messages.issuers import ClaimMapping, IssuerSettings, LoginSettings
from interlock_common.messages.permissions import PLATFORM_ADMIN

MAX_ISSUERS = 32
MAX_SUBJECT = 255
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DOMAIN = re.compile(r"[a-z0-9.-]{1,253}")
_MAX_URL = 512
_MAX_TEXT = 512
_MAX_ENTRIES = 256
_MAX_AUDIENCES = 16
_LIFETIMES = (60, 30 * 86400)
_GRACES = (60, 7 * 86400)
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class IssuerRules:
    """What this deployment calls itself in tokens, which nobody else may be; ``loopback`` allows plain HTTP there."""

    own_issuer: str
    own_audience: str
    loopback: bool = False

    def check(self, said: IssuerSettings) -> None:
        """Raise IssuerRefused that names what is wrong."""
        if not _NAME.fullmatch(said.name):
            _refuse("name", "has 1 to 63 of a-z, 0-9 and dash")
        self._check_address("issuer", said.issuer)
        if said.issuer == self.own_issuer:
            _refuse("issuer", "cannot be JWT_ISSUER: that is this deployment")
        if said.jwks_uri:
            self._check_address("jwks_uri", said.jwks_uri)
        _check_tokens(said)
        _check_mapping(said)
        if said.login is not None:
            _check_login(said.login, said)

    def _check_address(self, field: str, address: str) -> None:
        try:
            parts = urlsplit(address)
            _ = parts.port
        except ValueError:
            _refuse(field, "is an address")
        local = self.loopback and parts.scheme == "http" and parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not local:
            _refuse(field, "is an https address")
        plain = address.isascii() and address.isprintable() and " " not in address and len(address) <= _MAX_URL
        if not parts.hostname or "@" in parts.netloc or "?" in address or "#" in address or not plain:
            _refuse(field, f"has at most {_MAX_URL} characters, and neither user information nor query nor fragment")


def _check_tokens(said: IssuerSettings) -> None:
    if len(said.audiences) > _MAX_AUDIENCES or not all(map(_is_text, said.audiences)):
        _refuse("audiences", f"are at most {_MAX_AUDIENCES}, each of 1 to {_MAX_TEXT} printable characters")
    if not said.algorithms or not set(said.algorithms) <= set(ALGORITHMS):
        _refuse("algorithms", f"are some of {', '.join(ALGORITHMS)}")
    if not _LIFETIMES[0] <= said.max_lifetime <= _LIFETIMES[1]:
        _refuse("max_lifetime", f"is {_LIFETIMES[0]} to {_LIFETIMES[1]} seconds")
    if not _GRACES[0] <= said.key_grace <= _GRACES[1]:
        _refuse("key_grace", f"is {_GRACES[0]} to {_GRACES[1]} seconds")
    if not said.audiences and said.login is None:
        _refuse("audiences", "are needed where nobody logs in with it: it would be there for nothing")


def _check_mapping(said: IssuerSettings) -> None:
    claims = said.claims
    for field in ("require", "teams", "roles"):
        entries: dict[str, str] = getattr(claims, field)
        texts = (*entries, *entries.values())
        if len(entries) > _MAX_ENTRIES or not all(map(_is_text, texts)):
            _refuse(f"claims.{field}", f"has at most {_MAX_ENTRIES} entries of 1 to {_MAX_TEXT} printable characters")
    if not all(_is_text(name or "-") for name in (claims.teams_claim, claims.roles_claim, claims.scope_claim)):
        _refuse("claims", f"names claims of 1 to {_MAX_TEXT} printable characters")
    unused = msgspec.structs.replace(claims, require={}, scope_claim="")
    if said.accounts == "linked" and unused != ClaimMapping():
        _refuse("claims", "has teams and roles where accounts is mapped: accounts have those they have here")
    if (claims.teams and not claims.teams_claim) or (claims.roles and not claims.roles_claim):
        _refuse("claims", "names the claim whose values stand for teams or roles")
    if PLATFORM_ADMIN in claims.roles.values() and not said.administrators:
        _refuse("claims.roles", f"makes nobody {PLATFORM_ADMIN} unless administrators is true")


def _check_login(login: LoginSettings, said: IssuerSettings) -> None:
    if not _is_text(login.client_id) or login.client_id in said.audiences:
        _refuse("login.client_id", "is none of the audiences: an ID token must never do as an access token")
    if len(login.client_secret) > _MAX_TEXT or (login.title and not _is_text(login.title)):
        _refuse("login", f"has texts of at most {_MAX_TEXT} characters")
    if "openid" not in login.scopes or not all(scope.isascii() and scope.isalnum() for scope in _bare(login.scopes)):
        _refuse("login.scopes", "are words, openid among them")
    if login.provision and not login.domains:
        _refuse("login.domains", "are needed to provision: anybody at all could make an account otherwise")
    if len(login.domains) > _MAX_ENTRIES or not all(map(_DOMAIN.fullmatch, login.domains)):
        _refuse("login.domains", "are domains of e-mail addresses in small letters")


def _bare(scopes: tuple[str, ...]) -> list[str]:
    return [scope.translate(dict.fromkeys(map(ord, "_-.:/"))) for scope in scopes]


def _is_text(text: str) -> bool:
    return 0 < len(text) <= _MAX_TEXT and text.isprintable()


def _refuse(field: str, rule: str) -> NoReturn:
    raise IssuerRefused(f"{field} {rule}", field=field)
