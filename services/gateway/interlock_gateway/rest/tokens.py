"""``/auth/login`` and ``/tokens``, which auth owns."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from interlock_common.messages import subjects
from interlock_common.messages.auth import (
    CreateToken,
    IssuedToken,
    Login,
    RevokeToken,
    Scopes,
    TokenList,
)
from interlock_common.messages.common import Page
from interlock_common.messages.identities import LoggedIn
from interlock_common.messages.revocation import Receipt
from interlock_gateway.rest.answers import AccessToken, answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import LoginBody, RevocationBody, TokenBody

router = APIRouter(tags=["tokens"])


@router.post("/auth/login", responses=says(AccessToken), summary="Log in", openapi_extra={"security": list[object]()})
async def login(body: LoginBody, deps: Deps) -> Response:
    issued = await deps.bus.request(subjects.AUTH_LOGIN, Login(body.email, body.password), LoggedIn)
    remaining = max(0, int(issued.expires_at - deps.clock.time()))
    return answer(AccessToken(issued.token, remaining, must_change_password=issued.must_change_password))


@router.post("/tokens", status_code=201, responses=says(IssuedToken, 201), summary="Mint a token; shown once")
async def mint(body: TokenBody, actor: CurrentActor, deps: Deps) -> Response:
    scopes = Scopes(body.scopes.server_id, body.scopes.permissions)
    request = CreateToken(actor, body.name, body.seconds, scopes, body.teams)
    issued = await deps.bus.request(subjects.AUTH_TOKEN_CREATE, request, IssuedToken)
    return answer(issued, 201, {"Location": f"/tokens/{issued.id}"})


@router.get("/tokens", responses=says(TokenList), summary="List tokens")
async def list_all(
    actor: CurrentActor,
    deps: Deps,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    return answer(await deps.bus.request(subjects.AUTH_TOKEN_LIST, Page(actor, cursor, limit), TokenList))


@router.delete("/tokens/{token_id}", responses=says(Receipt), summary="Revoke a token, at once and everywhere")
async def revoke(token_id: str, actor: CurrentActor, deps: Deps, body: RevocationBody | None = None) -> Response:
    request = RevokeToken(actor, token_id, body.reason if body is not None else "")
    return answer(await deps.bus.request(subjects.AUTH_TOKEN_REVOKE, request, Receipt))
