"""The GET stream of one session (MCP 2025-11-25, transports, listening for messages from the server)."""

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Protocol

import aiohttp

from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.upstreams.connections import Way, Ways
from interlock_gateway.upstreams.http.addressing import CHANGES, Addressable, addressee, answer_for_nobody
from interlock_gateway.upstreams.http.events import EventParser
from interlock_gateway.upstreams.http.incoming import OK, Deadlines, Head, Incoming, messages_of
from interlock_gateway.upstreams.http.sse_inbox import Inbox

_CONFLICT = 409
_REFUSED_SECONDS = {_CONFLICT: 5.0}
_REFUSED_OTHERWISE_SECONDS = 60.0
_PATIENCE_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_RETRY_SECONDS, _SHORTEST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 1.0, 0.1, 30.0
_ATTEMPTS = 4


class Running(Addressable, Protocol):
    """A request that runs in the session."""

    def take(self, message: bytes, *, asks: bool) -> None: ...


class SessionStream:
    """One stream; opens itself in a task of its own, again where it ends while requests run that it is for."""

    def __init__(self, ways: Ways, way: Way, headers: Mapping[str, str]) -> None:
        self.way = way
        self.asides: dict[Running, None] = {}
        self.listeners: set[Inbox] = set()
        self.refused: aiohttp.ClientResponse | None = None
        self.failure: UpstreamUnreachable | UpstreamMisbehaved | None = None
        self.lingers = 0.0
        """Seconds that it stays open without anybody who uses it."""
        self._ways = ways
        self._headers = dict(headers)
        self._settled = asyncio.Event()
        self._patient = True
        self._over_at = 0.0
        self._closing: asyncio.TimerHandle | None = None
        self._share = way.share()
        self.task = ways.lasting(self._run())

    @property
    def over(self) -> bool:
        return self.task.done()

    @property
    def rests(self) -> bool:
        """Whether it was refused a short while ago, so that asking again is no use yet."""
        if not self.over or (self.refused is None and self.failure is None):
            return False
        status = 0 if self.refused is None else self.refused.status
        seconds = _REFUSED_SECONDS.get(status, _REFUSED_OTHERWISE_SECONDS)
        return asyncio.get_running_loop().time() < self._over_at + seconds

    @property
    def in_use(self) -> bool:
        return bool(self.asides or self.listeners)

    @contextmanager
    def heard_by(self, listener: Inbox) -> Generator[None]:
        """Give ``listener`` the changes that are told until the block ends."""
        self.listeners.add(listener)
        self.use()
        try:
            yield
        finally:
            self.listeners.discard(listener)
            listener.discard()
            self.left()

    def use(self) -> None:
        """Stay open: somebody joins."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def left(self) -> None:
        """Somebody has left; the last one has it closed, at once or a while later."""
        if not self.in_use and not self.over and self._closing is None:
            self._closing = asyncio.get_running_loop().call_later(self.lingers, self.close)

    def close(self) -> None:
        self.use()
        self.task.cancel()

    async def settled(self) -> None:
        """Wait until it is open, or is not to be."""
        await self._settled.wait()

    async def settled_soon(self) -> None:
        """As ``settled``, but not for long: some servers answer only once they have something to say."""
        if self._patient and not self._settled.is_set():
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._settled.wait()
            except TimeoutError:
                self._patient = False

    async def _run(self) -> None:
        last_id, pause, attempts = "", _RETRY_SECONDS, _ATTEMPTS
        try:
            while attempts:
                parser = EventParser(self.way.name, self.way.max_answer, last_id)
                try:
                    if not await self._read(parser):
                        return
                    attempts = _ATTEMPTS
                    self._end_listeners()
                except UpstreamUnreachable as error:
                    if not self._settled.is_set():
                        raise
                    attempts -= 1
                    self._end_listeners(error)
                if not self.asides:
                    return
                last_id, pause = parser.last_id, pause if parser.retry is None else parser.retry
                await asyncio.sleep(min(max(pause, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS))
        except (UpstreamUnreachable, UpstreamMisbehaved) as error:
            self.failure = error
        finally:
            self._share.hold(0)
            self._over_at = asyncio.get_running_loop().time()
            self._settled.set()
            self._end_listeners(self.failure)

    async def _read(self, parser: EventParser) -> bool:
        """Take the stream apart until it ends; answers whether there was one."""
        headers = {**self._headers, "Accept": "text/event-stream"}
        if parser.last_id:
            headers["Last-Event-ID"] = parser.last_id
        response = await self.way.send("GET", headers, within=self.way.idle_timeout, counts=False)
        try:
            incoming = Incoming(self.way, response, Deadlines(self.way, forever=True))
            if response.status != OK or not incoming.streams:
                self.refused = response
                return False
            self._settled.set()
            while chunk := await incoming.chunk():
                self._share.hold(parser.held + len(chunk))
                complete = parser.feed(chunk)
                self._share.hold(parser.held)  # what is complete is held by whom it is for
                for data in complete:
                    for message, head in messages_of(data, self.way.name):
                        self._route(message, head)
        finally:
            response.close()
        return True

    def _route(self, message: bytes, head: Head) -> None:
        if head.method is None:
            return  # nothing is answered here
        if head.method in CHANGES and self.listeners:
            for listener in self.listeners:
                listener.put(message)
        elif head.asks and (head.method == "ping" or not self.asides):
            self._answer(head, head.method)
        elif (aside := addressee(self.asides, message, head)) is not None:
            aside.take(message, asks=head.asks)

    def _answer(self, head: Head, method: str) -> None:
        request_id: jsonrpc.Id = head.id if isinstance(head.id, int | str | float) else None
        self._ways.in_background(self._post_quietly(answer_for_nobody(request_id, method)))

    async def _post_quietly(self, body: bytes) -> None:
        try:
            response = await self.way.send("POST", self._headers, body, within=_ANSWER_SECONDS, counts=False)
            response.close()
        except UpstreamUnreachable:
            return

    def _end_listeners(self, failure: UpstreamUnreachable | UpstreamMisbehaved | None = None) -> None:
        for listener in self.listeners:
            listener.end() if failure is None else listener.fail(failure)
