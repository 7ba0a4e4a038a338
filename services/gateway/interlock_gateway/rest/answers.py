"""What REST answers: every field is always there, whatever the message on the bus leaves out."""

from typing import Any

import msgspec
from fastapi import Response


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
    bearer_methods_supported: tuple[str, ...] = ("header",)


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``body`` as JSON; answers to a credential are nobody's to keep (RFC 9111, section 5.2.2.5)."""
    caching = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(body), status, caching | (headers or {}), "application/json")
