"""``/gateways/openapi``: a REST API as tools, out of its OpenAPI document."""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import Field

from interlock_common.messages import subjects
from interlock_common.messages.catalog import CreateUpstream, UpdateUpstream, Upstream, Visibility
from interlock_common.messages.common import Actor
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.bodies_of_catalog import (
    CredentialBody,
    Description,
    GatewayBody,
    LimitsBody,
    SecretsBody,
    TlsBody,
)
from interlock_gateway.rest.catalog_answers import Gateway, Kept, gateway
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import Body, Name
from interlock_gateway.rest.seen import Seen
from interlock_gateway.rest.upstreams import DISCOVERY_SECONDS, consent_url
from interlock_gateway.upstreams.rest.openapi import Imported, import_openapi
from interlock_gateway.upstreams.rest.openapi_document import MAX_BYTES

type Patterns = Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=200)]


class OpenApiBody(Body):
    """An OpenAPI document (3.0 or 3.1), as an object or as a text in JSON or YAML, and what it does not say."""

    document: dict[str, Any] | Annotated[str, Field(max_length=MAX_BYTES)]
    base_url: Annotated[str, Field(max_length=2048, description="instead of the document's first server")] | None = None
    include: Annotated[
        Patterns, Field(description="patterns of tool names, operation ids, `GET /path` or `tag:name`")
    ] = ()
    exclude: Patterns = ()
    name: Annotated[Name, Field(description="instead of the document's title")] | None = None
    description: Description | None = None
    visibility: Visibility = "public"
    team_id: Name | None = None
    credential: CredentialBody = CredentialBody()
    secrets: SecretsBody = SecretsBody()
    tls: TlsBody | None = None
    limits: LimitsBody = LimitsBody()

    def imported(self) -> Imported:
        """What the document describes; takes its time."""
        document = self.document
        content = document.encode() if isinstance(document, str) else msgspec.json.encode(document)
        return import_openapi(content, base_url=self.base_url, include=self.include, exclude=self.exclude)

    def request(self, found: Imported, actor: Actor) -> CreateUpstream:
        """The registration of what was found, on behalf of ``actor``."""
        registration = GatewayBody(
            name=self.name or found.name, url=found.url, transport="rest", visibility=self.visibility,
            team_id=self.team_id, credential=self.credential, secrets=self.secrets, tls=self.tls, limits=self.limits,
            description=found.description if self.description is None else self.description,
        ).request(actor)  # fmt: skip
        definitions = tuple(map(msgspec.Raw, found.definitions))
        return msgspec.structs.replace(registration, rest=found.rest, definitions=definitions)


class OpenApiImport(msgspec.Struct, frozen=True):
    """What came of a document: the gateway (null in a dry run), its tools, and what was left out or changed."""

    gateway: Gateway | None
    name: str
    url: str
    tools: tuple[str, ...]
    notes: tuple[str, ...]


type DryRun = Annotated[bool, Query(description="only say what would be registered")]

router = APIRouter(prefix="/gateways", tags=["gateways"])


@router.post("/openapi", status_code=201, responses=says(OpenApiImport, 201),
             summary="Register a REST API by its OpenAPI document")  # fmt: skip
async def register(body: OpenApiBody, actor: CurrentActor, deps: Deps, dry_run: DryRun = False) -> Response:  # noqa: FBT002 - a query
    """Nothing is fetched; a document is at most 4 MiB. A dry run is answered with 200."""
    found = await asyncio.to_thread(body.imported)
    request = body.request(found, actor)
    if dry_run:
        return answer(_report(request, found, None))
    made = await deps.bus.request(subjects.CATALOG_UPSTREAM_CREATE, request, Upstream, timeout=DISCOVERY_SECONDS)
    kept, consent = Kept(credential=bool(body.secrets.credential)), await consent_url(deps, actor, made)
    shown = gateway(made, None, kept, consent)
    return answer(_report(request, found, shown), 201, {"Location": f"/gateways/{made.id}"})


@router.put("/{gateway_id}/openapi", responses=says(OpenApiImport), summary="Bring a REST API to another document")
async def replace(
    gateway_id: str, body: OpenApiBody, actor: CurrentActor, deps: Deps, dry_run: DryRun = False  # noqa: FBT002
) -> Response:  # fmt: skip
    """Secrets that are left out stay as they are; tools that changed are graded as any other's."""
    found = await asyncio.to_thread(body.imported)
    request = body.request(found, actor)
    if dry_run:
        return answer(_report(request, found, None))
    update = UpdateUpstream(gateway_id, request)
    made = await deps.bus.request(subjects.CATALOG_UPSTREAM_UPDATE, update, Upstream, timeout=DISCOVERY_SECONDS)
    kept = Kept.of(Seen(actor, deps.catalog).upstream(gateway_id))
    shown = gateway(made, None, Kept(credential=kept.credential or bool(body.secrets.credential)))
    return answer(_report(request, found, shown))


def _report(request: CreateUpstream, found: Imported, made: Gateway | None) -> OpenApiImport:
    return OpenApiImport(made, request.name, found.url, tuple(found.rest), found.notes)
