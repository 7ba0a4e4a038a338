"""The REST application: everything the edge answers beside MCP."""

import re

from fastapi import FastAPI

from interlock_gateway.rest import (
    audit,
    authority,
    configuration,
    consents,
    docs_page,
    documents,
    explain,
    grants,
    issuers,
    migration,
    oauth,
    oauth_pages,
    openapi,
    overview,
    own_certificate,
    problems,
    provider_pages,
    reverse,
    revocations,
    roles,
    servers,
    teams,
    things,
    tokens,
    upstreams,
    users,
    well_known_files,
    wellknown,
)
from interlock_gateway.rest.bodies import BoundedBodies
from interlock_gateway.rest.dependencies import RestDependencies
from interlock_gateway.rest.well_known_files import WellKnownFiles

_ROUTERS = (
    upstreams, openapi, servers, things, configuration, reverse, grants, consents, users, teams, roles,
    oauth, oauth_pages, provider_pages, issuers,
    tokens, own_certificate, authority, revocations, explain, migration, overview, audit, wellknown,
)  # fmt: skip
_DOCUMENTS = re.compile(r"/import|/gateways/(?:[A-Za-z0-9_-]{1,64}/)?openapi")
"""Paths whose bodies are whole documents."""


def create_rest_app(deps: RestDependencies, files: WellKnownFiles | None = None) -> FastAPI:
    """The application on ``deps``; it asks for no lifespan."""
    app = FastAPI(
        title="Interlock",
        version="0.1.0",
        summary="Upstreams, virtual servers, tokens, plugins, certificates and the audit record",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses=documents.PROBLEMS,
    )
    app.state.dependencies = deps
    app.add_middleware(BoundedBodies, documents=_DOCUMENTS)
    problems.install(app)
    documents.install(app)
    docs_page.install(app)
    well_known_files.install(app, files or WellKnownFiles())
    for module in _ROUTERS:
        app.include_router(module.router)
    return app
