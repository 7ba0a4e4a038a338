"""What the claims of a token of others come to here, as an administrator said; what nobody said comes to nothing."""

from collections.abc import Mapping
from typing import Any, cast

from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.issuers import TrustedIssuer
from interlock_common.messages.permissions import PERMISSIONS
from interlock_gateway.errors import TokenRejected

_KNOWN = frozenset(PERMISSIONS)
_NOTHING = Scopes(permissions=("nothing",))
"""A scope of no permission: without any, a token would have all of its principal's."""
_MAX_VALUES = 1000


def require_claims(claims: Mapping[str, Any], issuer: TrustedIssuer) -> None:
    """Raise TokenRejected where a claim is not what the issuer's tokens must say."""
    for name, value in issuer.claims.require.items():
        if value not in _values(claims, name):
            raise TokenRejected(f"the token does not count: its claim {name} is not what is required of its issuer")


def scopes_of(claims: Mapping[str, Any], issuer: TrustedIssuer) -> Scopes:
    """What the token is narrowed to, where the words of a claim narrow the issuer's tokens."""
    name = issuer.claims.scope_claim
    if not name:
        return Scopes()
    words = {word for value in _values(claims, name) for word in value.split(" ")} & _KNOWN
    return Scopes(permissions=tuple(each for each in PERMISSIONS if each in words)) if words else _NOTHING


def mapped_principal(name: str, claims: Mapping[str, Any], issuer: TrustedIssuer) -> Principal:
    """A principal that is nothing but what the claims come to."""
    said = issuer.claims
    roles = _values(claims, said.roles_claim) if said.roles_claim else ()
    teams = _values(claims, said.teams_claim) if said.teams_claim else ()
    held = {permission for value in roles for permission in issuer.permissions.get(value, ())}
    return Principal(
        name,
        is_admin=issuer.administrators and any(value in issuer.admin_values for value in roles),
        teams=tuple(dict.fromkeys(said.teams[value] for value in teams if value in said.teams)),
        permissions=tuple(each for each in PERMISSIONS if each in held),
    )


def _values(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The values of a claim as text, one or many: the claim of that name, or what lies at that path with dots."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
    many = cast("list[Any]", found)[:_MAX_VALUES] if isinstance(found, list) else [found]
    return tuple(_text(value) for value in many if isinstance(value, str | bool | int))


def _text(value: str | int) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
