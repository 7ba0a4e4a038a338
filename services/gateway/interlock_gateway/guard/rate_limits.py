"""How often somebody may ask: per principal, token, certificate and client address, at all edges together.

A request is counted twice: for its address before anything else is looked at, and for its caller once that is known.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interlock_common.clock import Clock
from interlock_common.errors import TooManyRequests
from interlock_gateway.guard.buckets import ONE, Buckets, Rate

PRINCIPAL, TOKEN, CERTIFICATE, ADDRESS, LOGIN = "principal", "token", "certificate", "address", "login"
KINDS = (PRINCIPAL, TOKEN, CERTIFICATE, ADDRESS, LOGIN)
COUNTED = "interlock.counted"
"""Where the scope of a request keeps its ``Counted``."""
_NOTED = Rate(0.1, 1)


class RateLimited(TooManyRequests):
    """Over a rate limit; ``noted`` is False where a refusal of the same key was recorded in the last seconds."""

    code = "rate_limited"
    noted = True


@dataclass(slots=True)
class Counted:
    """The tightest limit that a request was counted against."""

    of: "Limit | None" = None
    left: float = 0.0

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """``RateLimit-*`` (draft-ietf-httpapi-ratelimit-headers-07); reset is the time until the bucket is full."""
        limit = self.of
        if limit is None:
            return ()
        left = int(self.left + 1 - ONE) if self.left > 0 else 0
        return (
            limit.burst,
            (b"ratelimit-remaining", b"%d" % left),
            (b"ratelimit-reset", b"%d" % math.ceil(limit.buckets.until_full(self.left))),
            limit.policy,
        )


class Limit:
    """One kind of key and its buckets."""

    __slots__ = ("buckets", "burst", "kind", "policy")

    def __init__(self, kind: str, buckets: Buckets) -> None:
        self.kind = kind
        self.buckets = buckets
        rate, burst = buckets.limit.rate, buckets.limit.burst
        self.burst = (b"ratelimit-limit", b"%d" % burst)
        window = math.ceil(burst / rate)
        self.policy = (b"ratelimit-policy", f'{burst};w={window};comment="{kind}"'.encode())


class RateLimits:
    """All limits of one edge; kinds that ``rates`` does not have are not limited."""

    def __init__(self, rates: Mapping[str, Rate | None], clock: Clock) -> None:
        self._clock = clock
        self._wake: Callable[[], None] | None = None
        self._limits = {
            kind: Limit(kind, Buckets(rate, clock, wake=self._woken))
            for kind, rate in rates.items()
            if rate is not None
        }
        self._principal = self._limits.get(PRINCIPAL)
        self._token = self._limits.get(TOKEN)
        self._certificate = self._limits.get(CERTIFICATE)
        self._address = self._limits.get(ADDRESS)
        self._login = self._limits.get(LOGIN)
        self._noted = Buckets(_NOTED, clock)

    def count_address(self, address: str, counted: Counted | None = None, *, login: bool = False) -> None:
        """Count a request of a client address; raises RateLimited when there were too many."""
        now = self._clock.monotonic()
        if self._address is not None:
            self._count(self._address, address, now, counted)
        if login and self._login is not None:
            self._count(self._login, address, now, counted)

    def count_caller(
        self, principal: str, token_id: str, counted: Counted | None = None, *, certificate: str = ""
    ) -> None:
        """Count a request of an authenticated caller, whose ``certificate`` is its common name.

        Raises RateLimited when there were too many; then none of its limits is charged.
        """
        now = self._clock.monotonic()
        if self._principal is not None:
            self._count(self._principal, principal, now, counted)
        try:
            if self._token is not None:
                self._count(self._token, token_id, now, counted)
        except RateLimited:
            _give_back(self._principal, principal)
            raise
        if certificate and self._certificate is not None:
            try:
                self._count(self._certificate, certificate, now, counted)
            except RateLimited:
                _give_back(self._principal, principal)
                _give_back(self._token, token_id)
                raise

    def _count(self, limit: Limit, key: str, now: float, counted: Counted | None) -> None:
        left = limit.buckets.take(key, now)
        if left < ONE:
            if counted is not None:
                counted.of, counted.left = limit, left
            raise self._refused(limit, key, left, now)
        left -= 1
        if counted is not None and (counted.of is None or left < counted.left):
            counted.of, counted.left = limit, left

    def _refused(self, limit: Limit, key: str, left: float, now: float) -> RateLimited:
        rate = limit.buckets.limit
        error = RateLimited(
            f"too many requests of one {limit.kind}: {rate.rate:g} a second, {rate.burst} at once",
            retry_after=max(1, math.ceil(limit.buckets.wait(left))), limit=limit.kind,
        )  # fmt: skip
        named = f"{limit.kind} {key}"
        error.noted = self._noted.take(named, now) >= ONE
        return error

    def left(self, kind: str, key: str) -> float:
        """The tokens that ``key`` has at this moment, as far as this edge knows; any number where there is no limit."""
        limit = self._limits.get(kind)
        return limit.buckets.left(key, self._clock.monotonic()) if limit is not None else math.inf

    def on_much_used(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when a key has used so much that other edges should learn of it soon."""
        self._wake = wake

    def collect(self) -> dict[str, dict[str, int]]:
        """What was taken since the last time, by kind and key."""
        found = {kind: limit.buckets.collect() for kind, limit in self._limits.items()}
        return {kind: used for kind, used in found.items() if used}

    def taken_elsewhere(self, kind: str, used: Mapping[str, int]) -> None:
        """Take off what another edge gave out; kinds that are not limited here do not matter."""
        limit = self._limits.get(kind)
        if limit is not None:
            for key, count in used.items():
                limit.buckets.taken_elsewhere(key, count)

    def _woken(self) -> None:
        if self._wake is not None:
            self._wake()


def _give_back(limit: Limit | None, key: str) -> None:
    if limit is not None:
        limit.buckets.give_back(key)


def unlimited(clock: Clock) -> RateLimits:
    """Limits that limit nothing."""
    return RateLimits({}, clock)
