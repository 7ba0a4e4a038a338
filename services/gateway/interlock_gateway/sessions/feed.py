"""What is said to sessions unasked, from whichever edge, brought to the streams that are open here."""

import asyncio
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from nats.aio.msg import Msg

from interlock_common.messages.subjects import session_stream
from interlock_gateway.sessions.journal import NEWEST, Journal

GET = "get"
_WAIT_SECONDS = 1.0


class Reader(Protocol):
    """An open stream of a session."""

    def take(self, place: int, message: Msg) -> None:
        """Take what was said at this place of all; must not wait."""
        ...


class Feed:
    """One consumer for all streams of this edge."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._readers: defaultdict[str, set[Reader]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="feed of session streams")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextmanager
    def reading(self, session: str, reader: Reader) -> Generator[None]:
        """Bring ``reader`` what is said to the session until the block ends."""
        self._readers[session].add(reader)
        try:
            yield
        finally:
            self._readers[session].discard(reader)
            if not self._readers[session]:
                del self._readers[session]

    async def _run(self) -> None:
        async with self._journal.read(session_stream("*", GET), NEWEST) as reading:
            while True:
                message = await reading.next(_WAIT_SECONDS)
                if message is not None:
                    session = message.subject.split(".")[2]
                    for reader in tuple(self._readers.get(session, ())):
                        reader.take(reading.place, message)
