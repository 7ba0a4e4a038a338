"""One stream of an upstream of HTTP with SSE (MCP 2024-11-05, transports), shared by all requests of one session key.

The stream names the address that takes messages, which must be of the stream's own origin; answers come on the
stream and find their exchange by the id of the request. What an upstream asks, and notifications of no request, do
not say where they belong: they go to the exchange that was begun last, which is the right one where one runs.
Progress goes to the exchange with its token.
"""

import asyncio
import contextlib
import itertools

import aiohttp
import msgspec
from yarl import URL

from interlock_common.errors import UpstreamFailed
from interlock_common.messages.catalog import Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.upstreams.connections import UpstreamSilent, Way
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.http.addressing import CHANGES, addressee, answer_for_nobody, token_of
from interlock_gateway.upstreams.http.events import EventParser
from interlock_gateway.upstreams.http.incoming import OK, Deadlines, Head, Incoming, messages_of, refusal
from interlock_gateway.upstreams.http.sessions import INITIALIZED, Handshake, handshake_of, initialize_body
from interlock_gateway.upstreams.http.sse_inbox import Inbox

_UNAUTHORIZED = 401
_TAKEN = frozenset({200, 202, 204})
_GONE = frozenset({400, 404, 410})
_ENDPOINT_BYTES = 2048


class StreamLost(UpstreamUnreachable):
    """The upstream ended the stream, or does not know it any more."""


class Pending:
    """A request whose response the stream is to bring."""

    def __init__(self, way: Way, params: bytes) -> None:
        self.inbox = Inbox(way.name, way.max_answer, way.share())
        self.deadlines = Deadlines(way)
        self.token = token_of(params)


