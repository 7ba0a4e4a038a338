"""What the REST API is given, and how its routes come by it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import msgspec
from fastapi import Depends, Request

from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import Unavailable
from interlock_common.messages.auth import SigningKey
from interlock_common.messages.catalog import CatalogItem
from interlock_common.messages.common import Actor
from interlock_common.messages.explaining import Asked, Explanation
from interlock_common.messages.gateway import Tunnel
from interlock_common.messages.issuers import TrustedIssuer
from interlock_gateway.certificates.binding import Presented
from interlock_gateway.guard.cookies import CookieRules
from interlock_gateway.rest.client_documents import ClientDocuments
from interlock_gateway.upstreams.oauth.consents import Consents


class Requests(Protocol):
    """The bus as REST needs it: ask the owner of a fact."""

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T: ...


class View[T](Protocol):
    """A mirror as REST reads it; ``items`` is asked for anew each time, a resync replaces it."""

    @property
    def items(self) -> Mapping[str, T]: ...


class TunnelList(Protocol):
    """The servers that dialled in, at all edges."""

    def listed(self, actor: Actor) -> list[Tunnel]: ...
    async def close(self, actor: Actor, tunnel_id: str) -> None: ...


@dataclass(frozen=True)
class OAuthFace:
    """How the authorization server shows itself here: its cookies, and which clients it takes.

    ``clients_register`` says whether clients register themselves; without ``documents`` none describes itself by one.
    """

    cookies: CookieRules = field(default_factory=CookieRules)
    clients_register: bool = False
    documents: ClientDocuments | None = None


def unexplained(_asked: Asked) -> Explanation:
    raise Unavailable("this edge explains no decisions")


def nothing_presented(_request: Request) -> Presented:
    return Presented()


@dataclass(frozen=True)
class RestDependencies:
    """Everything outside of REST that its routes use.

    ``authenticate`` answers on whose behalf a request is, or raises Unauthenticated. ``ready`` names the
    reasons for which this edge should get no work. ``presented`` is the certificate that came with a request, and that
    still counts. ``public_url`` is what clients call the gateway by; where
    it is not set, it is what the request called it by.
    """

    bus: Requests
    authenticate: Callable[[Request], Awaitable[Actor]]
    catalog: View[CatalogItem]
    signing_keys: View[SigningKey]
    ready: Callable[[], list[str]]
    tunnels: TunnelList
    consents: Consents
    explain: Callable[[Asked], Explanation] = unexplained
    presented: Callable[[Request], Presented] = nothing_presented
    public_url: str = ""
    oauth: OAuthFace = field(default_factory=OAuthFace)
    issuers: View[TrustedIssuer] | None = None
    clock: Clock = SYSTEM_CLOCK


def dependencies(request: Request) -> RestDependencies:
    return request.app.state.dependencies


async def _actor(request: Request) -> Actor:
    return await dependencies(request).authenticate(request)


def public_url(request: Request) -> str:
    """The address of the gateway without a slash at its end."""
    return (dependencies(request).public_url or str(request.base_url)).rstrip("/")


type Deps = Annotated[RestDependencies, Depends(dependencies)]
type CurrentActor = Annotated[Actor, Depends(_actor)]
"""The verified principal; a route that takes it is behind authentication."""
