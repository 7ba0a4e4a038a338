"""``/gateways``: the servers behind the gateway, which the catalog owns."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from interlock_common.messages import subjects
from interlock_common.messages.catalog import Kind, UpdateUpstream, Upstream, UpstreamList
from interlock_common.messages.common import Actor, ById, Empty, Page
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.bodies_of_catalog import GatewayBody
from interlock_gateway.rest.catalog_answers import Gateway, Kept, gateway
from interlock_gateway.rest.dependencies import CurrentActor, Deps, RestDependencies
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.paging import Cursor, Limit, next_page
from interlock_gateway.rest.seen import Seen

DISCOVERY_SECONDS = 32.0
"""Longer than the catalog may take to find out about an upstream (DISCOVERY_TIMEOUT, at most 30 s)."""

router = APIRouter(prefix="/gateways", tags=["gateways"])


@router.post("", status_code=201, responses=says(Gateway, 201), summary="Register an upstream server")
async def register(body: GatewayBody, actor: CurrentActor, deps: Deps) -> Response:
    made = await deps.bus.request(
        subjects.CATALOG_UPSTREAM_CREATE, body.request(actor), Upstream, timeout=DISCOVERY_SECONDS
    )
    kept = Kept(bool(body.secrets.credential), bool(body.secrets.environment))
    consent = await consent_url(deps, actor, made)
    return answer(gateway(made, None, kept, consent), 201, {"Location": f"/gateways/{made.id}"})


@router.get("", responses=says(Gateway, many=True), summary="List upstream servers")
async def list_all(
    request: Request,
    actor: CurrentActor,
    deps: Deps,
    cursor: Cursor = None,
    limit: Limit = 100,
    transport: Annotated[Kind | None, Query(description="only of this kind; pages may then be short")] = None,
    reachable: Annotated[bool | None, Query(description="only those that are, or are not")] = None,
) -> Response:
    page = await deps.bus.request(subjects.CATALOG_UPSTREAM_LIST, Page(actor, cursor, limit), UpstreamList)
    seen = Seen(actor, deps.catalog)
    found = [
        gateway(each, seen.upstream(each.id), _kept(seen, each))
        for each in page.upstreams
        if transport in {None, each.transport} and reachable in {None, each.reachable}
    ]
    return answer(found, headers=next_page(request, page.next_cursor))


@router.get("/{gateway_id}", responses=says(Gateway), summary="Show an upstream server")
async def show(gateway_id: str, actor: CurrentActor, deps: Deps) -> Response:
    found = await deps.bus.request(subjects.CATALOG_UPSTREAM_GET, ById(actor, gateway_id), Upstream)
    kept, consent = _kept(Seen(actor, deps.catalog), found), await consent_url(deps, actor, found)
    return answer(gateway(found, None, kept, consent))


@router.put("/{gateway_id}", responses=says(Gateway), summary="Register an upstream server anew, in full")
async def replace(gateway_id: str, body: GatewayBody, actor: CurrentActor, deps: Deps) -> Response:
    """Secrets that are left out stay as they are, unless the kind of the credential changes."""
    request = UpdateUpstream(gateway_id, body.request(actor))
    made = await deps.bus.request(subjects.CATALOG_UPSTREAM_UPDATE, request, Upstream, timeout=DISCOVERY_SECONDS)
    before = Kept.of(Seen(actor, deps.catalog).upstream(gateway_id))
    kept = Kept(
        before.credential or bool(body.secrets.credential), before.environment or bool(body.secrets.environment)
    )
    return answer(gateway(made, None, kept, await consent_url(deps, actor, made)))


@router.delete("/{gateway_id}", responses=says(Status), summary="Delete an upstream server")
async def delete(gateway_id: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.CATALOG_UPSTREAM_DELETE, ById(actor, gateway_id), Empty)
    return answer(Status("deleted"))


@router.post("/{gateway_id}/refresh", responses=says(Gateway), summary="Look at an upstream server again")
async def refresh(gateway_id: str, actor: CurrentActor, deps: Deps) -> Response:
    found = await deps.bus.request(
        subjects.CATALOG_UPSTREAM_REFRESH, ById(actor, gateway_id), Upstream, timeout=DISCOVERY_SECONDS
    )
    kept, consent = _kept(Seen(actor, deps.catalog), found), await consent_url(deps, actor, found)
    return answer(gateway(found, None, kept, consent))


async def consent_url(deps: RestDependencies, actor: Actor, upstream: Upstream) -> str:
    """Where the actor lets the gateway use an upstream; empty where no consent is asked for, or it was given."""
    if upstream.credential.kind != "oauth" or await deps.consents.granted(upstream, actor.principal):
        return ""
    return deps.consents.link(upstream, actor.principal)[0]


def _kept(seen: Seen, upstream: Upstream) -> Kept | None:
    """What is known of the secrets, for who may change the gateway; None for others."""
    return Kept.of(seen.upstream(upstream.id)) if seen.may_configure(upstream) else None