class SseStream:
    """Opens itself in a task of its own; ``opened`` waits for that, ``close`` ends it."""

    def __init__(
        self,
        way: Way,
        upstream: Upstream,
        principal: str,
        capabilities: bytes,
        credentials: Credentials,
        ids: "itertools.count[int]",
    ) -> None:
        self.pending: dict[int, Pending] = {}
        self.listeners: set[Inbox] = set()
        self.handshake: Handshake | None = None
        self.used_at = asyncio.get_running_loop().time()
        self._way = way
        self._upstream = upstream
        self._principal = principal
        self._capabilities = capabilities
        self._credentials = credentials
        self._ids = ids
        self._endpoint: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        self._answering: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())
        self._opening = asyncio.create_task(self._open())
        for task in (self._opening, self._reading):
            task.add_done_callback(lambda task: task.cancelled() or task.exception())  # maybe nobody waits for it

    @property
    def over(self) -> bool:
        failed = self._opening.done() and (self._opening.cancelled() or self._opening.exception() is not None)
        return self._reading.done() or failed

    @property
    def in_use(self) -> bool:
        return bool(self.pending or self.listeners) or not self._opening.done()

    async def opened(self) -> None:
        """Raises UpstreamUnreachable or UpstreamMisbehaved where the stream did not come to be."""
        await asyncio.wait([self._opening])
        if self._opening.cancelled():
            raise StreamLost(f"upstream {self._way.name} ended its stream")
        self._opening.result()

    async def post(self, body: bytes, *, within: float) -> None:
        """Send a message; raises StreamLost where the upstream knows the stream no more."""
        for again in (True, False):
            headers = await self._credentials.headers(self._upstream, self._principal)
            response = await self._way.send("POST", headers, body, within=within, url=self._endpoint.result())
            response.release()
            if response.status != _UNAUTHORIZED or not (again and self._refused(response)):
                break
        if response.status in _GONE:
            raise StreamLost(f"upstream {self._way.name} does not know its stream any more")
        if response.status not in _TAKEN:
            raise refusal(self._way, response)

    async def ask(self, method: str, params: bytes) -> bytes:
        """A request of our own; answers the response."""
        request_id = next(self._ids)
        return await self._ask(request_id, jsonrpc.request(request_id, method, params))

    async def close(self) -> None:
        tasks = {self._opening, self._reading, *self._answering}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self) -> None:
        """Wait for the address, then shake hands."""
        try:
            async with asyncio.timeout(self._way.idle_timeout):
                await asyncio.wait([self._endpoint, self._reading], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            self._reading.cancel()
            raise self._way.broken(error) from None
        if not self._endpoint.done():
            self._reading.result()
            raise StreamLost(f"upstream {self._way.name} ended its stream before it named an address for messages")
        try:
            request_id = next(self._ids)
            answer = await self._ask(request_id, initialize_body(request_id, self._capabilities))
            self.handshake = handshake_of(answer, self._way.name)
            await self.post(INITIALIZED, within=self._way.idle_timeout)
        except BaseException:
            self._reading.cancel()
            raise

    async def _ask(self, request_id: int, body: bytes) -> bytes:
        asked = self.pending[request_id] = Pending(self._way, b"{}")
        try:
            await self.post(body, within=asked.deadlines.remaining())
            answer = await asked.inbox.get(asked.deadlines.when())
        except TimeoutError as error:
            raise self._way.broken(error) from None
        finally:
            self.pending.pop(request_id, None)
            asked.inbox.discard()
        if answer is None:
            raise StreamLost(f"upstream {self._way.name} ended its stream")
        return answer

    async def _read(self) -> None:
        """Take the stream apart until it ends; whoever waits for something then learns why."""
        reason: UpstreamFailed = StreamLost(f"upstream {self._way.name} ended its stream")
        try:
            response = await self._get()
            try:
                await self._take(Incoming(self._way, response, Deadlines(self._way, forever=True)))
            finally:
                response.close()
        except UpstreamFailed as error:
            reason = error
            raise
        finally:
            for pending in self.pending.values():
                pending.inbox.fail(reason)
            for listener in self.listeners:
                listener.fail(reason) if not isinstance(reason, StreamLost) else listener.end()

    async def _get(self) -> aiohttp.ClientResponse:
        for again in (True, False):
            headers = dict(await self._credentials.headers(self._upstream, self._principal))
            headers["Accept"] = "text/event-stream"
            response = await self._way.send("GET", headers, within=self._way.idle_timeout)
            if response.status != _UNAUTHORIZED or not (again and self._refused(response)):
                break
            response.close()
        if response.status != OK or not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            response.close()
            if response.status == OK:
                raise UpstreamMisbehaved(f"upstream {self._way.name} has no event stream at its address")
            raise refusal(self._way, response)
        return response

    def _refused(self, response: aiohttp.ClientResponse) -> bool:
        challenge = response.headers.get("WWW-Authenticate", "")
        return self._credentials.invalid(self._upstream, self._principal, challenge)

    async def _take(self, incoming: Incoming) -> None:
        parser = EventParser(self._way.name, self._way.max_answer)
        with self._way.share() as share:
            while chunk := await incoming.chunk():
                share.hold(parser.held + len(chunk))
                complete = parser.events(chunk)
                share.hold(parser.held)  # what is complete is held by whom it is for
                for event in complete:
                    if event.type == b"endpoint":
                        self._take_endpoint(event.data)
                    elif event.type == b"message":
                        for message, head in messages_of(event.data, self._way.name):
                            self._route(message, head)

    def _take_endpoint(self, data: bytes) -> None:
        if self._endpoint.done():
            return
        base = self._way.url
        try:
            address = base.join(URL(data[:_ENDPOINT_BYTES].decode())).with_user(base.user).with_password(base.password)
            own = address.origin() == base.origin()
        except ValueError:
            own, address = False, base
        if not own or len(data) > _ENDPOINT_BYTES:
            raise UpstreamMisbehaved(f"upstream {self._way.name} wants its messages at an address of another origin")
        self._endpoint.set_result(address)

    def _route(self, message: bytes, head: Head) -> None:
        if head.method is None:
            pending = self.pending.get(head.id) if isinstance(head.id, int) else None
            if pending is not None:
                self._way.breaker.succeeded()
                pending.inbox.put(message)
                pending.inbox.end()
            return
        if head.method in CHANGES:
            for listener in self.listeners:
                listener.put(message)
            return
        pending = addressee(self.pending.values(), message, head)
        if pending is not None:
            if head.asks:
                pending.deadlines.asked()
            pending.deadlines.alive()
            pending.inbox.put(message)
        elif head.asks and not isinstance(head.id, msgspec.UnsetType):
            self._answer_ourselves(head.id, head.method)

    def _answer_ourselves(self, request_id: jsonrpc.Id, method: str) -> None:
        if len(self._answering) < 10 and self._endpoint.done():  # noqa: PLR2004 - more than that is not curiosity
            task = asyncio.create_task(self._post_quietly(answer_for_nobody(request_id, method)))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _post_quietly(self, body: bytes) -> None:
        with contextlib.suppress(UpstreamFailed, UpstreamSilent):
            await self.post(body, within=self._way.idle_timeout)
