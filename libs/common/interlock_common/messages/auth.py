"""What auth answers and publishes: sessions, tokens, keys, principals, revocations."""

from typing import Annotated, Literal

import msgspec

from interlock_common.messages.common import Actor

THUMBPRINT = "^[A-Za-z0-9_-]{43}$"
"""A certificate as tokens name it: its SHA-256 in base64url (``x5t#S256``, RFC 8705, section 3.1)."""


class TimeRestrictions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """When a token counts: days (``mon`` to ``sun``, none for all), from ``start_time`` to ``end_time`` (``HH:MM``).

    By the clocks of ``timezone`` (IANA). A window that ends before it starts ends on the day after.
    """

    days: tuple[str, ...] = ()
    start_time: str = "00:00"
    end_time: str = "24:00"
    timezone: str = "UTC"


class UsageLimits(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How many requests a token is good for: in an hour and a day of UTC, and in all; None is no limit."""

    requests_per_hour: int | None = None
    requests_per_day: int | None = None
    requests_total: int | None = None


class Scopes(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a token is limited to; nothing set means whatever its principal may do.

    ``permissions`` are exact strings such as ``tools.execute``, or ``*``; ``server_id`` limits the token to
    one virtual server; ``ip_restrictions`` are the networks (CIDR) it counts from. A limit that is not known here is
    refused, not passed over: the token would open more than it says.
    """

    server_id: str | None = None
    permissions: tuple[str, ...] = ()
    ip_restrictions: tuple[str, ...] = ()
    time_restrictions: TimeRestrictions | None = None
    usage_limits: UsageLimits | None = None


class Login(msgspec.Struct, frozen=True):
    """``svc.auth.session.login``: a short-lived token for an e-mail and a password."""

    email: str
    password: str


class CreateToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.token.create``: a token of the actor, or of a service account; ``lifetime`` in seconds.

    ``principal`` names the service account; None is the actor. ``teams`` None leaves the claim out (for an
    administrator: unrestricted; for others: public objects only); an empty tuple means public objects only; otherwise
    the named teams. ``certificate`` (``x5t#S256``) is the only one that the token may be used with.
    """

    actor: Actor
    name: str
    lifetime: int
    scopes: Scopes = Scopes()
    teams: tuple[str, ...] | None = None
    description: str = ""
    principal: str | None = None
    certificate: Annotated[str, msgspec.Meta(pattern=THUMBPRINT)] | None = None


class IssuedToken(msgspec.Struct, frozen=True):
    """A token at the one moment it is shown; afterwards only its hash is kept."""

    id: str
    token: str
    expires_at: int


class TokenSummary(msgspec.Struct, frozen=True):
    """What is known of a token without being able to use it; times in seconds since the epoch."""

    id: str
    name: str
    principal: str
    created_at: int
    expires_at: int
    revoked: bool
    description: str = ""
    scopes: Scopes = Scopes()
    teams: tuple[str, ...] | None = None
    last_used_at: int = 0
    used: int = 0


class ListTokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.token.list``: one's own tokens, all for an administrator, those of a team for its owners.

    The cursor is the id of the last token of the page before; ``name`` is a part of the name.
    """

    actor: Actor
    cursor: str | None = None
    limit: int = 100
    principal: str | None = None
    team: str | None = None
    name: str | None = None
    status: Literal["active", "expired", "revoked"] | None = None


class UpdateToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.token.update``: None leaves a thing as it is; scopes can only become narrower."""

    actor: Actor
    id: str
    name: str | None = None
    description: str | None = None
    scopes: Scopes | None = None


class TokenList(msgspec.Struct, frozen=True):
    tokens: tuple[TokenSummary, ...]


class MintAssertion(msgspec.Struct, frozen=True):
    """``svc.auth.token.assertion``: say to ``audience`` who ``principal`` is, as the subject of a token exchange."""

    principal: str
    audience: str


class Assertion(msgspec.Struct, frozen=True):
    """A JWT of a minute for one authorization server; it opens nothing here. ``expires_at`` in seconds."""

    token: str
    expires_at: int


class RevokeToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.token.revoke``: the token with this id stops counting at once, everywhere."""

    actor: Actor
    id: str
    reason: str = ""


class RotateKey(msgspec.Struct, frozen=True):
    """``svc.auth.key.rotate``: an administrator asks for a new signing key."""

    actor: Actor


class KeyRotated(msgspec.Struct, frozen=True):
    """The key that signs from ``not_before`` on (seconds since the epoch); it is published before."""

    kid: str
    not_before: int = 0


class SigningKey(msgspec.Struct, frozen=True):
    """Bucket ``signing-keys``, key = kid: a public JWK (RFC 7517) as JSON, pinned to one algorithm."""

    kid: str
    algorithm: str
    jwk: msgspec.Raw
    not_before: int


class Principal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``principals``, key = ``principal_key(name)``.

    ``team_permissions`` count, beside ``permissions``, for what belongs to that team.
    """

    name: str
    active: bool = True
    is_admin: bool = False
    teams: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    team_permissions: dict[str, tuple[str, ...]] = {}


class Revocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``revocations``, key ``jti.<token id>``; other selectors join it later."""

    token_id: str
    revoked_at: int
    reason: str = ""


class NarrowedScopes(msgspec.Struct, frozen=True):
    """Bucket ``token-scopes``, key = the token's id: its scopes since they were narrowed, instead of its claim's."""

    token_id: str
    scopes: Scopes


def principal_key(name: str) -> str:
    """A principal's key in the bucket: hex of its UTF-8 name, since KV keys know no ``@``."""
    return name.encode().hex()


def revocation_key(token_id: str) -> str:
    return f"jti.{token_id}"
