"""Authorization servers of others (OpenID providers): whose tokens count here, and who their users are.

Auth is told of them, fetches their keys and publishes both; edges verify out of their mirrors.
"""

import hashlib
from typing import Literal

import msgspec

from interlock_common.messages.common import Actor

type Accounts = Literal["linked", "mapped"]
"""Who a token's subject is here: the account it is linked to, or nobody but what its claims come to."""


class ClaimMapping(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the claims of a token come to. A claim is named as it is, or by a path with dots.

    ``require`` are claims that must have, or be a list with, exactly this value. ``teams`` and ``roles`` say what
    values of the claims ``teams_claim`` and ``roles_claim`` stand for; other values stand for nothing. ``scope_claim``
    names the claim whose words narrow a token to the permissions of that name; empty where it narrows nothing.
    """

    require: dict[str, str] = {}
    teams_claim: str = ""
    teams: dict[str, str] = {}
    roles_claim: str = ""
    roles: dict[str, str] = {}
    scope_claim: str = ""


class LoginSettings(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How people log in with this provider: as which client of it, and whom that makes an account for.

    ``client_secret`` is empty for a public client, and in every answer. With ``provision`` a person whose verified
    e-mail is of one of ``domains`` gets an account without roles at the first login.
    """

    client_id: str
    client_secret: str = ""
    title: str = ""
    scopes: tuple[str, ...] = ("openid", "email")
    provision: bool = False
    domains: tuple[str, ...] = ()


class IssuerSettings(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An authorization server as administrators describe it; seconds where there is a duration.

    Without ``audiences`` its access tokens count nowhere, and it is there for logins only. Without ``jwks_uri`` the
    discovery document says where its keys are. ``algorithms`` are those that its keys may have; a key that names none
    has the first that fits its kind. Only with ``administrators`` do tokens and logins make an administrator of
    somebody who is one. ``key_grace`` is how long its keys count after they were last read.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...] = ()
    jwks_uri: str = ""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    accounts: Accounts = "linked"
    administrators: bool = False
    require_access_token_type: bool = False
    max_lifetime: int = 86400
    key_grace: int = 3600
    claims: ClaimMapping = ClaimMapping()
    login: LoginSettings | None = None


class SetIssuer(msgspec.Struct, frozen=True):
    """``svc.auth.issuer.set``: an authorization server in full, new or instead of the one of that name.

    A login that is given without its ``client_secret`` keeps the one it has, for the same client.
    """

    actor: Actor
    settings: IssuerSettings


class Issuer(msgspec.Struct, frozen=True):
    """An authorization server as administrators see it; moments in seconds since the epoch, 0 for never.

    ``from_file`` are those that the file of settings names, and that change there only. ``error`` is why its keys
    could not be read the last time.
    """

    settings: IssuerSettings
    from_file: bool
    keys: tuple[str, ...]
    keys_read_at: int
    keys_until: int
    error: str


class IssuerList(msgspec.Struct, frozen=True):
    issuers: tuple[Issuer, ...]


class KeyWanted(msgspec.Struct, frozen=True):
    """``svc.auth.issuer.key-wanted``: an edge met a key of this issuer that it does not know."""

    name: str
    kid: str


class KeysRead(msgspec.Struct, frozen=True):
    """Whether the keys were read anew; they are not, where that was just now."""

    read: bool


class Identity(msgspec.Struct, frozen=True):
    """Someone of an authorization server, and who that is here; by its subject, never by an e-mail."""

    issuer: str
    subject: str
    principal: str
    linked_by: str
    linked_at: int


class LinkIdentity(msgspec.Struct, frozen=True):
    """``svc.auth.identity.link``: ``issuer`` is the name of the authorization server here."""

    actor: Actor
    issuer: str
    subject: str
    principal: str


class UnlinkIdentity(msgspec.Struct, frozen=True):
    """``svc.auth.identity.unlink``."""

    actor: Actor
    issuer: str
    subject: str


class IdentityPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.identity.list``: one page of the identities of an authorization server, by subject."""

    actor: Actor
    issuer: str
    cursor: str | None = None
    limit: int = 100


class IdentityList(msgspec.Struct, frozen=True):
    identities: tuple[Identity, ...]
    next_cursor: str | None = None


class PinnedKey(msgspec.Struct, frozen=True):
    """A public key (RFC 7517, as JSON) and the one algorithm that it verifies."""

    kid: str
    algorithm: str
    jwk: msgspec.Raw


class LoginOffer(msgspec.Struct, frozen=True):
    """What a login page shows: what the provider is called, and to which origin the browser goes."""

    title: str
    origin: str


class TrustedIssuer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``issuers``, key = ``issuer_key(issuer)``: whose tokens count, as far as ``audiences`` has any.

    ``permissions`` are what the values of ``roles_claim`` come to now, ``admin_values`` those of them that make a
    platform administrator. Nothing counts after ``keys_until`` (seconds since the epoch).
    """

    name: str
    issuer: str
    audiences: tuple[str, ...] = ()
    keys: tuple[PinnedKey, ...] = ()
    keys_until: int = 0
    accounts: Accounts = "linked"
    administrators: bool = False
    require_access_token_type: bool = False
    max_lifetime: int = 86400
    claims: ClaimMapping = ClaimMapping()
    permissions: dict[str, tuple[str, ...]] = {}
    admin_values: tuple[str, ...] = ()
    login: LoginOffer | None = None


class LinkedIdentity(msgspec.Struct, frozen=True):
    """Bucket ``identities``, key = ``identity_key(issuer, subject)``."""

    issuer: str
    subject: str
    principal: str


class StartProviderLogin(msgspec.Struct, frozen=True):
    """``svc.auth.provider.start``: ``browser`` wants to log in with the provider ``name``.

    ``query`` is what it then goes on with, ``callback`` the address here to which the provider sends it back.
    """

    name: str
    browser: str
    query: str
    callback: str


class ProviderLogin(msgspec.Struct, frozen=True):
    """Where the browser goes."""

    location: str


class FinishProviderLogin(msgspec.Struct, frozen=True):
    """``svc.auth.provider.finish``: a browser came back (RFC 6749, section 4.1.2; RFC 9207)."""

    state: str
    browser: str
    code: str = ""
    issuer: str = ""
    error: str = ""


class ProviderSession(msgspec.Struct, frozen=True):
    """A session as after a login with a password, and what the browser wanted to go on with."""

    session: str
    principal: str
    lifetime: int
    query: str


def issuer_key(issuer: str) -> str:
    """The key of an issuer, whose identifier is an address."""
    return hashlib.sha256(issuer.encode()).hexdigest()


def identity_key(issuer: str, subject: str) -> str:
    """The key of an identity: subjects are any text."""
    return hashlib.sha256(f"{len(issuer)} {issuer} {subject}".encode()).hexdigest()
