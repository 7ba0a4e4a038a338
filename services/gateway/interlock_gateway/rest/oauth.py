"""The authorization server's endpoints for programs: metadata, registration, tokens (RFC 8414, 7591, 6749, 7009, 7662).

Whatever it grants is decided by auth; here it is only read, asked and told in the words of OAuth.
"""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from interlock_common.errors import InterlockError, NotFound
from interlock_common.messages import subjects
from interlock_common.messages.common import Actor, ById, Empty, Page
from interlock_common.messages.oauth import (
    ClientList,
    ClientSummary,
    Introspection,
    IntrospectToken,
    RegisterClient,
    RegisteredClient,
    RevokeGrantedToken,
    TokenAnswer,
    TokenRequest,
)
from interlock_gateway.certificates.binding import Presented
from interlock_gateway.rest.answers import AuthorizationServerMetadata, OAuthRefusal, Status, answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps, RestDependencies, public_url
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.oauth_requests import (
    ClientCredentials,
    RequestRefused,
    Target,
    TargetRefused,
    credentials,
    form,
    target,
)
from interlock_gateway.rest.paging import Cursor, Limit, next_page

_OPEN: dict[str, Any] = {"security": []}
_CACHED = {"Cache-Control": "public, max-age=60"}
_MAX_METADATA = 16 * 1024
_SECONDS = 15.0
_OAUTH_CODES = frozenset({
    "invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_target", "unauthorized_client",
    "unsupported_grant_type", "invalid_redirect_uri", "invalid_client_metadata",
})  # fmt: skip

router = APIRouter(tags=["oauth"])


@router.get("/.well-known/oauth-authorization-server", responses=says(AuthorizationServerMetadata),
            summary="Describe the authorization server (RFC 8414)", openapi_extra=_OPEN)  # fmt: skip
async def metadata(request: Request, deps: Deps) -> Response:
    return answer(_metadata(public_url(request), deps), headers=_CACHED)


@router.get("/.well-known/openid-configuration", include_in_schema=False)
async def openid_metadata(request: Request, deps: Deps) -> Response:
    """Where clients look that know OpenID Connect's place only."""
    return await metadata(request, deps)


@router.get("/.well-known/oauth-authorization-server/{path:path}", include_in_schema=False)
async def metadata_below(path: str, request: Request, deps: Deps) -> Response:
    """For an issuer with a path, behind a proxy that hands this address on (RFC 8414, section 3.1)."""
    if not path or not public_url(request).endswith(f"/{path}"):
        raise NotFound("there is no authorization server of this name")
    return await metadata(request, deps)


@router.post("/oauth/register", status_code=201, responses=says(RegisteredClient, 201),
             summary="Register oneself as a client, where that is on (RFC 7591)", openapi_extra=_OPEN)  # fmt: skip
async def register(request: Request, deps: Deps) -> Response:
    try:
        made = await _registered(request, deps, None)
    except InterlockError as error:
        return _refused(error)
    return answer(made, 201)


@router.post("/oauth/clients", status_code=201, responses=says(RegisteredClient, 201), summary="Register a client")
async def create(request: Request, actor: CurrentActor, deps: Deps) -> Response:
    """Its metadata as in RFC 7591; for platform administrators."""
    return answer(await _registered(request, deps, actor), 201)


