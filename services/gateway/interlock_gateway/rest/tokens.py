"""``/auth/login`` and ``/tokens``, which auth owns."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from interlock_common.messages import subjects
from interlock_common.messages.auth import (
    CreateToken,
    IssuedToken,
    ListTokens,
    Login,
    RevokeToken,
    TokenList,
    TokenSummary,
    UpdateToken,
)
from interlock_common.messages.common import Actor, ById
from interlock_common.messages.identities import LoggedIn
from interlock_common.messages.revocation import Receipt
from interlock_common.messages.token_usage import TokenUsage
from interlock_gateway.rest.answers import AccessToken, answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.own_certificate import own_certificate
from interlock_gateway.rest.paging import next_page
from interlock_gateway.rest.schemas import LoginBody, RevocationBody, TokenBody, TokenChangesBody

router = APIRouter(tags=["tokens"])


class Chosen(BaseModel):
    """Which tokens are asked for, and which page of them."""

    cursor: Annotated[str | None, Field(max_length=200)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100
    principal: Annotated[str | None, Field(max_length=320, description="an administrator's choice")] = None
    name: Annotated[str | None, Field(max_length=255, description="a part of the name")] = None
    status: Literal["active", "expired", "revoked"] | None = None

    def of(self, actor: Actor, team: str | None = None) -> ListTokens:
        return ListTokens(actor, self.cursor, self.limit, self.principal, team, self.name, self.status)


@router.post("/auth/login", responses=says(AccessToken), summary="Log in", openapi_extra={"security": list[object]()})
async def login(body: LoginBody, deps: Deps) -> Response:
    issued = await deps.bus.request(subjects.AUTH_LOGIN, Login(body.email, body.password), LoggedIn)
    remaining = max(0, int(issued.expires_at - deps.clock.time()))
    return answer(AccessToken(issued.token, remaining, must_change_password=issued.must_change_password))


@router.post("/tokens", status_code=201, responses=says(IssuedToken, 201), summary="Mint a token; shown once")
async def mint(request: Request, body: TokenBody, actor: CurrentActor, deps: Deps) -> Response:
    asked = CreateToken(
        actor, body.name, body.seconds, body.scopes.scopes(), body.teams, body.description, body.principal,
        own_certificate(request).thumbprint if body.certificate == "this" else body.certificate,
    )  # fmt: skip
    issued = await deps.bus.request(subjects.AUTH_TOKEN_CREATE, asked, IssuedToken)
    return answer(issued, 201, {"Location": f"/tokens/{issued.id}"})


@router.get("/tokens", responses=says(TokenList), summary="List one's own tokens; all of them for an administrator")
async def list_all(request: Request, actor: CurrentActor, deps: Deps, chosen: Annotated[Chosen, Query()]) -> Response:
    return await _listed(request, deps, chosen.of(actor))


@router.get("/teams/{team_id}/tokens", responses=says(TokenList), summary="List the tokens for a team, for its owners")
async def list_of_team(
    request: Request, team_id: str, actor: CurrentActor, deps: Deps, chosen: Annotated[Chosen, Query()]
) -> Response:
    return await _listed(request, deps, chosen.of(actor, team_id))


async def _listed(request: Request, deps: Deps, asked: ListTokens) -> Response:
    found = await deps.bus.request(subjects.AUTH_TOKEN_LIST, asked, TokenList)
    more = found.tokens[-1].id if len(found.tokens) == asked.limit else None
    return answer(found, headers=next_page(request, more))


@router.get("/tokens/{token_id}", responses=says(TokenSummary), summary="Show a token")
async def show(token_id: str, actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUTH_TOKEN_GET, ById(actor, token_id), TokenSummary))


@router.put("/tokens/{token_id}", responses=says(TokenSummary), summary="Rename a token, or narrow its scopes")
async def change(token_id: str, body: TokenChangesBody, actor: CurrentActor, deps: Deps) -> Response:
    """Scopes can only become narrower, and do at every edge at once."""
    scopes = body.scopes.scopes() if body.scopes is not None else None
    request = UpdateToken(actor, token_id, body.name, body.description, scopes)
    return answer(await deps.bus.request(subjects.AUTH_TOKEN_UPDATE, request, TokenSummary))


@router.get("/tokens/{token_id}/usage", responses=says(TokenUsage), summary="Show how a token was used")
async def usage(token_id: str, actor: CurrentActor, deps: Deps) -> Response:
    """Requests of the last 90 days, as the edges told until two seconds ago."""
    return answer(await deps.bus.request(subjects.AUTH_TOKEN_USAGE, ById(actor, token_id), TokenUsage))


@router.delete("/tokens/{token_id}", responses=says(Receipt), summary="Revoke a token, at once and everywhere")
async def revoke(token_id: str, actor: CurrentActor, deps: Deps, body: RevocationBody | None = None) -> Response:
    request = RevokeToken(actor, token_id, body.reason if body is not None else "")
    return answer(await deps.bus.request(subjects.AUTH_TOKEN_REVOKE, request, Receipt))
