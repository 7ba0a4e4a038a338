"""What edges tell auth of the use of tokens, and what auth answers: how far tokens with a limit are used up."""

import msgspec


class TokenUse(msgspec.Struct, frozen=True):
    """So many requests with a token at one edge, up to ``last_at`` (seconds since the epoch)."""

    id: str
    count: int
    last_at: int


class ReportUses(msgspec.Struct, frozen=True):
    """``svc.auth.token.used``: the uses at one edge since its last report, of 1,000 tokens at most."""

    edge: str
    uses: tuple[TokenUse, ...]


class TokenStanding(msgspec.Struct, frozen=True):
    """How much a token was used at all edges; ``hour`` and ``day`` are counted from the epoch, in UTC."""

    id: str
    hour: int
    in_hour: int
    day: int
    in_day: int
    total: int


class UsesCounted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The report is counted; the standing of those of its tokens that have limits."""

    standings: tuple[TokenStanding, ...] = ()


class DayOfUse(msgspec.Struct, frozen=True):
    """The requests of one day of UTC, such as ``2026-11-21``."""

    day: str
    count: int


class TokenUsage(msgspec.Struct, frozen=True):
    """``svc.auth.token.usage``: how a token was used; ``last_used_at`` 0 is never."""

    id: str
    last_used_at: int
    total: int
    in_hour: int
    days: tuple[DayOfUse, ...]