@router.get("/oauth/clients", responses=says(ClientSummary, many=True), summary="List clients")
async def list_all(
    request: Request, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    page = await deps.bus.request(subjects.AUTH_OAUTH_CLIENTS, Page(actor, cursor, limit), ClientList)
    return answer(page.clients, headers=next_page(request, page.next_cursor))


@router.delete("/oauth/clients/{client_id}", responses=says(Status), summary="Remove a client, and all it was granted")
async def remove(client_id: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.AUTH_OAUTH_UNREGISTER, ById(actor, client_id), Empty, timeout=_SECONDS)
    return answer(Status("removed"))


@router.post("/oauth/token", responses=says(TokenAnswer), summary="Get tokens for a code, a refresh token or a token",
             openapi_extra=_OPEN)  # fmt: skip
async def token(request: Request, deps: Deps) -> Response:
    """A form as in RFC 6749, sections 4.1.3 and 6, or RFC 8693, section 2.1."""
    try:
        said = await form(request)
        client = credentials(request, said)
        asked = _token_request(request, client, said, deps.presented(request))
        given = await deps.bus.request(subjects.AUTH_OAUTH_TOKEN, asked, TokenAnswer, timeout=_SECONDS)
    except InterlockError as error:
        return _refused(error)
    return answer(given, headers={"Pragma": "no-cache"})


@router.post("/oauth/revoke", responses=says(Status), summary="Give a token back (RFC 7009)", openapi_extra=_OPEN)
async def revoke(request: Request, deps: Deps) -> Response:
    """By the client it was given to, or with a bearer token by the person who gave it."""
    try:
        said = await form(request)
        if not said.get("token"):
            raise RequestRefused("token is missing")
        if request.headers.get("authorization", "").lower().startswith("bearer "):
            asked = RevokeGrantedToken(said["token"], actor=await deps.authenticate(request))
        else:
            client = credentials(request, said)
            asked = RevokeGrantedToken(said["token"], client.id, client.secret, client.method, public_url(request))
        await deps.bus.request(subjects.AUTH_OAUTH_REVOKE, asked, Empty, timeout=_SECONDS)
    except InterlockError as error:
        return _refused(error)
    return answer(Status("revoked"))


@router.post("/oauth/introspect", responses=says(Introspection), summary="Ask what a token is worth (RFC 7662)")
async def introspect(request: Request, deps: Deps) -> Response:
    """With a bearer token that has ``tokens.read``, or by a client about tokens that were issued to it.

    Other people's tokens are not active to those who are no administrators.
    """
    said = await form(request)
    bearer = request.headers.get("authorization", "").lower().startswith("bearer ")
    client = None if bearer else credentials(request, said)
    if client is None or not client.shown:
        asked = IntrospectToken(said.get("token", ""), await deps.authenticate(request))
        return answer(await deps.bus.request(subjects.AUTH_OAUTH_INTROSPECT, asked, Introspection))
    asked = IntrospectToken(said.get("token", ""), None, client.id, client.secret, client.method, public_url(request))
    try:
        told = await deps.bus.request(subjects.AUTH_OAUTH_INTROSPECT, asked, Introspection)
    except InterlockError as error:
        return _refused(error)
    return answer(told)


async def _registered(request: Request, deps: RestDependencies, actor: Actor | None) -> RegisteredClient:
    body = await request.body()
    try:
        if len(body) > _MAX_METADATA:
            raise RequestRefused(f"client metadata have at most {_MAX_METADATA} bytes")
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        raise RequestRefused("client metadata are a JSON object") from None
    asked = RegisterClient(msgspec.Raw(body), actor)
    return await deps.bus.request(subjects.AUTH_OAUTH_REGISTER, asked, RegisteredClient)


def _token_request(
    request: Request, client: ClientCredentials, said: dict[str, str], presented: Presented
) -> TokenRequest:
    named = Target()
    if resource := said.get("resource") or said.get("audience", ""):
        named = target(request, resource)
        if not named.audience:
            raise TargetRefused("resource names neither this gateway nor one of its virtual servers")
    return TokenRequest(
        grant_type=said.get("grant_type", ""), client_id=client.id, client_secret=client.secret,
        auth_method=client.method, own_url=public_url(request), code=said.get("code", ""),
        redirect_uri=said.get("redirect_uri", ""), code_verifier=said.get("code_verifier", ""),
        refresh_token=said.get("refresh_token", ""), scope=said.get("scope", ""), resource=named.audience,
        server_id=named.server_id, subject_token=said.get("subject_token", ""),
        subject_token_type=said.get("subject_token_type", ""),
        requested_token_type=said.get("requested_token_type", ""), actor_token=said.get("actor_token", ""),
        certificate=presented.thumbprint, succeeds=presented.succeeds,
    )  # fmt: skip


def _refused(error: InterlockError) -> Response:
    """An error in the words of OAuth; with what a client that must try again, or otherwise, is told beside."""
    otherwise = "temporarily_unavailable" if error.retryable else "access_denied"
    code = error.code if error.code in _OAUTH_CODES else otherwise
    headers: dict[str, str] = {}
    if error.status == 401:  # noqa: PLR2004 - RFC 6749, section 5.2
        headers["WWW-Authenticate"] = 'Basic realm="interlock"'
    if error.retryable:
        headers["Retry-After"] = str(error.fields.get("retry_after", 1))
    return answer(OAuthRefusal(code, error.detail), error.status, headers)


def _metadata(issuer: str, deps: RestDependencies) -> AuthorizationServerMetadata:
    return AuthorizationServerMetadata(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/oauth/authorize",
        token_endpoint=f"{issuer}/oauth/token",
        revocation_endpoint=f"{issuer}/oauth/revoke",
        introspection_endpoint=f"{issuer}/oauth/introspect",
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        client_id_metadata_document_supported=deps.oauth.documents is not None,
        registration_endpoint=f"{issuer}/oauth/register" if deps.oauth.clients_register else msgspec.UNSET,
    )
