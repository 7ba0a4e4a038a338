"""What is revoked, small enough for a million entries and quick enough for every request; most restrictive wins.

A mark is what a token id is in memory: 128 bits where it is a UUID, as ours are, else the text itself.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable
from itertools import batched

import msgspec
import structlog
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import InterlockError
from interlock_common.messages import subjects
from interlock_common.messages.auth import revocation_key
from interlock_common.messages.resources import REVOCATIONS
from interlock_common.messages.revocation import FOR_EVER, ReadRevoked, RevokedPage, SelectorRevocation
from interlock_common.reading import BucketReader
from interlock_common.revocation_marks import PAGES, Marks

type Mark = bytes | str

MANY = 20_000
"""From so many on, auth is asked for pages of them: a message each would take ten seconds for a million."""
_PAGES_AT_ONCE = 4
_log = structlog.get_logger()

_TOKEN = revocation_key("")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_selector = msgspec.json.Decoder(SelectorRevocation)


def mark_of(token_id: str) -> Mark:
    return bytes.fromhex(token_id.replace("-", "")) if _UUID.fullmatch(token_id) else token_id


class RevocationSet:
    """Revoked tokens by mark, and for every other selector the moment before which tokens do not count.

    ``digest`` depends on what it holds alone, never on the order in which it came.
    """

    __slots__ = ("_digest", "before", "marks", "texts")

    def __init__(self) -> None:
        self.marks = Marks()
        self.texts: set[str] = set()
        self.before: dict[str, int] = {}
        self._digest = 0

    @property
    def digest(self) -> int:
        return self._digest ^ self.marks.digest

    def __setitem__(self, key: str, before: int) -> None:
        if key.startswith(_TOKEN):
            self._add(mark_of(key[len(_TOKEN) :]))
            return
        self.pop(key, None)
        self.before[key] = before
        self._digest ^= _digest(f"{key} {before}")

    def _add(self, mark: Mark) -> None:
        if isinstance(mark, bytes):
            self.marks.add(mark)
        elif mark not in self.texts:
            self.texts.add(mark)
            self._digest ^= _digest(mark)

    def pop(self, key: str, default: None) -> int | None:
        if key.startswith(_TOKEN):
            return FOR_EVER if self._discard(mark_of(key[len(_TOKEN) :])) else default
        before = self.before.pop(key, None)
        if before is not None:
            self._digest ^= _digest(f"{key} {before}")
        return before

    def _discard(self, mark: Mark) -> bool:
        if isinstance(mark, bytes):
            return self.marks.discard(mark)
        if mark not in self.texts:
            return False
        self.texts.discard(mark)
        self._digest ^= _digest(mark)
        return True

    def __len__(self) -> int:
        return len(self.marks) + len(self.texts) + len(self.before)

    def holds(self, key: str, before: int) -> bool:
        """Whether it says under ``key`` what covers until ``before``."""
        if key.startswith(_TOKEN):
            return self.revokes((mark_of(key[len(_TOKEN) :]),))
        return self.before.get(key) == before

    def revokes(self, marks: Iterable[Mark]) -> bool:
        """Whether one of the tokens is revoked by itself."""
        for mark in marks:  # noqa: SIM110 - for every request; a generator would take twice as long
            if mark in self.marks if isinstance(mark, bytes) else mark in self.texts:
                return True
        return False

    def covers(self, marks: Iterable[Mark], selectors: Iterable[str], issued_at: int) -> bool:
        """Whether a token does not count: one of ``marks``, itself and its parents, or a selector that is later."""
        if self.revokes(marks):
            return True
        before = self.before
        return bool(before) and any(issued_at < before.get(key, 0) for key in selectors)

    def page(self, number: int, sequence: int) -> RevokedPage:
        """A part of it, for who reads all of it; everything but marks is on the first."""
        marks, lengths = self.marks.page(number)
        if number:
            return RevokedPage(sequence, marks, lengths)
        return RevokedPage(sequence, marks, lengths, tuple(self.texts), self.before.copy())

    def take_page(self, number: int, page: RevokedPage) -> None:
        """Hold what ``page`` gave. Raises PageMisfit."""
        self.marks.take_page(number, page.marks, page.lengths)
        for text in page.texts:
            self._add(text)
        for key, before in page.before.items():
            self[key] = before


class RevocationMirror(BucketReader[int, RevocationSet]):
    """The bucket ``revocations`` in memory; of a token only that it is revoked, so nothing is decoded.

    By ``pages`` it asks auth for what is in there, where that is much, and reads from the bucket what came since.
    """

    def __init__(self, bus: Bus, *, pages: bool = False, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(bus, REVOCATIONS, clock=clock)
        self._on_replaced: list[Callable[[], None]] = []
        self._by_pages = pages
        self._distrusted = False

    async def reread(self) -> None:
        """Read anew, message by message: what is held is not what auth says that it has."""
        self._distrusted = True
        await self.restart()

    async def _begun(self, stream: JetStreamContext) -> tuple[RevocationSet, int]:
        distrusted, self._distrusted = self._distrusted, False
        state = (await stream.stream_info(f"KV_{self.bucket.name}")).state
        if not self._by_pages or distrusted or state.messages < MANY:
            return RevocationSet(), 0
        try:
            held, sequence = await self._all_pages()
        except (InterlockError, NatsError, msgspec.DecodeError) as error:
            _log.warning("revocations are read one by one", error=type(error).__name__)
            return RevocationSet(), 0
        # Of another bucket, which was lost since, it says nothing.
        return (held, sequence) if sequence <= state.last_seq else (RevocationSet(), 0)

    async def _all_pages(self) -> tuple[RevocationSet, int]:
        held = RevocationSet()

        async def take(number: int) -> int:
            page = await self._bus.request(subjects.AUTH_REVOCATION_READ, ReadRevoked(number), RevokedPage)
            held.take_page(number, page)
            return page.sequence

        sequences: list[int] = []
        for numbers in batched(range(PAGES), _PAGES_AT_ONCE, strict=False):
            sequences += await asyncio.gather(*map(take, numbers))
        return held, min(sequences)

    @property
    def items(self) -> RevocationSet:
        """What is revoked; another object after each change of connection."""
        return self._items

    def on_replaced(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when all of it was read anew: anything may have changed."""
        self._on_replaced.append(listener)

    def _empty(self) -> RevocationSet:
        return RevocationSet()

    def _decode(self, key: str, content: bytes) -> int:
        return FOR_EVER if key.startswith(_TOKEN) else _selector.decode(content).before

    def _replaced(self, before: RevocationSet, items: RevocationSet) -> None:  # noqa: ARG002 - it is looked at anew
        for listener in self._on_replaced:
            listener()


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
