"""Events of legacy streams, kept so that a client that reconnects with ``Last-Event-ID`` misses nothing.

The SDK names a stream by the id of its request, which two sessions may share. So each event also belongs to the
session whose task stored it: ``SESSION`` holds it for everything that one HTTP request started.
"""

from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage

MOST_EVENTS = 10_000


@dataclass
class SessionName:
    """The session of an HTTP request; that of an ``initialize`` is known when it is answered."""

    name: str = ""


SESSION: ContextVar[SessionName] = ContextVar("SESSION")


@dataclass(frozen=True)
class _Stored:
    event_id: str
    session: SessionName
    stream: str
    message: JSONRPCMessage | None


class KeptEvents(EventStore):
    """The latest events of all streams, oldest first."""

    def __init__(self) -> None:
        self._events: deque[_Stored] = deque(maxlen=MOST_EVENTS)
        self._count = 0

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._count += 1
        self._events.append(_Stored(f"event-{self._count}", SESSION.get(), stream_id, message))
        return f"event-{self._count}"

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        session = SESSION.get().name
        events = [event for event in self._events if event.session.name == session]
        position = next((place for place, event in enumerate(events) if event.event_id == last_event_id), None)
        if position is None:
            return None
        stream = events[position].stream
        for event in events[position + 1 :]:
            if event.stream == stream and event.message is not None:
                await send_callback(EventMessage(event.message, event.event_id))
        return stream
