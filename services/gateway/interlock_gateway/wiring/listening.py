"""What stands between the network and the endpoints: the HTTP server, and the guard before every path."""

from typing import Any

from interlock_common.clock import Clock
from interlock_gateway.certificates.front import App, CertificateFront, NamedProxies, Trust
from interlock_gateway.config import Settings
from interlock_gateway.endpoints.requests import Scope
from interlock_gateway.guard.buckets import ONE, Buckets, Rate
from interlock_gateway.guard.front import Guard, KeptOut
from interlock_gateway.recording import Recorder
from interlock_gateway.server import EdgeServer, Router, make_server
from interlock_gateway.tls_front.front import Source, TlsFront
from interlock_gateway.wiring.callers import Callers
from interlock_gateway.wiring.endpoints import McpSide
from interlock_gateway.wiring.ground import Ground

_NOTED = Rate(0.1, 1)


def front_of(settings: Settings, clock: Clock) -> TlsFront | None:
    """TLS as the settings ask for it; raises ConfigurationError, before anything else has begun."""
    source = Source.of(settings, clock)
    return TlsFront(source, clock) if source is not None else None


def server_at(ground: Ground, callers: Callers, mcp: McpSide, rest: Any, front: TlsFront | None) -> EdgeServer:
    """The HTTP server of everything that clients reach."""
    settings = ground.settings
    router = Router(mcp.endpoints, rest, mcp.sockets)

    def kept_out(error: KeptOut, scope: Scope) -> None:
        _record(mcp.recorder, error, scope)

    def refused(reason: str, address: str, more: int) -> None:
        detail: dict[str, object] = {"reason": reason, "more_since": more}
        mcp.recorder.noticed("tls.handshake_refused", address, f"port {settings.port}", detail)

    guard = Guard(router, callers.limits, settings.proxies, settings.cors, settings.security_headers, kept_out)
    return make_server(_before(guard, ground, callers, mcp.recorder), front, refused)


def _before(app: App, ground: Ground, callers: Callers, recorder: Recorder) -> CertificateFront:
    """What certificates and proxies say is looked at before anything rewrites who the peer is."""
    settings, certificates = ground.settings, callers.certificates
    noted = Buckets(_NOTED, ground.clock)

    def stripped(scope: Scope, names: list[str]) -> None:
        """Recorded at most every ten seconds of one peer: nobody fills the record with forged headers."""
        address = scope["client"][0] if scope["client"] else ""
        if noted.take(address, ground.clock.monotonic()) >= ONE:
            recorder.noticed("proxy_headers.stripped", address, scope["path"], {"headers": sorted(set(names))})

    trust = Trust(
        settings.trust_proxy_auth,
        settings.proxies,
        NamedProxies(settings.proxy_certificates, certificates.standing.check),
    )
    return CertificateFront(
        app, certificates.headers, trust, stripped, certificates.statuses,
        tokens_count=settings.mcp_client_auth_enabled,
    )  # fmt: skip


def _record(recorder: Recorder, error: KeptOut, scope: Scope) -> None:
    client = scope["client"]
    if error.noted:
        recorder.refusal(
            error.code, status=error.status, method=scope.get("method", "websocket"), target=scope["path"],
            caller=None, peer=f"{client[0]}:{client[1]}" if client else "",
        )  # fmt: skip
