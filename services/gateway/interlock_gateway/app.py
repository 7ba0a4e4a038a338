"""The only wiring of the edge."""

import asyncio
import secrets
import socket
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import SecretStr
from starlette.requests import Request

from interlock_common import kv
from interlock_common.messages import resources, subjects
from interlock_common.messages.auth import NarrowedScopes, Principal, SigningKey, revocation_key
from interlock_common.messages.catalog import CatalogItem, Upstream, VirtualServer
from interlock_common.messages.common import Actor
from interlock_common.messages.gateway import Session
from interlock_common.messages.grants import Grant
from interlock_common.messages.plugins import Binding
from interlock_common.messages.revocation import FOR_EVER
from interlock_common.messages.token_usage import ReportUses, UsesCounted
from interlock_common.mirror import Mirror
from interlock_common.reading import BucketReader
from interlock_common.revocation_set import RevocationMirror
from interlock_common.runtime import Service, running
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions as BusSubscriptions
from interlock_gateway.authentication import Authenticator, Caller
from interlock_gateway.changes.hub import Changes
from interlock_gateway.changes.listeners import Listeners
from interlock_gateway.changes.notices import Notices
from interlock_gateway.changes.subscriptions import Subscriptions
from interlock_gateway.claims import ClaimRules
from interlock_gateway.client_address import client_address
from interlock_gateway.config import Settings
from interlock_gateway.confirming import Confirming
from interlock_gateway.consents.assembly import consents_at
from interlock_gateway.consents.consenting import Consenting
from interlock_gateway.endpoints.front import HttpFront
from interlock_gateway.endpoints.mcp import McpEndpoint
from interlock_gateway.endpoints.requests import Scope
from interlock_gateway.endpoints.rpc import RpcEndpoint
from interlock_gateway.endpoints.sse import SseEndpoint
from interlock_gateway.endpoints.tunnels import PATH as TUNNEL_PATH
from interlock_gateway.endpoints.tunnels import TunnelEndpoint
from interlock_gateway.endpoints.ws import WsDependencies, WsEndpoint
from interlock_gateway.exchanges.server import ExchangeServer
from interlock_gateway.exchanges.tunnels import Tunnels
from interlock_gateway.explaining import Explainer
from interlock_gateway.guard.front import Guard, KeptOut
from interlock_gateway.guard.gossip import Gossip
from interlock_gateway.guard.rate_limits import COUNTED, RateLimits
from interlock_gateway.held.holding import Holding
from interlock_gateway.held.request_state import RequestStates
from interlock_gateway.held.resuming import Resuming
from interlock_gateway.hooks import Hooks
from interlock_gateway.lease import Lease
from interlock_gateway.limits import Concurrency
from interlock_gateway.listing import Listing
from interlock_gateway.live import LiveWork
from interlock_gateway.methods import Methods
from interlock_gateway.recording import Recorder
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.client_documents import ClientDocuments
from interlock_gateway.rest.dependencies import OAuthFace, RestDependencies
from interlock_gateway.rest.scoping import check_server_scope
from interlock_gateway.rest.well_known_files import WellKnownFiles
from interlock_gateway.revocations import Revocations
from interlock_gateway.routing import Catalog
from interlock_gateway.server import GRACE_SECONDS, Endpoints, Router, listen, make_server
from interlock_gateway.sessions.registry import Sessions
from interlock_gateway.sessions.traffic import SessionTraffic, Surroundings
from interlock_gateway.tasks import Tasks
from interlock_gateway.token_scopes import ScopeGate
from interlock_gateway.tool_calls import ToolCalls
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.assembly import Transports
from interlock_gateway.upstreams.connections import Bounds
from interlock_gateway.upstreams.dispatch import Upstreams
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.upstreams.eras.wrapping import Eras
from interlock_gateway.usage import UsageReports, Uses

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Mirrors:
    """What the edge knows, each a bucket of its owner."""

    keys: Mirror[SigningKey]
    principals: Mirror[Principal]
    revocations: RevocationMirror
    catalog: Mirror[CatalogItem]
    bindings: Mirror[Binding]
    sessions: Mirror[Session]
    grants: Mirror[Grant]
    token_scopes: Mirror[NarrowedScopes]

    @classmethod
    def of(cls, service: Service) -> "Mirrors":
        bus = service.bus
        return cls(
            keys=Mirror(bus, resources.SIGNING_KEYS, SigningKey),
            principals=Mirror(bus, resources.PRINCIPALS, Principal),
            revocations=RevocationMirror(bus),
            catalog=Mirror(bus, resources.CATALOG, Upstream | VirtualServer),
            bindings=Mirror(bus, resources.BINDINGS, Binding),
            sessions=Mirror(bus, resources.SESSIONS, Session),
            grants=Mirror(bus, resources.GRANTS, Grant),
            token_scopes=Mirror(bus, resources.TOKEN_SCOPES, NarrowedScopes),
        )

    def all(self) -> tuple[BucketReader[Any, Any], ...]:
        return (
            self.keys, self.principals, self.revocations, self.catalog, self.bindings, self.sessions, self.grants,
            self.token_scopes,
        )  # fmt: skip


