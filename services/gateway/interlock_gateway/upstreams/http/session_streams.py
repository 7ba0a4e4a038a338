"""The GET streams of sessions of the handshake era: one for each session, since servers refuse a second with 409.

Whoever listens for changes hears it there, and so do the requests that run in the session: many servers ask and tell
there what belongs to a request. It is opened before the first request whose client can be asked, since servers drop
what they want to say while it is closed, and stays open a while, so that the next requests cost nothing more.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

from interlock_common.messages.catalog import Upstream
from interlock_gateway.upstreams.connections import Way, Ways
from interlock_gateway.upstreams.http.addressing import token_of
from interlock_gateway.upstreams.http.incoming import Deadlines
from interlock_gateway.upstreams.http.session_stream import SessionStream
from interlock_gateway.upstreams.http.sse_inbox import Inbox
from interlock_gateway.upstreams.sessions import SHARED
from interlock_gateway.upstreams.transport import UpstreamRequest

_METHOD_NOT_ALLOWED = 405
_MAX_STREAMS = 1_000
_UNUSED_SECONDS = 300.0
_UNUSED_SHARED_SECONDS = 10.0
"""Of the sessions that other edges use as well, one of which may want the stream next."""
_WITHOUT_SECONDS = 3600.0
_MAY_ASK = frozenset({"tools/call", "resources/read", "prompts/get"})
_ASKABLE = (b'"elicitation"', b'"sampling"', b'"roots"')
"""What a client says of itself that can be asked anything."""

type _Place = tuple[str, str, str]


class SessionStreams:
    """The streams of this edge by upstream, session key and session; one that nobody used for a while is closed.

    An upstream that says it has none is not asked again for an hour, one that refuses for a minute, and one that has
    another stream of the session open, to another edge, for five seconds: requests then run without.
    """

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._streams: OrderedDict[_Place, SessionStream] = OrderedDict()
        self._without: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def may_ask(self, request: UpstreamRequest) -> bool:
        """Whether the upstream may have something to ask beside the answer to ``request``."""
        upstream = request.upstream
        if upstream.era == "modern" or request.method not in _MAY_ASK:
            return False
        if not any(capability in request.capabilities for capability in _ASKABLE):
            return False
        url, until = self._without.get(upstream.id, ("", 0.0))
        return url != upstream.url or until < asyncio.get_running_loop().time()

    def for_request(
        self, way: Way, upstream: Upstream, session_key: str, headers: Mapping[str, str]
    ) -> SessionStream | None:
        """The stream of the session that ``headers`` name, opened where it is not; None where there can be none."""
        place = (upstream.id, session_key, headers.get("Mcp-Session-Id", ""))
        stream = self._streams.get(place)
        if not place[2] or (stream is not None and stream.rests) or not (stream or self._make_room()):
            return None
        if stream is None or stream.over:
            stream = self._open(place, way, headers)
        self._streams.move_to_end(place)
        stream.lingers = _UNUSED_SHARED_SECONDS if session_key.startswith(SHARED) else _UNUSED_SECONDS
        return stream

    def for_listener(self, way: Way, upstream: Upstream, session_key: str, headers: Mapping[str, str]) -> SessionStream:
        """As ``for_request``, whatever the upstream said before; without a session the stream is the listener's own."""
        place = (upstream.id, session_key, headers.get("Mcp-Session-Id", ""))
        stream = self._streams.get(place)
        if stream is not None and not stream.over:
            return stream
        if not place[2] or not self._make_room():
            return SessionStream(self._ways, way, headers)
        return self._open(place, way, headers)

    def end(self, upstream: Upstream, session_key: str) -> None:
        """The session of a key is over."""
        for place in [place for place in self._streams if place[:2] == (upstream.id, session_key)]:
            self._streams.pop(place).close()

    def _open(self, place: _Place, way: Way, headers: Mapping[str, str]) -> SessionStream:
        stream = self._streams[place] = SessionStream(self._ways, way, headers)
        stream.task.add_done_callback(lambda _: self._ended(place, stream))
        return stream

    def _ended(self, place: _Place, stream: SessionStream) -> None:
        if stream.refused is not None and stream.refused.status == _METHOD_NOT_ALLOWED:
            until = asyncio.get_running_loop().time() + _WITHOUT_SECONDS
            self._without[place[0]] = (str(stream.way.upstream.url), until)
            if len(self._without) > _MAX_STREAMS:
                self._without.popitem(last=False)
        if not stream.rests and self._streams.get(place) is stream:
            del self._streams[place]

    def _make_room(self) -> bool:
        if len(self._streams) < _MAX_STREAMS:
            return True
        unused = next((place for place, stream in self._streams.items() if not stream.in_use), None)
        if unused is not None:
            self._streams.pop(unused).close()
        return unused is not None


class Aside:
    """What comes beside the answer to one request, on the stream of its session."""

    def __init__(self, streams: SessionStreams, way: Way, request: UpstreamRequest) -> None:
        self.inbox = Inbox(way.name, way.max_answer, way.share())
        self.token = token_of(request.params)
        self._streams = streams
        self._way = way
        self._request = request
        self._deadlines: Deadlines | None = None
        self._stream: SessionStream | None = None

    async def join(self, headers: Mapping[str, str], deadlines: Deadlines) -> None:
        """Hear what is said in the session that ``headers`` name, if its server has a stream for that."""
        self.leave()
        self._deadlines = deadlines
        request = self._request
        stream = self._streams.for_request(self._way, request.upstream, request.session_key, headers)
        if stream is not None:
            self._stream = stream
            stream.asides[self] = None
            stream.use()
            await stream.settled_soon()

    def leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            del stream.asides[self]
            stream.left()

    def take(self, message: bytes, *, asks: bool) -> None:
        if self._deadlines is not None:
            if asks:
                self._deadlines.asked()
            self._deadlines.alive()
        self.inbox.put(message)
