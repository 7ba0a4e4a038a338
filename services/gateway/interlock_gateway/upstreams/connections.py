"""The connections to each upstream: a pool, a limit and a breaker of its own, so that none can harm another."""

import asyncio
import contextlib
import io
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass

import aiohttp
import structlog
from yarl import URL

from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.messages.catalog import Upstream
from interlock_gateway.errors import UpstreamUnreachable
from interlock_gateway.upstreams.addresses import AddressPolicy, GuardedResolver
from interlock_gateway.upstreams.breaker import Breaker
from interlock_gateway.upstreams.room import Room, Share
from interlock_gateway.upstreams.tls import TlsContexts

_log = structlog.get_logger()
_MAX_WAYS = 2_000
_MAX_IN_BACKGROUND = 1_000
_WAITING_PER_SLOT = 4
_WRITTEN_AT_ONCE = 64 * 1024
_LARGEST_AT_A_TIME = 3
_KEPT_IDLE_SECONDS = 4.0
"""Less than the 5 s of uvicorn and Node: a call must not meet the end of a connection that its server gives up."""
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "Accept-Encoding": "identity",
    "User-Agent": "interlock/0.1.0",
}


class UpstreamBusy(UpstreamUnreachable):
    """As many calls as the upstream may have are under way, and none ended in time."""

    code = "upstream_busy"


