"""One WebSocket: its messages both ways, its session, and what runs for it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import structlog
from opentelemetry import context as otel_context

from interlock_common import telemetry
from interlock_common.errors import InterlockError, TooManyRequests
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.changes.hub import LIST_CHANGES, UPDATED, Interest
from interlock_gateway.changes.pending import Pending
from interlock_gateway.endpoints.refusals import as_rpc
from interlock_gateway.endpoints.reply import Send
from interlock_gateway.guard.client_address import limited_address
from interlock_gateway.guard.rate_limits import RateLimited
from interlock_gateway.handshake import initialize_result, read_initialize
from interlock_gateway.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, Envelope, RpcError
from interlock_gateway.live import Ended
from interlock_gateway.methods import Incoming
from interlock_gateway.operations import Params
from interlock_gateway.revisions import META_VERSION, check_envelope
from interlock_gateway.routing import offer_for
from interlock_gateway.sessions.registry import OpenSession
from interlock_gateway.upstreams.sessions import SHARED

if TYPE_CHECKING:
    from interlock_gateway.endpoints.ws import WsDependencies

_log = structlog.get_logger()
_MAX_RUNNING = 64
_MAX_ASKED = 64
_SEND_SECONDS = 30.0
_TOUCH_SECONDS = 15.0
_CANCELLED = "notifications/cancelled"


class WsGone(Exception):
    """The client has left, or takes nothing any more."""


type Following = Callable[[], Awaitable[bytes | None]]


class _Cancelled(msgspec.Struct, frozen=True, rename="camel"):
    request_id: msgspec.Raw = msgspec.Raw(b"null")


class WsConnection:
    """Serves the requests of one client side by side, at most 64 of them."""

    def __init__(
        self, dependencies: WsDependencies, caller: Caller, server_id: str | None, peer: str, send: Send
    ) -> None:
        self._dependencies = dependencies
        self._caller = caller
        self._server_id = server_id
        self._peer = peer
        self._address = limited_address(peer.rpartition(":")[0])
        self._send = send
        self._sending = asyncio.Lock()
        self._session: OpenSession | None = None
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._pending = Pending()

    async def serve(self, following: Following) -> None:
        """Serve until the client leaves; what runs for it ends with it."""
        interest = Interest(self._caller, self._server_id, "", LIST_CHANGES | {UPDATED}, self._pending.put)
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(each) for each in (self._tell(), self._live_on())]
                with self._dependencies.changes.interested(interest):
                    while (message := await following()) is not None:
                        await self._take(message, group, interest)
                for task in (*beside, *self._running.values()):
                    task.cancel()
        finally:
            if self._session is not None:
                await self._end(self._session)

    async def _end(self, session: OpenSession) -> None:
        """End the session here and at the upstreams; what the bus cannot be told now ends when it expires."""
        try:
            await self._dependencies.traffic.end(session)
        except InterlockError as error:
            _log.warning("the session of a websocket was not ended", reason=error.detail)

    async def close(self, code: int) -> None:
        """Say why it ends; whoever has left need not know."""
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            async with asyncio.timeout(_SEND_SECONDS), self._sending:
                await self._send({"type": "websocket.close", "code": code})

    async def send(self, message: bytes) -> None:
        """One message to the client; raises WsGone when nobody takes it."""
        try:
            async with asyncio.timeout(_SEND_SECONDS), self._sending:
                await self._send({"type": "websocket.send", "text": message.decode()})
        except (OSError, RuntimeError, TimeoutError) as error:  # as servers say that a connection is closed
            raise WsGone(type(error).__name__) from None

    async def ask(self, method: str, params: bytes) -> bytes:
        """Put a request to the client and wait for its response."""
        if len(self._asked) >= _MAX_ASKED:
            raise RpcError(INTERNAL_ERROR, "too much is being asked of the client at once")
        request_id = secrets.token_urlsafe(12)
        answered = self._asked[request_id] = asyncio.get_running_loop().create_future()
        try:
            await self.send(jsonrpc.request(request_id, method, params))
            async with asyncio.timeout(self._dependencies.answer_timeout):
                return await answered
        except TimeoutError:
            raise RpcError(INTERNAL_ERROR, f"the client did not answer {method} in time") from None
        finally:
            del self._asked[request_id]

    async def _take(self, message: bytes, group: asyncio.TaskGroup, interest: Interest) -> None:
        try:
            envelope = self._parse(message)
        except RpcError as error:
            await self.send(jsonrpc.failure(None, error.error))
            return
        over = self._count()
        if envelope.method is None:
            self._answered(envelope, message)
        elif isinstance(envelope.id, msgspec.UnsetType):
            self._notified(envelope)
        elif over is not None:
            await self._refuse(envelope.id, as_rpc(over), None, noted=over.noted)
        elif (key := msgspec.json.encode(envelope.id)) in self._running:
            await self._refuse(envelope.id, RpcError(INVALID_REQUEST, "a request with this id is running"), None)
        elif len(self._running) >= _MAX_RUNNING:  # not made to wait: its answers and cancellations come behind it
            error = TooManyRequests(f"a connection has at most {_MAX_RUNNING} requests running", retry_after=1)
            await self._refuse(envelope.id, as_rpc(error), None)
        else:
            task = group.create_task(self._serve(envelope, envelope.id, interest))
            self._running[key] = task
            task.add_done_callback(lambda _task: self._running.pop(key, None))

    def _count(self) -> RateLimited | None:
        """Count a message as an HTTP request is; only requests can be refused, but all count."""
        limits = self._dependencies.limits
        try:
            limits.count_address(self._address)
            limits.count_caller(self._caller.principal, self._caller.token_id, certificate=self._caller.limited_as)
        except RateLimited as error:
            return error
        return None

    def _parse(self, message: bytes) -> Envelope:
        limit = self._dependencies.max_message
        if len(message) > limit:
            raise RpcError(INVALID_REQUEST, f"a message is at most {limit} bytes")
        return jsonrpc.parse_request(message)

    def _answered(self, envelope: Envelope, message: bytes) -> None:
        waiting = self._asked.get(envelope.id) if isinstance(envelope.id, str) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _notified(self, envelope: Envelope) -> None:
        if envelope.method != _CANCELLED:
            return
        try:
            cancelled = msgspec.json.decode(envelope.params, type=_Cancelled)
        except msgspec.DecodeError:
            return
        task = self._running.get(bytes(cancelled.request_id))
        if task is not None:
            task.cancel("the client cancelled it")

    async def _serve(self, envelope: Envelope, request_id: jsonrpc.Id, interest: Interest) -> None:
        incoming: Incoming | None = None
        try:
            params, meta = jsonrpc.params_and_meta(envelope)
            token = otel_context.attach(telemetry.continue_or_begin(_carrier(meta)))
            try:
                if envelope.method == "initialize":
                    await self._initialize(envelope, request_id)
                    return
                incoming = await self._incoming(envelope, request_id, params, meta)
                await self._dependencies.methods.serve(incoming, _WsClient(self))
                self._follow(incoming, interest)
            finally:
                otel_context.detach(token)
        except WsGone:
            raise  # ends the connection, and whatever else runs for it
        except Ended:
            return  # so does the revocation that ended this
        except RpcError as error:
            await self._refuse(request_id, error, incoming)
        except InterlockError as error:
            await self._refuse(request_id, as_rpc(error), incoming)
        except Exception:  # noqa: BLE001 - the last line: a caller learns nothing of it, the log everything
            _log.exception("websocket request failed unexpectedly", method=envelope.method)
            await self._refuse(request_id, RpcError(INTERNAL_ERROR, "unexpected failure", status=500), incoming)

    async def _initialize(self, envelope: Envelope, request_id: jsonrpc.Id) -> None:
        parts = self._dependencies
        if self._session is not None:
            raise RpcError(INVALID_REQUEST, "this connection is initialized already")
        offer = offer_for(parts.catalog, self._caller, self._server_id)
        asked = read_initialize(envelope.params)
        self._session = await parts.sessions.open(self._caller, asked, self._server_id)
        await self.send(jsonrpc.answer(request_id, initialize_result(asked.version, offer, self._caller)))

    async def _incoming(self, envelope: Envelope, request_id: jsonrpc.Id, params: Params, meta: Params) -> Incoming:
        session = None
        if META_VERSION in meta:
            check_envelope(meta)
        elif self._session is None:
            raise RpcError(INVALID_REQUEST, "initialize first, or say in _meta what a stateless request says")
        else:  # as it is now: its log level may have been set, or it may have been ended
            found = await self._dependencies.sessions.find(self._session.id, self._caller, self._server_id)
            session = (found.key, found.record)
        return Incoming(
            self._caller, self._server_id, request_id, envelope.method or "", params, meta, self._peer, session=session
        )

    def _follow(self, incoming: Incoming, interest: Interest) -> None:
        """The connection is the session's stream: what was subscribed to comes over it."""
        if self._session is None or incoming.method not in {"resources/subscribe", "resources/unsubscribe"}:
            return
        uri = jsonrpc.string(incoming.params.get("uri"), "params.uri")
        held = set(interest.wanted.values())
        interest.session_key = f"{SHARED}{self._session.key}"
        wanted = held | {uri} if incoming.method == "resources/subscribe" else held - {uri}
        self._dependencies.changes.want(interest, wanted)

    async def _tell(self) -> None:
        """What changes, to a client of the handshake era; others subscribe."""
        while True:
            method, params = await self._pending.get()
            if self._session is not None:
                await self.send(jsonrpc.notification(method, params))

    async def _live_on(self) -> None:
        """A session lives for as long as its connection is open, also where nothing is said on it."""
        while True:
            await self._dependencies.clock.sleep(_TOUCH_SECONDS)
            if self._session is not None:
                self._dependencies.sessions.touch(self._session.key)

    async def _refuse(
        self, request_id: jsonrpc.Id, error: RpcError, incoming: Incoming | None, *, noted: bool = True
    ) -> None:
        if noted:
            self._dependencies.recorder.refusal(
                error.error.message, status=error.status, method=incoming.method if incoming else "",
                target=incoming.target if incoming else "", caller=self._caller, peer=self._peer,
            )  # fmt: skip
        await self.send(jsonrpc.failure(request_id, error.error))


class _WsClient:
    """The client of one request; ``record_id`` goes out in the result's ``_meta``."""

    def __init__(self, connection: WsConnection) -> None:
        self._connection = connection
        self.record_id = ""
        self.size = 0

    async def notify(self, message: bytes) -> None:
        self.size += len(message)
        await self._connection.send(message)

    async def ask(self, method: str, params: bytes) -> bytes:
        return await self._connection.ask(method, params)

    async def answer(self, message: bytes, *, status: int = 200) -> None:
        del status
        self.size += len(message)
        await self._connection.send(message)


def _carrier(meta: Params) -> dict[str, str]:
    return {name: jsonrpc.string(meta[name], f"_meta.{name}") for name in telemetry.CONTEXT_FIELDS if name in meta}