class Edge:
    """One edge process, from its settings to its listener."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self._service = service
        self._settings = settings
        self._mirrors = mirrors = Mirrors.of(service)
        self._uses = Uses()
        self._lease = Lease(
            service.clock, settings.revocation_lease, lambda: mirrors.revocations.applied,
            lambda: mirrors.revocations.items.digest, self._reread, settings.going_on,
        )  # fmt: skip
        self._authenticator = Authenticator(
            mirrors.keys,
            mirrors.principals,
            Revocations(lambda: mirrors.revocations.items),
            rules=claim_rules(settings),
            clock=service.clock,
            gate=ScopeGate(self._uses, mirrors.token_scopes),
            resources=lambda server_id: self._catalog.audiences(server_id, settings.own_url),
            require_fresh=self._lease.require_unless_sorted_later,
        )
        self._serving: asyncio.Task[None] | None = None
        self._live = LiveWork(self._authenticator.counts)
        self._limits = RateLimits(settings.rates, service.clock)
        self._catalog = Catalog()
        self._sealer = Sealer(_secret(settings.auth_encryption_secret))
        self._subscribed = BusSubscriptions(service.bus)
        self._confirming = Confirming(service.bus, self._subscribed, mirrors.revocations, self._lease)
        self._transports = Transports(
            service.bus,
            self._subscribed,
            self._sealer,
            service.clock,
            bounds=_bounds(settings),
            policy=AddressPolicy.of(
                allow_private=settings.allow_private_upstreams, allowed=settings.allow_upstream_networks
            ),
            session_lifetime=settings.session_lifetime,
        )
        self._consents = consents_at(
            service.bus, mirrors.grants, self._catalog.upstreams.get, self._transports, self._sealer, service.clock,
            base=settings.own_url,
        )  # fmt: skip
        self._gossip = Gossip(self._limits, service.bus, self._subscribed, service.clock)
        self._answering = ExchangeServer(service.bus, self._subscribed)
        self._tunnels = Tunnels(service.bus, self._subscribed, self._answering, clock=service.clock)
        self._resuming = Resuming(
            _holding(settings, service, self._sealer), self._transports.exchanges, self._answering, self._subscribed
        )
        self._upstreams = Upstreams(self._transports.by_kind, Eras(self._resuming.holding, self._resuming))
        self._listeners = Listeners(self._upstreams, service.clock)
        self._notices = Notices(service.bus, self._subscribed)
        self._changes = Changes(self._catalog, self._listeners, self._notices.say)
        self._follow()
        rest = create_rest_app(self._rest_dependencies(), WellKnownFiles.of(
            enabled=settings.well_known_enabled, contact=settings.security_contact,
            custom=settings.well_known_custom_files,
        ))  # fmt: skip
        mcp = self._mcp_endpoint()
        self._ws = self._ws_endpoint(mcp)
        endpoints = Endpoints(
            mcp=mcp,
            sse=SseEndpoint(self._front, self._catalog, mcp.methods, mcp.sessions, mcp.traffic),
            rpc=RpcEndpoint(self._front, mcp.methods),
            ws=self._ws,
        )
        self._server = make_server(self._guarded(Router(endpoints, rest, self._sockets())))
        for mirror in mirrors.all():
            service.health.ready_when(f"mirror {mirror.bucket.name}", mirror.problem)
        service.health.ready_when("audit", service.audit.problem)
        service.health.ready_when("revocations", self._lease.problem)
        service.health.ready_when("listener", lambda: None if self._server.started else "it does not listen yet")

    async def run(self) -> None:
        listener = listen(self._settings.host, self._settings.port)
        try:
            await self._service.run(on_connected=self._fill, on_ready=lambda: self._serve(listener))
        finally:
            await self._finish()
            listener.close()

    async def _fill(self) -> None:
        """Read every mirror completely: an edge that does not know what is revoked must not serve."""
        for bucket in (resources.SESSIONS, resources.UPSTREAM_SESSIONS, resources.CONSENTS):
            await kv.ensure_bucket(self._service.bus, bucket)
        await kv.ensure_stream(self._service.bus, resources.SESSION_MESSAGES)
        for mirror in self._mirrors.all():
            await mirror.start()
        for mirror in self._mirrors.all():
            await mirror.wait_complete(timeout=None)

    async def _serve(self, listener: socket.socket) -> None:
        await self._confirming.start()
        await self._transports.start()
        await self._answering.start()
        await self._gossip.start()
        await self._tunnels.start()
        await self._resuming.start()
        await self._notices.start(self._changes.notified)
        await self._traffic.start()
        reports = UsageReports(self._uses, self._tell_uses, self._service.bus.instance, self._service.clock)
        self._service.background(reports.run(), "usage of tokens")
        self._serving = self._service.background(self._server.serve(sockets=[listener]), "http server")

    async def _finish(self) -> None:
        """Take no new requests, and let those that run come to their end."""
        self._traffic.close()
        self._subscriptions.close()
        await self._tunnels.stop()
        await self._ws.close()
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait([self._serving], timeout=GRACE_SECONDS + 1)
        await self._traffic.stop()
        await self._resuming.stop()
        await self._gossip.stop()
        await self._answering.stop()
        await self._listeners.stop()
        await self._notices.stop()
        await self._confirming.stop()
        await self._subscribed.close()
        await self._transports.stop()

    async def _tell_uses(self, uses: ReportUses) -> UsesCounted:
        return await self._service.bus.request(subjects.AUTH_TOKEN_USED, uses, UsesCounted)

    def _follow(self) -> None:
        mirrors = self._mirrors
        mirrors.catalog.on_change(self._changes.take)
        mirrors.revocations.on_change(self._revoked)
        mirrors.revocations.on_replaced(self._end_revoked)
        mirrors.principals.on_change(self._principal_changed)
        mirrors.keys.on_change(self._key_changed)

    def _revoked(self, key: str, before: int | None) -> None:
        if before == FOR_EVER:
            self._live.end(key.removeprefix(revocation_key("")))
            self._resuming.holding.end_revoked()
        elif before is not None:
            self._end_revoked()

    def _principal_changed(self, _key: str, principal: Principal | None) -> None:
        if principal is None or not principal.active:
            self._end_revoked()

    def _key_changed(self, _kid: str, key: SigningKey | None) -> None:
        if key is None:
            self._end_revoked()

    def _end_revoked(self) -> None:
        """End whatever runs or waits for somebody who would not be let in any more."""
        if ended := self._live.end_revoked():
            _log.info("work of revoked credentials ended", count=ended)
        self._resuming.holding.end_revoked()

    def _reread(self) -> None:
        """Read what is revoked anew, unless that is under way already."""
        if not self._mirrors.revocations.reading:
            self._service.background(self._mirrors.revocations.restart(), "revocations are read anew")

    def _mcp_endpoint(self) -> McpEndpoint:
        settings, service = self._settings, self._service
        recorder = Recorder(
            service.audit,
            service.clock,
            _secret(settings.audit_digest_key),
            lambda: self._mirrors.revocations.applied,
            lambda: self._lease.stale,
        )
        sessions = Sessions(
            service.bus, self._mirrors.sessions, service.clock, lifetime=settings.session_lifetime,
            per_principal=settings.sessions_per_principal,
        )  # fmt: skip
        self._traffic = SessionTraffic(self._surroundings(sessions))
        self._mirrors.sessions.on_change(self._traffic.session_changed)
        tool_calls = ToolCalls(
            catalog=self._catalog,
            recorder=recorder,
            hooks=Hooks(service.bus, self._mirrors.bindings),
            upstreams=self._upstreams,
            live=self._live,
            concurrency=Concurrency(settings.principal_concurrency),
            changes=self._changes,
            tasks=Tasks(self._sealer),
            consenting=Consenting(self._sealer, service.clock),
        )
        self._subscriptions = Subscriptions(self._catalog, self._changes, sessions, service.clock)
        self._front = HttpFront(
            self._catalog, self._authenticator, self._live, recorder, settings.origins, settings.max_body_bytes,
            settings.public_url.rstrip("/"), self._limits,
        )  # fmt: skip
        return McpEndpoint(
            front=self._front,
            catalog=self._catalog,
            methods=Methods(
                tool_calls,
                Listing(self._sealer, settings.list_page_size),
                sessions,
                self._subscriptions.methods(),
                require_fresh=self._lease.require,
            ),
            sessions=sessions,
            traffic=self._traffic,
        )

    def _ws_endpoint(self, mcp: McpEndpoint) -> WsEndpoint:
        parts = WsDependencies(
            self._catalog, mcp.methods, mcp.sessions, self._changes, self._front.recorder, self._service.clock,
            self._settings.max_body_bytes, self._settings.client_answer_timeout, self._limits,
            mcp.traffic,
        )  # fmt: skip
        return WsEndpoint(
            parts, self._authenticator, self._live, origins=self._front.origins, public_url=self._front.public_url
        )

    def _surroundings(self, sessions: Sessions) -> Surroundings:
        service = self._service
        return Surroundings(
            bus=service.bus,
            subscriptions=self._subscribed,
            sessions=sessions,
            changes=self._changes,
            ways=self._upstreams,
            upstreams=self._catalog.upstreams,
            revision=lambda: self._mirrors.catalog.revision,
            clock=service.clock,
            answer_timeout=self._settings.client_answer_timeout,
        )

    def _guarded(self, app: Router) -> Guard:
        settings = self._settings
        return Guard(app, self._limits, settings.proxies, settings.cors, settings.security_headers, self._kept_out)

    def _kept_out(self, error: KeptOut, scope: Scope) -> None:
        client = scope["client"]
        if error.noted:
            self._front.recorder.refusal(
                error.code, status=error.status, method=scope.get("method", "websocket"), target=scope["path"],
                caller=None, peer=f"{client[0]}:{client[1]}" if client else "",
            )  # fmt: skip

    def _sockets(self) -> dict[str, TunnelEndpoint]:
        return {TUNNEL_PATH: TunnelEndpoint(self._tunnels, self._dialling, self._live, self._service.clock)}

    def _dialling(self, authorization: bytes | None, address: str | None) -> Caller:
        caller = self._authenticator.caller(authorization, address)
        self._lease.require(TUNNEL_PATH)
        check_server_scope(caller.scopes.server_id, TUNNEL_PATH)
        return caller

    def _rest_dependencies(self) -> RestDependencies:
        return RestDependencies(
            bus=self._service.bus,
            authenticate=self._actor,
            catalog=self._mirrors.catalog,
            signing_keys=self._mirrors.keys,
            tunnels=self._tunnels,
            consents=self._consents,
            explain=Explainer(self._authenticator, self._catalog, self._limits).explain,
            public_url=self._settings.public_url.rstrip("/"),
            oauth=self._oauth_face(),
            ready=lambda: [f"{name}: {reason}" for name, reason in self._service.health.problems().items()],
        )

    def _oauth_face(self) -> OAuthFace:
        settings = self._settings
        documents = ClientDocuments(self._transports.endpoints, self._service.clock)
        return OAuthFace(
            settings.cookies, settings.clients_register, documents if settings.oauth_client_documents else None
        )

    async def _actor(self, request: Request) -> Actor:
        header = request.headers.get("authorization")
        credential = header.encode("latin-1") if header is not None else None
        caller = self._authenticator.caller(credential, client_address(request.scope))
        self._limits.count_caller(caller.principal, caller.token_id, request.scope.get(COUNTED))
        self._lease.require(request.scope["path"])
        check_server_scope(caller.scopes.server_id, request.scope["path"])
        return caller.actor()


def claim_rules(settings: Settings) -> ClaimRules:
    """What tokens must say here; whatever an operator has switched off is said aloud."""
    off = [name for name in _GUARDS if not getattr(settings, name)]
    if off:
        _log.warning("tokens are checked less than they could be", switched_off=[name.upper() for name in off])
    left = [name for name in ("jwt_issuer", "jwt_audience") if getattr(settings, name) == _DEFAULTS[name]]
    if left and settings.environment != "development":
        _log.warning(
            "another deployment that left these settings as well would take our tokens, and we its",
            settings=[name.upper() for name in left],
        )
    return ClaimRules(
        settings.jwt_issuer,
        settings.jwt_audience,
        verify_issuer=settings.jwt_issuer_verification,
        verify_audience=settings.jwt_audience_verification,
        require_expiration=settings.require_token_expiration,
        require_jti=settings.require_jti,
        environment=settings.environment if settings.validate_token_environment else None,
    )


_GUARDS = ("jwt_issuer_verification", "jwt_audience_verification", "require_token_expiration", "require_jti")
_DEFAULTS = {name: Settings.model_fields[name].default for name in ("jwt_issuer", "jwt_audience")}


def _holding(settings: Settings, service: Service, sealer: Sealer) -> Holding[ModernCall]:
    return Holding(
        RequestStates(sealer, service.clock),
        service.clock,
        service.bus.instance,
        lifetime=settings.held_call_lifetime,
        per_principal=settings.held_calls_per_principal,
        upstream_concurrency=settings.upstream_concurrency,
        total=settings.held_calls,
    )


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        concurrency=settings.upstream_concurrency,
        idle_timeout=settings.call_timeout,
        call_timeout=settings.call_limit,
        max_answer=settings.max_answer_bytes,
        progress_resets=settings.progress_resets,
    )


def _secret(setting: SecretStr | None) -> bytes:
    """A secret that edges share; without one, an edge has one of its own, and what it made no other understands."""
    return setting.get_secret_value().encode() if setting else secrets.token_bytes(32)


async def serve(settings: Settings) -> None:
    """Run an edge with ``settings``."""
    async with running(settings, "gateway", description="the edge: MCP and REST") as service:
        await Edge(settings, service).run()