class UpstreamSilent(UpstreamUnreachable):
    """The upstream did not say anything, or not the last thing, in time."""

    code = "upstream_timeout"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds for every upstream that sets nothing else itself; times in seconds, ``max_answer`` in bytes.

    ``idle_timeout`` is how long an upstream may be silent; with ``progress_resets`` off, how long an answer may take.
    ``call_timeout`` is the hard maximum. Neither runs out while the upstream waits for the client, but the latter.
    """

    concurrency: int = 64
    connect_timeout: float = 5.0
    idle_timeout: float = 60.0
    call_timeout: float = 3600.0
    max_answer: int = 32 * 1024 * 1024
    progress_resets: bool = True


class Way:
    """How one upstream is reached, in its bounds."""

    def __init__(
        self, upstream: Upstream, bounds: Bounds, http: aiohttp.ClientSession, breaker: Breaker, tls: TlsContexts,
        room: Room,
    ) -> None:  # fmt: skip
        limits = upstream.limits
        self.upstream = upstream
        self.name = upstream.name
        self.url = URL(upstream.url)
        self.breaker = breaker
        self.idle_timeout = limits.idle_timeout or bounds.idle_timeout
        self.call_timeout = limits.call_timeout or bounds.call_timeout
        self.connect_timeout = bounds.connect_timeout
        self.max_answer = bounds.max_answer
        self.progress_resets = bounds.progress_resets
        self.running = 0
        self._limit = limits.concurrency or bounds.concurrency
        self._slots = asyncio.Semaphore(self._limit)
        self._waiting = 0
        self._unused: asyncio.Event | None = None
        self._http = http
        self._tls = tls
        self._room = room

    def share(self) -> Share:
        """The part of the room for large answers that one exchange takes; it is to be given back."""
        return Share(self._room, self.upstream.id, f"upstream {self.name}")

    def fits(self, upstream: Upstream) -> bool:
        """Whether a newer version of the upstream is still reached like this."""
        old = self.upstream
        if (old.url, old.name, old.tls, old.limits) != (upstream.url, upstream.name, upstream.tls, upstream.limits):
            return False
        self.upstream = upstream
        return True

    async def enter(self) -> bool:
        """Take a slot; answers whether this is the call that probes a resting upstream. ``leave`` must follow.

        Raises UpstreamResting and UpstreamBusy.
        """
        probe = self.breaker.enter()
        self.running += 1
        try:
            if self._slots.locked():
                await self._wait_for_slot()
            else:
                await self._slots.acquire()
        except BaseException:
            self.running -= 1
            self.breaker.leave(probe=probe)
            raise
        return probe

    def leave(self, *, probe: bool) -> None:
        self._slots.release()
        self.running -= 1
        if self._unused is not None and not self.running:
            self._unused.set()
        self.breaker.leave(probe=probe)

    async def send(
        self,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        within: float,
        url: URL | None = None,
        counts: bool = True,
    ) -> aiohttp.ClientResponse:
        """Send, and wait for status and headers of the answer for ``within`` seconds; whoever asked closes it.

        Raises UpstreamUnreachable, which counts against the upstream unless ``counts`` is off.
        """
        if self._http.closed:
            raise UpstreamUnreachable(f"upstream {self.name} was changed or removed meanwhile")
        context: ssl.SSLContext | bool = True if self.upstream.tls is None else self._tls.of(self.upstream)
        # A file is written piece by piece, so that a large body does not hold up what else runs.
        data = io.BytesIO(body) if body is not None and len(body) > _WRITTEN_AT_ONCE else body
        try:
            async with asyncio.timeout(within):
                return await self._http.request(
                    method, url or self.url, data=data, headers=headers, allow_redirects=False, ssl=context
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.broken(error, counts=counts) from None

    def broken(self, error: Exception, *, counts: bool = True) -> UpstreamUnreachable:
        """What is to be raised when a connection failed with ``error``; the breaker learns of it."""
        if counts:
            self.breaker.failed()
        if isinstance(error, TimeoutError):
            return UpstreamSilent(f"upstream {self.name} did not answer in time")
        return UpstreamUnreachable(f"upstream {self.name} failed: {type(error).__name__}")

    async def close(self) -> None:
        await self._http.close()

    async def retire(self) -> None:
        """Close once what runs has come to its end."""
        self._unused = asyncio.Event()
        if self.running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.call_timeout):
                    await self._unused.wait()
        await self.close()

    async def _wait_for_slot(self) -> None:
        if self._waiting < self._limit * _WAITING_PER_SLOT:
            self._waiting += 1
            try:
                async with asyncio.timeout(self.connect_timeout):
                    await self._slots.acquire()
                    return
            except TimeoutError:
                pass
            finally:
                self._waiting -= 1
        raise UpstreamBusy(f"upstream {self.name} has {self._limit} calls under way, which is its limit")


class Ways:
    """The ways to all upstreams, made when they are first needed."""

    def __init__(
        self, bounds: Bounds, policy: AddressPolicy, *, clock: Clock = SYSTEM_CLOCK, tls: TlsContexts | None = None
    ) -> None:
        self.bounds = bounds
        self.room = Room(_LARGEST_AT_A_TIME * bounds.max_answer)
        self._policy = policy
        self._clock = clock
        self._tls = tls or TlsContexts(clock)
        self._resolver: GuardedResolver | None = None
        self._ways: dict[str, Way] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting: set[asyncio.Task[None]] = set()

    def of(self, upstream: Upstream) -> Way:
        """The way to ``upstream``; raises AddressForbidden."""
        way = self._ways.get(upstream.id)
        if way is not None and (way.upstream is upstream or way.fits(upstream)):
            return way
        return self._renewed(upstream)

    def forget(self, upstream_id: str) -> None:
        """Close the connections to an upstream that is gone, as soon as nothing uses them."""
        way = self._ways.pop(upstream_id, None)
        if way is not None:
            self.in_background(way.retire(), must=True)

    def in_background(self, work: Coroutine[object, object, None], *, must: bool = False) -> bool:
        """Do what nobody waits for; it is to be bounded in time.

        Where too much of it runs already, it is left undone unless it ``must`` be; answers whether it will be done.
        """
        if len(self._tasks) >= _MAX_IN_BACKGROUND and not must:
            work.close()
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return True

    def lasting(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Do what goes on until it is cancelled, or the ways are stopped; whoever asked sees to its bounds."""
        task = asyncio.create_task(work)
        self._lasting.add(task)
        task.add_done_callback(self._done)
        return task

    async def stop(self) -> None:
        for way in self._ways.values():
            await way.close()
        self._ways.clear()
        running = (*self._tasks, *self._lasting)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._resolver is not None:
            await self._resolver.close()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._lasting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("work in the background failed", error=type(error).__name__)

    def _renewed(self, upstream: Upstream) -> Way:
        url = URL(upstream.url)
        self._policy.check(url)
        self.forget(upstream.id)
        if len(self._ways) >= _MAX_WAYS:
            idle = next((way for way in self._ways.values() if not way.running), None)
            if idle is not None:
                self.forget(idle.upstream.id)
        breaker = Breaker(upstream.name, self._clock)
        way = self._ways[upstream.id] = Way(upstream, self.bounds, self._session(), breaker, self._tls, self.room)
        return way

    def _session(self) -> aiohttp.ClientSession:
        if self._resolver is None:
            self._resolver = GuardedResolver(self._policy)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(  # a way has its own limit
                limit=0, resolver=self._resolver, keepalive_timeout=_KEPT_IDLE_SECONDS
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.bounds.connect_timeout),
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),  # nothing of one caller may reach the next
            auto_decompress=False,
        )
