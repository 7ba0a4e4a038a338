import pytest

from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.upstreams.http.events import EventParser

STREAM = b": hello\n\nevent: message\nid: 1\ndata: one\n\ndata:two\ndata: more\nretry: 5\n\ndata:\n\ndata: three\n\n"
EVENTS = [b"one", b"two\nmore", b"three"]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_they_arrive(line_end: bytes, size: int) -> None:
    stream = STREAM.replace(b"\n", line_end)
    parser = EventParser("notes", 100)
    found = [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]
    assert found == EVENTS


def test_an_event_is_there_as_soon_as_it_is_complete() -> None:
    parser = EventParser("notes", 100)
    assert parser.feed(b"data: on") == []
    assert parser.feed(b"e\n") == []
    assert parser.feed(b"\ndata: tw") == [b"one"]


@pytest.mark.parametrize("chunk", [b"data: 0123456789", b"data: 01\n", b"x"])
def test_an_event_over_the_bound_names_its_upstream(chunk: bytes) -> None:
    parser = EventParser("notes", 32)
    with pytest.raises(UpstreamMisbehaved, match="upstream notes is over 32 bytes"):
        [parser.feed(chunk) for _ in range(100)]


def test_many_events_are_no_big_event() -> None:
    parser = EventParser("notes", 32)
    assert sum(len(parser.feed(b"data: 0123456789\n\n")) for _ in range(1000)) == 1000
