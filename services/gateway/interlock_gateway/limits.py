"""How much a principal may have running at once; what an upstream may have is bounded by its way (connections.py)."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from interlock_common.errors import TooManyRequests


class TooManyCalls(TooManyRequests):
    code = "too_many_calls"


class Concurrency:
    """Counts what runs in this edge; over ``limit`` a call is refused at once rather than queued."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: Counter[str] = Counter()

    @contextmanager
    def taken(self, principal: str) -> Generator[None]:
        """Take a place for one call; raises TooManyCalls where there is none."""
        if self._running[principal] >= self._limit:
            raise TooManyCalls(f"a principal has at most {self._limit} calls running at an edge", retry_after=1)
        self._running[principal] += 1
        try:
            yield
        finally:
            self._running[principal] -= 1
            if not self._running[principal]:  # whoever has nothing running takes no memory
                del self._running[principal]
