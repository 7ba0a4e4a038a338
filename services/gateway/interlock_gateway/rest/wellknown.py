"""What anybody may ask: health, readiness, the keys that verify tokens, what this resource is."""

from typing import Any, cast

import msgspec
from fastapi import APIRouter, Request, Response

from interlock_common.errors import NotFound
from interlock_common.messages.auth import SigningKey
from interlock_common.messages.catalog import VirtualServer, server_key
from interlock_gateway.rest.answers import KeySet, Readiness, ResourceMetadata, Status, answer
from interlock_gateway.rest.dependencies import Deps, public_url
from interlock_gateway.rest.documents import says

_PUBLIC_MEMBERS = {
    "OKP": ("kty", "crv", "x"),
    "EC": ("kty", "crv", "x", "y"),
    "RSA": ("kty", "n", "e"),
}
"""RFC 7518 section 6 and RFC 8037 section 2: what is public of a key; of a symmetric one, nothing is."""

_OPEN: dict[str, Any] = {"security": []}
_CACHED = {"Cache-Control": "public, max-age=60"}

router = APIRouter(tags=["well-known"])


@router.get("/health", responses=says(Status), summary="Say that this edge lives", openapi_extra=_OPEN)
async def health() -> Response:
    return answer(Status("healthy"))


@router.get("/ready", responses=says(Readiness), summary="Say whether this edge takes work", openapi_extra=_OPEN)
async def ready(deps: Deps) -> Response:
    reasons = deps.ready()
    return answer(Readiness("not ready" if reasons else "ready", reasons), 503 if reasons else 200)


@router.get("/.well-known/jwks.json", responses=says(KeySet), summary="Show the keys that verify access tokens",
            openapi_extra=_OPEN)  # fmt: skip
async def jwks(deps: Deps) -> Response:
    keys = (public_jwk(key) for _, key in sorted(deps.signing_keys.items.items()))
    return answer(KeySet([key for key in keys if key is not None]), headers=_CACHED)


@router.get("/.well-known/oauth-protected-resource", responses=says(ResourceMetadata),
            summary="Describe the MCP endpoint as a protected resource (RFC 9728)", openapi_extra=_OPEN)  # fmt: skip
async def resource_metadata(request: Request) -> Response:
    base = public_url(request)
    return answer(ResourceMetadata(f"{base}/mcp", (base,)), headers=_CACHED)


@router.get("/.well-known/oauth-protected-resource/mcp", include_in_schema=False)
async def mcp_metadata(request: Request) -> Response:
    return await resource_metadata(request)


@router.get("/.well-known/oauth-protected-resource/servers/{server_id}/mcp", responses=says(ResourceMetadata),
            summary="Describe the endpoint of a virtual server (RFC 9728)", openapi_extra=_OPEN)  # fmt: skip
async def server_metadata(server_id: str, request: Request, deps: Deps) -> Response:
    """The same whether or not the server exists, unless it has an identifier of its own or takes API keys only.

    This is asked without a credential.
    """
    server = deps.catalog.items.get(server_key(server_id))
    own = ""
    if isinstance(server, VirtualServer):
        if server.api_key_only:
            raise NotFound("this server does not advertise OAuth")
        own = server.resource
    base = public_url(request)
    return answer(ResourceMetadata(own or f"{base}/servers/{server_id}/mcp", (base,)), headers=_CACHED)


def public_jwk(key: SigningKey) -> dict[str, Any] | None:
    """The public members of a key; None for one that has no public half."""
    jwk = cast("dict[str, Any]", msgspec.json.decode(key.jwk))
    members = _PUBLIC_MEMBERS.get(str(jwk.get("kty")))
    if members is None:
        return None
    return {name: jwk[name] for name in members if name in jwk} | {
        "kid": key.kid,
        "alg": key.algorithm,
        "use": "sig",
    }
