"""``/issuers``: authorization servers of others, and who their users are here; auth owns both."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from interlock_common.messages import subjects
from interlock_common.messages.common import Empty, Page
from interlock_common.messages.identities import ByName
from interlock_common.messages.issuers import (
    Identity,
    IdentityList,
    IdentityPage,
    Issuer,
    IssuerList,
    LinkIdentity,
    SetIssuer,
    UnlinkIdentity,
)
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.bodies_of_issuers import IdentityBody, IssuerBody
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.paging import Cursor, Limit, next_page

_SECONDS = 20.0  # auth asks the provider twice

router = APIRouter(prefix="/issuers", tags=["issuers"])


@router.get("", responses=says(Issuer, many=True), summary="List authorization servers whose word counts here")
async def list_all(actor: CurrentActor, deps: Deps) -> Response:
    return answer((await deps.bus.request(subjects.AUTH_ISSUER_LIST, Page(actor), IssuerList)).issuers)


@router.get("/{name}", responses=says(Issuer), summary="Show one, with its keys and why they could not be read")
async def show(name: str, actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUTH_ISSUER_GET, ByName(actor, name), Issuer))


@router.put("/{name}", responses=says(Issuer), summary="Let its tokens count, or its users log in: in full")
async def replace(name: str, body: IssuerBody, actor: CurrentActor, deps: Deps) -> Response:
    """For platform administrators whose credential is not limited."""
    asked = SetIssuer(actor, body.settings(name))
    return answer(await deps.bus.request(subjects.AUTH_ISSUER_SET, asked, Issuer, timeout=_SECONDS))


@router.delete("/{name}", responses=says(Status), summary="Remove it: its tokens count no more, and all links go")
async def delete(name: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.AUTH_ISSUER_DELETE, ByName(actor, name), Empty, timeout=_SECONDS)
    return answer(Status("removed"))


@router.post("/{name}/refresh", responses=says(Issuer), summary="Read its keys now")
async def refresh(name: str, actor: CurrentActor, deps: Deps) -> Response:
    asked = ByName(actor, name)
    return answer(await deps.bus.request(subjects.AUTH_ISSUER_REFRESH, asked, Issuer, timeout=_SECONDS))


@router.get("/{name}/identities", responses=says(Identity, many=True), summary="List who its subjects are here")
async def identities(
    name: str, request: Request, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    asked = IdentityPage(actor, name, cursor, limit)
    page = await deps.bus.request(subjects.AUTH_IDENTITY_LIST, asked, IdentityList)
    return answer(page.identities, headers=next_page(request, page.next_cursor))


@router.post("/{name}/identities", status_code=201, responses=says(Identity, 201), summary="Link a subject to a user")
async def link(name: str, body: IdentityBody, actor: CurrentActor, deps: Deps) -> Response:
    asked = LinkIdentity(actor, name, body.subject, body.principal)
    return answer(await deps.bus.request(subjects.AUTH_IDENTITY_LINK, asked, Identity), 201)


@router.delete("/{name}/identities", responses=says(Status), summary="Unlink a subject")
async def unlink(
    name: str,
    actor: CurrentActor,
    deps: Deps,
    subject: Annotated[str, Query(min_length=1, max_length=255, description="the subject of the issuer")],
) -> Response:
    await deps.bus.request(subjects.AUTH_IDENTITY_UNLINK, UnlinkIdentity(actor, name, subject), Empty)
    return answer(Status("unlinked"))
