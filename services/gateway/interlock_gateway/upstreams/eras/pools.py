"""The sessions at upstreams of the handshake era in which stateless requests are served.

One for each principal and what its client can do and wants to hear: nobody else's requests get into it. A client
that says something new with every request would open one each time, so there are only so many; the one not used for
longest is ended.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from interlock_common.messages.catalog import Upstream
from interlock_gateway.upstreams.transport import Transport, UpstreamRequest

_PREFIX = "pool."
_PER_PRINCIPAL = 8
_TOTAL = 5000
_encode = msgspec.json.encode

type _Key = tuple[str, str]


@dataclass(slots=True)
class _Session:
    """A session that is or was used, and by how many requests at the moment."""

    principal: str
    upstream: Upstream
    transport: Transport
    users: int = 0


def pool_key(request: UpstreamRequest, level: str) -> str:
    """The session key of a stateless request: the same for the same principal, capabilities and log level."""
    try:
        capabilities = _encode(msgspec.json.decode(request.capabilities), order="sorted")
    except (msgspec.DecodeError, RecursionError):
        capabilities = request.capabilities
    told = _encode((request.principal, msgspec.Raw(capabilities), level))
    return _PREFIX + hashlib.sha256(told).hexdigest()


class Pools:
    """At most ``per_principal`` sessions of a principal at each upstream, and ``total``, but for those in use."""

    def __init__(self, *, per_principal: int = _PER_PRINCIPAL, total: int = _TOTAL) -> None:
        self._per_principal = per_principal
        self._total = total
        self._sessions: OrderedDict[_Key, _Session] = OrderedDict()
        self._of_principals: dict[tuple[str, str], OrderedDict[_Key, None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @contextmanager
    def using(self, transport: Transport, request: UpstreamRequest) -> Generator[None]:
        """Keep the session of ``request`` for as long as the block runs."""
        key = (request.upstream.id, request.session_key)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session(request.principal, request.upstream, transport)
        owned = self._of_principals.setdefault((request.principal, request.upstream.id), OrderedDict())
        owned[key] = None
        owned.move_to_end(key)
        self._sessions.move_to_end(key)
        session.users += 1
        try:
            yield
        finally:
            session.users -= 1
            if len(owned) > self._per_principal:
                self._end_oldest(owned)
            if len(self._sessions) > self._total:
                self._end_oldest(self._sessions)

    def _end_oldest(self, keys: OrderedDict[_Key, None] | OrderedDict[_Key, _Session]) -> None:
        """End the session not used for longest; where all are in use, the next request to end sees to it."""
        oldest = next((key for key in keys if not self._sessions[key].users), None)
        if oldest is None:
            return
        session = self._sessions.pop(oldest)
        owner = (session.principal, session.upstream.id)
        del self._of_principals[owner][oldest]
        if not self._of_principals[owner]:
            del self._of_principals[owner]
        ending = asyncio.create_task(
            session.transport.end_session(session.upstream, oldest[1]), name="end of a pooled session"
        )
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
