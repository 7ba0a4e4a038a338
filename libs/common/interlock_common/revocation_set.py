"""What is revoked, small enough for a million entries and quick enough for every request; most restrictive wins.

A mark is what a token id is in memory: 128 bits where it is a UUID, as ours are, else the text itself.
"""

import hashlib
import re
from collections.abc import Callable, Iterable

import msgspec

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.messages.auth import revocation_key
from interlock_common.messages.resources import REVOCATIONS
from interlock_common.messages.revocation import FOR_EVER, SelectorRevocation
from interlock_common.reading import BucketReader

type Mark = int | str

_TOKEN = revocation_key("")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_selector = msgspec.json.Decoder(SelectorRevocation)


def mark_of(token_id: str) -> Mark:
    return int(token_id.replace("-", ""), 16) if _UUID.fullmatch(token_id) else token_id


class RevocationSet:
    """Revoked tokens by mark, and for every other selector the moment before which tokens do not count.

    ``digest`` depends on what it holds alone, never on the order in which it came.
    """

    __slots__ = ("before", "digest", "tokens")

    def __init__(self) -> None:
        self.tokens: set[Mark] = set()
        self.before: dict[str, int] = {}
        self.digest = 0

    def __setitem__(self, key: str, before: int) -> None:
        if key.startswith(_TOKEN):
            mark = mark_of(key[len(_TOKEN) :])
            if mark not in self.tokens:
                self.tokens.add(mark)
                self.digest ^= mark if isinstance(mark, int) else _digest(mark)
            return
        self.pop(key, None)
        self.before[key] = before
        self.digest ^= _digest(f"{key} {before}")

    def pop(self, key: str, default: None) -> int | None:
        if key.startswith(_TOKEN):
            mark = mark_of(key[len(_TOKEN) :])
            if mark not in self.tokens:
                return default
            self.tokens.discard(mark)
            self.digest ^= mark if isinstance(mark, int) else _digest(mark)
            return FOR_EVER
        before = self.before.pop(key, None)
        if before is not None:
            self.digest ^= _digest(f"{key} {before}")
        return before

    def __len__(self) -> int:
        return len(self.tokens) + len(self.before)

    def holds(self, key: str, before: int) -> bool:
        """Whether it says under ``key`` what covers until ``before``."""
        if key.startswith(_TOKEN):
            return mark_of(key[len(_TOKEN) :]) in self.tokens
        return self.before.get(key) == before

    def covers(self, marks: Iterable[Mark], selectors: Iterable[str], issued_at: int) -> bool:
        """Whether a token does not count: one of ``marks``, itself and its parents, or a selector that is later."""
        tokens = self.tokens
        if any(mark in tokens for mark in marks):
            return True
        before = self.before
        return bool(before) and any(issued_at < before.get(key, 0) for key in selectors)


class RevocationMirror(BucketReader[int, RevocationSet]):
    """The bucket ``revocations`` in memory; of a token only that it is revoked, so nothing is decoded."""

    def __init__(self, bus: Bus, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(bus, REVOCATIONS, clock=clock)
        self._on_replaced: list[Callable[[], None]] = []

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
