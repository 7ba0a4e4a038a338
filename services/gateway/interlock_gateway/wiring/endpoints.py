"""MCP in each of its transports, and the sockets of tunnels."""

from collections.abc import Mapping
from dataclasses import dataclass

from interlock_gateway.caller import Caller
from interlock_gateway.certificates.shown import shown_by
from interlock_gateway.changes.subscriptions import Subscriptions
from interlock_gateway.client_address import client_address
from interlock_gateway.consents.consenting import Consenting
from interlock_gateway.endpoints.front import HttpFront
from interlock_gateway.endpoints.mcp import McpEndpoint
from interlock_gateway.endpoints.refusals import check_origin
from interlock_gateway.endpoints.requests import Scope
from interlock_gateway.endpoints.rpc import RpcEndpoint
from interlock_gateway.endpoints.sse import SseEndpoint
from interlock_gateway.endpoints.tunnels import PATH as TUNNEL_PATH
from interlock_gateway.endpoints.tunnels import TunnelEndpoint
from interlock_gateway.endpoints.ws import WsDependencies, WsEndpoint
from interlock_gateway.hooks import Hooks
from interlock_gateway.limits import Concurrency
from interlock_gateway.listing import Listing
from interlock_gateway.methods import Methods
from interlock_gateway.recording import Recorder
from interlock_gateway.rest.scoping import check_server_scope
from interlock_gateway.server import Endpoints
from interlock_gateway.sessions.registry import Sessions
from interlock_gateway.sessions.traffic import SessionTraffic, Surroundings
from interlock_gateway.tasks import Tasks
from interlock_gateway.tool_calls import ToolCalls
from interlock_gateway.wiring.callers import Callers
from interlock_gateway.wiring.ground import Ground, shared_secret
from interlock_gateway.wiring.upstreams import UpstreamSide


@dataclass(frozen=True, slots=True)
class McpSide:
    """Everything that speaks MCP with clients; ``sockets`` are other WebSocket endpoints by their path."""

    endpoints: Endpoints
    sockets: Mapping[str, TunnelEndpoint]
    recorder: Recorder
    traffic: SessionTraffic
    subscriptions: Subscriptions


def mcp_at(ground: Ground, callers: Callers, to: UpstreamSide) -> McpSide:
    """The endpoints; the bucket of sessions is followed from now on."""
    settings = ground.settings
    recorder = _recorder(ground, callers)
    sessions = Sessions(
        ground.bus, ground.mirrors.sessions, ground.clock, lifetime=settings.session_lifetime,
        per_principal=settings.sessions_per_principal,
    )  # fmt: skip
    traffic = _traffic(ground, to, sessions)
    ground.mirrors.sessions.on_change(traffic.session_changed)
    subscriptions = Subscriptions(ground.catalog, to.changes, sessions, ground.clock)
    methods = Methods(
        _tool_calls(ground, callers, to, recorder),
        Listing(ground.sealer, settings.list_page_size),
        sessions,
        subscriptions.methods(),
        require_fresh=callers.lease.require,
    )
    front = HttpFront(
        ground.catalog, callers.authenticator, callers.live, recorder, settings.origins, settings.max_body_bytes,
        settings.public_url.rstrip("/"), callers.limits,
    )  # fmt: skip
    over_sockets = WsDependencies(
        ground.catalog, methods, sessions, to.changes, recorder, ground.clock,
        settings.max_body_bytes, settings.client_answer_timeout, callers.limits, traffic,
    )  # fmt: skip
    return McpSide(
        Endpoints(
            mcp=McpEndpoint(front, ground.catalog, methods, sessions, traffic),
            sse=SseEndpoint(front, ground.catalog, methods, sessions, traffic),
            rpc=RpcEndpoint(front, methods),
            ws=WsEndpoint(
                over_sockets, callers.authenticator, callers.live,
                origins=front.origins, public_url=front.public_url,
            ),
        ),
        {TUNNEL_PATH: _tunnel_endpoint(ground, callers, to)},
        recorder,
        traffic,
        subscriptions,
    )  # fmt: skip


def _recorder(ground: Ground, callers: Callers) -> Recorder:
    return Recorder(
        ground.service.audit,
        ground.clock,
        shared_secret(ground.settings.audit_digest_key),
        lambda: ground.mirrors.revocations.applied,
        lambda: callers.lease.stale,
    )


def _traffic(ground: Ground, to: UpstreamSide, sessions: Sessions) -> SessionTraffic:
    return SessionTraffic(Surroundings(
        bus=ground.bus,
        subscriptions=ground.subscribed,
        sessions=sessions,
        changes=to.changes,
        ways=to.upstreams,
        upstreams=ground.catalog.upstreams,
        revision=lambda: ground.mirrors.catalog.revision,
        clock=ground.clock,
        answer_timeout=ground.settings.client_answer_timeout,
    ))  # fmt: skip


def _tool_calls(ground: Ground, callers: Callers, to: UpstreamSide, recorder: Recorder) -> ToolCalls:
    return ToolCalls(
        catalog=ground.catalog,
        recorder=recorder,
        hooks=Hooks(ground.bus, ground.mirrors.bindings),
        upstreams=to.upstreams,
        live=callers.live,
        concurrency=Concurrency(ground.settings.principal_concurrency),
        changes=to.changes,
        tasks=Tasks(ground.sealer),
        consenting=Consenting(ground.sealer, ground.clock),
    )


def _tunnel_endpoint(ground: Ground, callers: Callers, to: UpstreamSide) -> TunnelEndpoint:
    def dialling(scope: Scope) -> Caller:
        headers = dict(scope["headers"])
        check_origin(headers, ground.settings.origins)
        caller = callers.authenticator.caller(
            headers.get(b"authorization"), client_address(scope), shown=shown_by(scope)
        )  # fmt: skip
        callers.lease.require(TUNNEL_PATH)
        check_server_scope(caller.scopes.server_id, TUNNEL_PATH)
        return caller

    return TunnelEndpoint(to.tunnels, dialling, callers.live, ground.clock)
