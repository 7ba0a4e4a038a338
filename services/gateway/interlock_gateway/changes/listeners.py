"""Listening to upstreams for updates of the resources that somebody subscribed to: one connection serves many."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError
from interlock_common.messages.catalog import Upstream

_log = structlog.get_logger()
_MAX_LISTENERS = 1_000
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0

_OF_USERS = frozenset({"oauth", "token_exchange"})
"""Credentials that belong to principals: nobody hears over the connection of another."""

type _Place = tuple[str, str, str]
type Wanted = Mapping[str, tuple[Upstream, Sequence[str]]]
"""The URIs that somebody wants to hear of, by the upstream's id."""


class Listening(Protocol):
    """The way to upstreams, as far as listening needs it."""

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


class Whose(Protocol):
    """Somebody who wants to hear: on whose behalf, and over whose upstream session."""

    @property
    def session_key(self) -> str: ...
    @property
    def principal(self) -> str: ...


@dataclass(eq=False)
class _Listener:
    """One connection to one upstream on behalf of one owner, for everybody who wants it."""

    place: "_Place"
    upstream: Upstream
    principal: str
    session_key: str
    wanted: dict[Hashable, frozenset[str]] = field(default_factory=dict[Hashable, frozenset[str]])
    uris: frozenset[str] = frozenset()
    task: asyncio.Task[None] | None = None


class Listeners:
    """Keeps a connection for as long as anybody wants updates over it, and opens it anew with the URIs of all."""

    def __init__(self, upstreams: Listening, clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._listeners: dict[_Place, _Listener] = {}
        self._of: dict[Hashable, set[_Place]] = {}
        self._heard: Callable[[str, bytes], object] = lambda _upstream, _message: None
        self._updated: Callable[[str, str], None] = lambda _upstream, _uri: None

    def tell(self, heard: Callable[[str, bytes], object], updated: Callable[[str, str], None]) -> None:
        """Who takes what was heard: raw notifications, and the URIs that may have changed while nobody listened."""
        self._heard, self._updated = heard, updated

    def want(self, who: Hashable, whose: Whose, wanted: Wanted) -> None:
        """From now on ``who`` wants exactly this, and nothing any more where it is empty."""
        keys = {_place(upstream, whose): upstream_id for upstream_id, (upstream, _) in wanted.items()}
        for key in self._of.pop(who, set()) - keys.keys():
            self._change(self._listeners[key], who, frozenset())
        for key, upstream_id in keys.items():
            upstream, uris = wanted[upstream_id]
            listener = self._listeners.get(key)
            if listener is None:
                if len(self._listeners) >= _MAX_LISTENERS:
                    _log.warning("too many upstreams are listened to", upstream=upstream.name, limit=_MAX_LISTENERS)
                    continue
                listener = self._listeners[key] = _Listener(key, upstream, whose.principal, whose.session_key)
            elif way_to(listener.upstream) != way_to(upstream):
                listener.upstream, listener.uris = upstream, frozenset()  # is opened anew, there
            self._of.setdefault(who, set()).add(key)
            self._change(listener, who, frozenset(uris))

    async def stop(self) -> None:
        tasks = [listener.task for listener in self._listeners.values() if listener.task is not None]
        self._listeners.clear()
        self._of.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _change(self, listener: _Listener, who: Hashable, uris: frozenset[str]) -> None:
        if uris:
            listener.wanted[who] = uris
        else:
            listener.wanted.pop(who, None)
        union = frozenset[str]().union(*listener.wanted.values())
        if union == listener.uris:
            return
        listener.uris = union
        if listener.task is not None:
            listener.task.cancel()
        if union:
            listener.task = asyncio.create_task(self._listen(listener), name=f"listen {listener.upstream.name}")
        else:
            del self._listeners[listener.place]

    async def _listen(self, listener: _Listener) -> None:
        """Go on until nobody wants it: what may have been missed in between is told as an update of each."""
        upstream, pause = listener.upstream, _FIRST_PAUSE
        uris = sorted(listener.uris)
        again = False
        while True:
            try:
                async with self._upstreams.listen(upstream, listener.principal, listener.session_key, uris) as heard:
                    if again:
                        for uri in uris:
                            self._updated(upstream.id, uri)
                    async for message in heard:
                        pause = _FIRST_PAUSE
                        self._heard(upstream.id, message)
            except InterlockError as error:
                _log.warning("an upstream is not heard", upstream=upstream.name, reason=error.detail)
            again = True
            await self._clock.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing
            pause = min(pause * 2, _LONGEST_PAUSE)


def way_to(upstream: Upstream) -> tuple[object, ...]:
    """All that decides where a connection leads, and as whom."""
    return (
        upstream.transport, upstream.url, upstream.era, upstream.credential, upstream.tls, upstream.command
    )  # fmt: skip


def _place(upstream: Upstream, whose: Whose) -> _Place:
    return (upstream.id, whose.principal if upstream.credential.kind in _OF_USERS else "", whose.session_key)
