"""An edge for tests: real keys and tokens, real ways to upstreams, and fakes for what the bus brings."""

from dataclasses import dataclass, field
from typing import Any, cast

from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.auth import Principal, SigningKey, principal_key, revocation_key
from interlock_common.messages.catalog import Upstream, VirtualServer, server_key, upstream_key
from interlock_common.messages.plugins import Binding
from interlock_common.messages.revocation import FOR_EVER
from interlock_common.mirror import Mirror
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions as BusSubscriptions
from interlock_gateway.authentication import Authenticator
from interlock_gateway.changes.hub import Changes
from interlock_gateway.changes.listeners import Listeners
from interlock_gateway.changes.subscriptions import Subscriptions
from interlock_gateway.claims import ClaimRules
from interlock_gateway.consents.consenting import Consenting
from interlock_gateway.endpoints.front import HttpFront
from interlock_gateway.endpoints.mcp import McpEndpoint
from interlock_gateway.endpoints.rpc import RpcEndpoint
from interlock_gateway.endpoints.sse import SseEndpoint
from interlock_gateway.endpoints.ws import WsDependencies, WsEndpoint
from interlock_gateway.guard.rate_limits import RateLimits, unlimited
from interlock_gateway.held.holding import Holding
from interlock_gateway.held.request_state import RequestStates
from interlock_gateway.hooks import Hooks
from interlock_gateway.limits import Concurrency
from interlock_gateway.listing import Listing
from interlock_gateway.live import LiveWork
from interlock_gateway.methods import Methods
from interlock_gateway.recording import Recorder
from interlock_gateway.routing import Catalog
from interlock_gateway.server import Endpoints
from interlock_gateway.sessions.registry import Sessions
from interlock_gateway.sessions.traffic import SessionTraffic, Surroundings
from interlock_gateway.tasks import Tasks
from interlock_gateway.testing.callers import ADA, AUDIENCE, EVE, ISSUER, ROOT, Signer
from interlock_gateway.testing.fakes import FakeAudit, FakeMirror, FakePlugins, FakeRevocations, NoBus, NoSessions
from interlock_gateway.token_scopes import ScopeGate
from interlock_gateway.tool_calls import ToolCalls
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.connections import Bounds, Ways
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.dispatch import Upstreams
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.upstreams.eras.wrapping import Eras
from interlock_gateway.upstreams.http.transport import HttpTransport
from interlock_gateway.upstreams.sessions import MemorySessions
from interlock_gateway.usage import Uses


