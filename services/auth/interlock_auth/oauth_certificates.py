"""Tokens bound to the certificate that their client shows at the token endpoint (RFC 8705, sections 3 and 4).

What follows a certificate is known to the edge, which says with a request what its certificate stands in for.
"""

from dataclasses import dataclass
from typing import Any, Self

from interlock_auth.oauth_clients import Client
from interlock_auth.oauth_errors import InvalidGrant, InvalidRequest
from interlock_auth.oauth_models import GrantRow
from interlock_common.messages.oauth import TokenRequest


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate of a request; one of a public client binds its refresh token as well."""

    certificate: str | None = None
    binds_refresh: bool = False

    @classmethod
    def by(cls, request: TokenRequest, client: Client) -> Self:
        return cls(request.certificate, client.auth_method == "none")

    def confirmation(self, grant: GrantRow) -> dict[str, Any]:
        """What the access token says of it."""
        return confirmation_of(self.certificate) if grant.certificate_bound else {}

    def of_refresh(self, grant: GrantRow) -> str | None:
        """The certificate without which the next refresh token does not work."""
        return self.certificate if grant.certificate_bound and self.binds_refresh else None


def confirmation_of(certificate: str | None) -> dict[str, Any]:
    """The claim that binds a token; nothing without a certificate."""
    return {} if certificate is None else {"cnf": {"x5t#S256": certificate}}


def require_certificate(request: TokenRequest, *, asked: bool) -> None:
    """Raise InvalidRequest where a client asked for bound tokens and shows nothing that they could be bound to."""
    if asked and request.certificate is None:
        raise InvalidRequest("this client asked for bound tokens: show its certificate on this connection")


def require_same_certificate(request: TokenRequest, grant: GrantRow) -> None:
    """Raise InvalidGrant where the refresh token came with another certificate, and none that follows its own.

    The token is not used up by that: whoever has no more than the token must not be able to end what it is for.
    """
    if grant.certificate is not None and grant.certificate not in (request.certificate, *request.succeeds):
        raise InvalidGrant("the refresh token is bound to another certificate than the one that was shown")
