"""What REST answers: every field is always there, whatever the message on the bus leaves out."""

from typing import Any

import msgspec
from fastapi import Response

from interlock_common.messages.oauth import MCP_SCOPES

_CLIENT_PROOF = ("client_secret_basic", "client_secret_post", "private_key_jwt")
_CLIENT_AUTH = ("none", *_CLIENT_PROOF)
_ASSERTION_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip


class AccessToken(msgspec.Struct, frozen=True):
    """The answer to a login (RFC 6749, section 5.1); ``expires_in`` in seconds.

    With ``must_change_password`` the token opens nothing but ``POST /users/me/password``.
    """

    access_token: str
    expires_in: int
    token_type: str = "bearer"  # noqa: S105 - the name of a kind
    must_change_password: bool = False


class Status(msgspec.Struct, frozen=True):
    status: str


class Readiness(msgspec.Struct, frozen=True):
    status: str
    reasons: list[str]


class KeySet(msgspec.Struct, frozen=True):
    """A JWK set (RFC 7517, section 5) of public keys."""

    keys: list[dict[str, Any]]


class ResourceMetadata(msgspec.Struct, frozen=True):
    """Protected resource metadata (RFC 9728, section 2)."""

    resource: str
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = MCP_SCOPES
    bearer_methods_supported: tuple[str, ...] = ("header",)


class AuthorizationServerMetadata(msgspec.Struct, frozen=True):
    """Authorization server metadata (RFC 8414, section 2)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    jwks_uri: str
    client_id_metadata_document_supported: bool
    registration_endpoint: str | msgspec.UnsetType = msgspec.UNSET
    scopes_supported: tuple[str, ...] = MCP_SCOPES
    response_types_supported: tuple[str, ...] = ("code",)
    response_modes_supported: tuple[str, ...] = ("query",)
    grant_types_supported: tuple[str, ...] = (
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    )
    token_endpoint_auth_methods_supported: tuple[str, ...] = _CLIENT_AUTH
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = _ASSERTION_ALGORITHMS
    revocation_endpoint_auth_methods_supported: tuple[str, ...] = _CLIENT_AUTH
    revocation_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = _ASSERTION_ALGORITHMS
    introspection_endpoint_auth_methods_supported: tuple[str, ...] = _CLIENT_PROOF
    introspection_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = _ASSERTION_ALGORITHMS
    code_challenge_methods_supported: tuple[str, ...] = ("S256",)
    authorization_response_iss_parameter_supported: bool = True
    tls_client_certificate_bound_access_tokens: bool = True


class OAuthRefusal(msgspec.Struct, frozen=True):
    """An error in the words of OAuth (RFC 6749, section 5.2)."""

    error: str
    error_description: str


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``body`` as JSON; answers to a credential are nobody's to keep (RFC 9111, section 5.2.2.5)."""
    caching = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(body), status, caching | (headers or {}), "application/json")
