"""The memory that large answers may take together: an answer has its own limit, this is for their sum."""

from collections import Counter
from typing import Self

from interlock_gateway.errors import UpstreamUnreachable

_FREE = 256 * 1024


class NoRoom(UpstreamUnreachable):
    """Large answers are under way that take what there is for them; a smaller one, or a later one, goes through."""

    code = "upstream_busy"


class Room:
    """How many bytes of large answers an edge holds at a time: ``most``, and half of it for one upstream.

    The first bytes of each answer count for nothing: whatever an upstream sends, others go on giving answers of a
    common size.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    def take(self, upstream_id: str, size: int) -> bool:
        """Whether ``size`` more bytes can be held for an upstream; they count from now on."""
        if self.taken + size > self.most or self._taken[upstream_id] + size > self.most // 2:
            return False
        self._taken[upstream_id] += size
        return True

    def give_back(self, upstream_id: str, size: int) -> None:
        self._taken[upstream_id] -= size
        if not self._taken[upstream_id]:
            del self._taken[upstream_id]


class Share:
    """What one exchange holds, until the block ends; ``who`` is whom an error names, ``upstream_id`` who that is."""

    def __init__(self, room: Room, upstream_id: str, who: str) -> None:
        self._room = room
        self._upstream_id = upstream_id
        self._who = who
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.hold(0)

    def hold(self, size: int) -> None:
        """The exchange holds ``size`` bytes now; raises NoRoom."""
        more = max(0, size - _FREE) - self._taken
        if more < 0:
            self._room.give_back(self._upstream_id, -more)
        elif more and not self._room.take(self._upstream_id, more):
            raise NoRoom(f"{self._who} answers at length, and long answers under way take all the room")
        self._taken += more
