"""The REST application: everything of the edge that is not MCP."""

from collections.abc import Awaitable, Callable, Container
from typing import Any

from starlette.requests import Request

from interlock_common.messages.common import Actor
from interlock_gateway.certificates.cross_site import check_same_site
from interlock_gateway.certificates.shown import shown_by
from interlock_gateway.client_address import client_address
from interlock_gateway.explaining import Explainer
from interlock_gateway.guard.rate_limits import COUNTED
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.client_documents import ClientDocuments
from interlock_gateway.rest.dependencies import OAuthFace, RestDependencies
from interlock_gateway.rest.scoping import check_server_scope
from interlock_gateway.rest.well_known_files import WellKnownFiles
from interlock_gateway.wiring.callers import Callers
from interlock_gateway.wiring.ground import Ground
from interlock_gateway.wiring.upstreams import UpstreamSide


def management_at(ground: Ground, callers: Callers, to: UpstreamSide) -> Any:
    """The ASGI application of REST, of OAuth's endpoints and of the well-known files."""
    settings = ground.settings
    dependencies = RestDependencies(
        bus=ground.bus,
        authenticate=_actors(callers, settings.origins),
        catalog=ground.mirrors.catalog,
        signing_keys=ground.mirrors.keys,
        tunnels=to.tunnels,
        consents=to.consents,
        explain=Explainer(callers.authenticator, ground.catalog, callers.limits).explain,
        presented=lambda request: callers.certificates.identities.presented(shown_by(request.scope)),
        public_url=settings.public_url.rstrip("/"),
        issuers=ground.mirrors.issuers,
        oauth=_oauth_face(ground, to),
        ready=lambda: [f"{name}: {reason}" for name, reason in ground.service.health.problems().items()],
    )
    return create_rest_app(dependencies, WellKnownFiles.of(
        enabled=settings.well_known_enabled, contact=settings.security_contact,
        custom=settings.well_known_custom_files,
    ))  # fmt: skip


def _actors(callers: Callers, origins: Container[str]) -> Callable[[Request], Awaitable[Actor]]:
    async def actor(request: Request) -> Actor:
        header = request.headers.get("authorization")
        credential = header.encode("latin-1") if header is not None else None
        shown = shown_by(request.scope)
        caller = callers.authenticator.caller(credential, client_address(request.scope), shown=shown)
        if not caller.has_token:
            check_same_site(request.method, request.scope["headers"], origins)
        callers.limits.count_caller(
            caller.principal, caller.token_id, request.scope.get(COUNTED), certificate=caller.limited_as
        )
        callers.lease.require(request.scope["path"])
        check_server_scope(caller.scopes.server_id, request.scope["path"])
        return caller.actor()

    return actor


def _oauth_face(ground: Ground, to: UpstreamSide) -> OAuthFace:
    settings = ground.settings
    documents = ClientDocuments(to.transports.endpoints, ground.clock)
    return OAuthFace(
        settings.cookies, settings.clients_register, documents if settings.oauth_client_documents else None
    )
