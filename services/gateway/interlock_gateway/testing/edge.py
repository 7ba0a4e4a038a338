"""An edge for tests: real keys and tokens, a real upstream on loopback, and fakes for what the bus brings."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import jwt
import msgspec
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import Unavailable
from interlock_common.messages.auth import Principal, Scopes, SigningKey, principal_key, revocation_key
from interlock_common.messages.catalog import Definition, Upstream, VirtualServer, server_key, upstream_key
from interlock_common.messages.plugins import Binding, HookCall, HookVerdict
from interlock_common.messages.revocation import FOR_EVER
from interlock_common.mirror import Mirror
from interlock_common.revocation_set import RevocationSet
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions as BusSubscriptions
from interlock_gateway.authentication import Authenticator, Caller
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
from interlock_gateway.revisions import META_CAPABILITIES, META_VERSION, MODERN
from interlock_gateway.revocations import Revocations
from interlock_gateway.routing import Catalog
from interlock_gateway.server import Endpoints
from interlock_gateway.sessions.registry import OpenSession, Sessions
from interlock_gateway.sessions.traffic import SessionTraffic, Surroundings
from interlock_gateway.tasks import Tasks
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

ISSUER, AUDIENCE = "test-issuer", "test-audience"
ADA, EVE, ROOT = "ada@example.com", "eve@example.com", "root@example.com"
RESULT = b'{"content":[{"type":"text","text":"done"}]}'

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Signer:
    """A key pair as auth has one, and tokens signed with it."""

    def __init__(self, algorithm: str = "EdDSA", kid: str = "k1") -> None:
        self.algorithm, self.kid = algorithm, kid
        match algorithm:
            case "EdDSA":
                self.private = ed25519.Ed25519PrivateKey.generate()
            case "ES256":
                self.private = ec.generate_private_key(ec.SECP256R1())
            case _:
                self.private = rsa.generate_private_key(65537, 2048)

    def published(self) -> SigningKey:
        method = cast("Any", get_default_algorithms()[self.algorithm])
        return SigningKey(self.kid, self.algorithm, msgspec.Raw(method.to_jwk(self.private.public_key()).encode()), 0)

    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def token(self, principal: str = ADA, *, without: Sequence[str] = (), **changes: Any) -> str:
        """A good token of ``principal``, but for ``changes`` and the claims ``without``."""
        now = int(SYSTEM_CLOCK.time())
        claims = {"sub": principal, "jti": "t-1", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600}
        said = {name: value for name, value in (claims | changes).items() if name not in without}
        return jwt.encode(said, self.private, self.algorithm, {"kid": self.kid})


@dataclass
class FakeMirror[T]:
    """A bucket that holds what a test puts there."""

    items: dict[str, T] = field(default_factory=dict[str, T])

    def get(self, key: str) -> T | None:
        return self.items.get(key)


@dataclass
class FakeAudit:
    """Takes records, unless it is ``away``."""

    away: bool = False
    records: list[Any] = field(default_factory=list[Any])
    before_ack: Callable[[], Awaitable[None]] | None = None

    async def record(self, record: msgspec.Struct) -> None:
        if self.before_ack is not None:
            await self.before_ack()
        self.record_soon(record)

    def record_soon(self, record: msgspec.Struct) -> None:
        if self.away:
            raise Unavailable("the audit stream did not take a record")
        self.records.append(record)

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


@dataclass
class FakePlugins:
    """The bus, on which plugins answer with ``verdict``; nobody answers while there is none."""

    verdict: HookVerdict | None = None
    asked: list[HookCall] = field(default_factory=list[HookCall])

    async def request_raw(self, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
        del headers, timeout
        self.asked.append(msgspec.json.decode(body, type=HookCall))
        if self.verdict is None:
            raise Unavailable(f"nobody answers {subject} at the moment")
        return msgspec.json.encode(self.verdict)


class NoBus:
    """The bus of an edge that has none."""

    instance = "00000000"
    connected = False

    def on_connected(self, listener: object) -> None:
        """There is nothing to connect."""

    @property
    def js(self) -> object:
        raise Unavailable("the bus is not connected")

    def lease(self) -> object:
        raise Unavailable("the bus is not connected")


class NoSessions:
    """Sessions of an edge that has none."""

    async def open(self, *_: object) -> OpenSession:
        raise Unavailable("sessions cannot be reached at the moment")

    async def find(self, *_: object) -> OpenSession:
        raise Unavailable("sessions cannot be reached at the moment")

    async def end(self, *_: object) -> None:
        raise Unavailable("sessions cannot be reached at the moment")

    def touch(self, key: str) -> None:
        """There is none to live on."""


@dataclass
class Answer:
    """What came back over ASGI; nothing more is taken while ``reading`` is not set."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    complete: bool = False
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.reading.set()

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    async def take(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.complete = not message["more_body"]


class FakeRevocations(Revocations):
    """What is revoked, for a test to fill."""

    def __init__(self) -> None:
        self.items = RevocationSet()
        super().__init__(lambda: self.items)


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


def a_caller(name: str = ADA, **changes: Any) -> Caller:
    """A caller with every permission and no team."""
    said: dict[str, Any] = {
        "is_admin": False, "unrestricted": False, "teams": frozenset[str](), "permissions": frozenset({"*"}),
        "scopes": Scopes(), "principal": name, "token_id": "t-1", "expires_at": 2**40,
    }  # fmt: skip
    return Caller(**said | changes)


def upstream_at(url: str, *tools: str, **changes: Any) -> Upstream:
    """A public modern upstream called notes, with a tool ``echo`` unless others are named."""
    definitions = tuple(
        Definition(name, msgspec.Raw(b'{"name":"%s","inputSchema":{}}' % name.encode()), f"sha256:{name}")
        for name in tools or ("echo",)
    )
    base = Upstream("u1", "notes", "notes", url, "modern", MODERN, ROOT, tools=definitions)
    return msgspec.structs.replace(base, **changes)


def modern_call(
    method: str = "tools/call", name: str | None = "notes-echo", **params: Any
) -> tuple[dict[str, str], bytes]:
    """Headers and body of a good stateless request."""
    headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    if name is not None:
        headers["mcp-name"] = name
        params = {"name": name} | params
    params["_meta"] = {META_VERSION: MODERN, META_CAPABILITIES: {}} | params.get("_meta", {})
    return headers, msgspec.json.encode({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})


async def ask(
    endpoint: McpEndpoint,
    body: bytes | Sequence[bytes] = b"",
    headers: dict[str, str] | Sequence[tuple[bytes, bytes]] = (),
    *,
    token: str | None = None,
    method: str = "POST",
    server_id: str | None = None,
    answer: Answer | None = None,
) -> Answer:
    """One HTTP exchange with the endpoint; the client stays connected until it is answered."""
    path = f"/servers/{server_id}/mcp" if server_id else "/mcp"
    return await send(
        lambda scope, receive, take: endpoint(scope, receive, take, server_id),
        path, body, headers, token=token, method=method, answer=answer,
    )  # fmt: skip


async def send(
    app: Callable[[dict[str, Any], Any, Any], Awaitable[None]],
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: dict[str, str] | Sequence[tuple[bytes, bytes]] = (),
    *,
    token: str | None = None,
    method: str = "POST",
    answer: Answer | None = None,
) -> Answer:
    """One HTTP exchange with an ASGI application."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    answer = answer or Answer()
    waiting: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": n < len(chunks)} for n, chunk in enumerate(chunks, 1)
    ]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    pairs = list(
        [(k.encode(), v.encode("latin-1")) for k, v in headers.items()] if isinstance(headers, dict) else headers
    )
    if token is not None:
        pairs.append((b"authorization", f"Bearer {token}".encode()))
    scope = {"type": "http", "method": method, "path": path, "headers": pairs, "client": ("192.0.2.1", 5)}
    await app(scope, receive, answer.take)
    return answer


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """A real HTTP server on loopback that answers every request with ``handler``; yields its URL."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


def result_of(request_id: Any, result: bytes = RESULT) -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (msgspec.json.encode(request_id), result)