@dataclass
class EdgeWorld:
    """Everything around one MCP endpoint; ada is a member of red, root an administrator."""

    signer: Signer = field(default_factory=Signer)
    keys: FakeMirror[SigningKey] = field(default_factory=FakeMirror[SigningKey])
    principals: FakeMirror[Principal] = field(default_factory=FakeMirror[Principal])
    revocations: FakeRevocations = field(default_factory=FakeRevocations)
    rules: ClaimRules = field(default_factory=lambda: ClaimRules(ISSUER, AUDIENCE))
    gate: ScopeGate = field(default_factory=lambda: ScopeGate(Uses()))
    bindings: FakeMirror[Binding] = field(default_factory=FakeMirror[Binding])
    audit: FakeAudit = field(default_factory=FakeAudit)
    plugins: FakePlugins = field(default_factory=FakePlugins)
    catalog: Catalog = field(default_factory=Catalog)
    page_size: int = 100
    revision: int = 0
    """Of the catalog; streams that are resumed look at it."""
    said: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    """Notifications that the edge passed on to the catalog and the other edges."""
    live: LiveWork = field(default_factory=LiveWork)
    limits: RateLimits = field(default_factory=lambda: unlimited(SYSTEM_CLOCK))
    bus: Bus = field(default_factory=lambda: cast("Bus", NoBus()))
    sessions: Sessions = field(default_factory=lambda: cast("Sessions", NoSessions()))
    ways: Ways = field(
        default_factory=lambda: Ways(
            Bounds(concurrency=8, idle_timeout=5, max_answer=64 * 1024), AddressPolicy(allow_private=True)
        )
    )

    def __post_init__(self) -> None:
        self.holding = Holding[ModernCall](RequestStates(Sealer(b"secret"), SYSTEM_CLOCK), SYSTEM_CLOCK, "edge-1")
        over_http = HttpTransport(self.ways, MemorySessions(), Credentials({}))
        self.upstreams = Upstreams({"http": over_http}, Eras(self.holding))
        self.listeners = Listeners(self.upstreams, SYSTEM_CLOCK)
        self.changes = Changes(self.catalog, self.listeners, lambda upstream, said: self.said.append((upstream, said)))
        self.subscriptions = Subscriptions(self.catalog, self.changes, self.sessions, SYSTEM_CLOCK)
        self.traffic = SessionTraffic(Surroundings(
            bus=self.bus, subscriptions=BusSubscriptions(self.bus), sessions=self.sessions, changes=self.changes,
            ways=self.upstreams, upstreams=self.catalog.upstreams, revision=lambda: self.revision,
            clock=SYSTEM_CLOCK, answer_timeout=5.0,
        ))  # fmt: skip
        self.keys.items[self.signer.kid] = self.signer.published()
        for principal in (
            Principal(
                ADA, teams=("red",), permissions=("tools.execute", "tools.read", "resources.read", "prompts.read")
            ),
            Principal(EVE, permissions=("tools.execute",)),
            Principal(ROOT, is_admin=True, teams=("ops",)),
        ):
            self.principals.items[principal_key(principal.name)] = principal

    @property
    def authenticator(self) -> Authenticator:
        return Authenticator(
            self.keys, self.principals, self.revocations, rules=self.rules, clock=SYSTEM_CLOCK, gate=self.gate
        )

    @property
    def recorder(self) -> Recorder:
        return Recorder(cast("AuditLog", self.audit), SYSTEM_CLOCK, b"digest key", lambda: 42)

    def front(self, **changes: Any) -> HttpFront:
        parts: dict[str, Any] = {
            "catalog": self.catalog,
            "authenticator": self.authenticator,
            "live": self.live,
            "recorder": self.recorder,
            "origins": frozenset({"https://console.example"}),
            "max_body": 64 * 1024,
            "public_url": "https://gateway.example",
            "limits": self.limits,
        }
        return HttpFront(**parts | changes)

    def methods(self) -> Methods:
        hooks = Hooks(cast("Bus", self.plugins), cast("Mirror[Binding]", self.bindings))
        tool_calls = ToolCalls(
            self.catalog, self.recorder, hooks, self.upstreams, self.live, Concurrency(100), self.changes,
            Tasks(Sealer(b"secret")), Consenting(Sealer(b"secret"), SYSTEM_CLOCK),
        )  # fmt: skip
        listing = Listing(Sealer(b"secret"), self.page_size)
        return Methods(tool_calls, listing, self.sessions, self.subscriptions.methods())

    def endpoint(self, **changes: Any) -> McpEndpoint:
        """The endpoint of streamable HTTP; ``changes`` are to its front."""
        return McpEndpoint(self.front(**changes), self.catalog, self.methods(), self.sessions, self.traffic)

    def rpc(self) -> RpcEndpoint:
        return RpcEndpoint(self.front(), self.methods())

    def ws(self) -> WsEndpoint:
        parts = WsDependencies(
            self.catalog, self.methods(), self.sessions, self.changes, self.recorder, SYSTEM_CLOCK, 64 * 1024, 5.0,
            self.limits, self.traffic,
        )  # fmt: skip
        front = self.front()
        return WsEndpoint(parts, self.authenticator, self.live, origins=front.origins, public_url=front.public_url)

    def endpoints(self) -> Endpoints:
        """Every way to be spoken to, for a router."""
        mcp = self.endpoint()
        sse = SseEndpoint(mcp.front, self.catalog, mcp.methods, self.sessions, self.traffic)
        return Endpoints(mcp, sse, self.rpc(), self.ws())

    def register(self, upstream: Upstream) -> None:
        self.changes.take(upstream_key(upstream.id), upstream)

    def serve(self, server: VirtualServer) -> None:
        self.changes.take(server_key(server.id), server)

    def revoke(self, token_id: str = "t-1") -> None:  # noqa: S107 - an id
        """As the edge does when a revocation arrives."""
        self.revocations.items[revocation_key(token_id)] = FOR_EVER
        self.live.end(token_id)
