"""How much may run at once: so many calls for each principal, so many at each upstream."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from interlock_common.errors import TooManyRequests, Unavailable
from interlock_common.messages.catalog import Upstream


class TooManyCalls(TooManyRequests):
    code = "too_many_calls"


class UpstreamBusy(Unavailable):
    code = "upstream_busy"


class Concurrency:
    """Counts what runs in this edge; beyond a limit a call is refused at once rather than queued."""

    def __init__(self, *, per_principal: int, per_upstream: int) -> None:
        self._per_principal = per_principal
        self._per_upstream = per_upstream
        self._of_principals: Counter[str] = Counter()
        self._at_upstreams: Counter[str] = Counter()

    @contextmanager
    def taken(self, principal: str, upstream: Upstream) -> Generator[None]:
        """Take a place for one call; raises TooManyCalls or UpstreamBusy where there is none."""
        if self._of_principals[principal] >= self._per_principal:
            raise TooManyCalls(f"a principal has at most {self._per_principal} calls running", retry_after=1)
        limit = upstream.limits.concurrency or self._per_upstream
        if self._at_upstreams[upstream.id] >= limit:
            raise UpstreamBusy(f"upstream {upstream.name} has {limit} calls running already", retry_after=1)
        self._of_principals[principal] += 1
        self._at_upstreams[upstream.id] += 1
        try:
            yield
        finally:
            _give_back(self._of_principals, principal)
            _give_back(self._at_upstreams, upstream.id)


def _give_back(places: Counter[str], name: str) -> None:
    """A name without calls takes no memory."""
    places[name] -= 1
    if places[name] <= 0:
        del places[name]
