"""A million token ids in twenty megabytes: 128 bits each, in shards by their first two bytes.

A shard is the marks it has, one after the other, in one ``bytes``. At a million there are fifteen in each: looking one
up is one search through 240 bytes, and a set of Python objects would take four times the memory.
"""

from collections.abc import Sequence

from interlock_common.errors import InterlockError

WIDTH = 16
PAGES = 64
_SHARDS = 65_536
_SHARDS_OF_PAGE = _SHARDS // PAGES


class PageMisfit(InterlockError):
    """A page of marks does not fit its own description."""

    code = "revocation_page_misfit"


class Marks:
    """A set of ``bytes`` of 16; ``digest`` is all of them XORed, so it says what is held and not how it came."""

    __slots__ = ("_count", "_shards", "digest")

    def __init__(self) -> None:
        self._shards = [b""] * _SHARDS
        self._count = 0
        self.digest = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, mark: bytes) -> bool:
        return _place(self._shards[mark[0] << 8 | mark[1]], mark) >= 0

    def add(self, mark: bytes) -> None:
        number = mark[0] << 8 | mark[1]
        shard = self._shards[number]
        if _place(shard, mark) < 0:
            self._shards[number] = shard + mark
            self._count += 1
            self.digest ^= int.from_bytes(mark)

    def discard(self, mark: bytes) -> bool:
        """Whether it was there."""
        number = mark[0] << 8 | mark[1]
        shard = self._shards[number]
        at = _place(shard, mark)
        if at < 0:
            return False
        self._shards[number] = shard[:at] + shard[at + WIDTH :]
        self._count -= 1
        self.digest ^= int.from_bytes(mark)
        return True

    def page(self, number: int) -> tuple[bytes, tuple[int, ...]]:
        """One of ``PAGES`` parts of it all: the marks of its shards, and how many bytes each shard has."""
        shards = self._shards[number * _SHARDS_OF_PAGE : (number + 1) * _SHARDS_OF_PAGE]
        return b"".join(shards), tuple(map(len, shards))

    def take_page(self, number: int, marks: bytes, lengths: Sequence[int]) -> None:
        """Hold what ``page`` gave, in the place of what was in these shards. Raises PageMisfit."""
        fits = len(lengths) == _SHARDS_OF_PAGE and sum(lengths) == len(marks)
        if not (fits and 0 <= number < PAGES) or any(length % WIDTH or length < 0 for length in lengths):
            raise PageMisfit(f"page {number} of the revocations does not fit its own description")
        at, first = 0, number * _SHARDS_OF_PAGE
        for shard, length in enumerate(lengths, first):
            self._replace(shard, marks[at : at + length])
            at += length

    def _replace(self, number: int, fresh: bytes) -> None:
        for gone_or_new in (self._shards[number], fresh):
            for at in range(0, len(gone_or_new), WIDTH):
                self.digest ^= int.from_bytes(gone_or_new[at : at + WIDTH])
        self._count += (len(fresh) - len(self._shards[number])) // WIDTH
        self._shards[number] = fresh


def _place(shard: bytes, mark: bytes) -> int:
    """Where the mark begins, or -1; what lies across two marks is none."""
    at = shard.find(mark)
    while at > 0 and at % WIDTH:
        at = shard.find(mark, at + 1)
    return at
