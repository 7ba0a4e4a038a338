"""Whether a token still counts: asked for every request, out of memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from interlock_common.messages.revocation import EVERYTHING, selector_key
from interlock_common.revocation_set import Mark, RevocationSet, mark_of


@dataclass(frozen=True, slots=True)
class Traces:
    """By what a token can be revoked: itself, those it was exchanged from, and what it has in common with others.

    ``ids`` are the ids of the token and its parents, ``marks`` the same in memory's form, ``selectors`` the keys that
    concern it, ``kid`` names the key that signed it.
    """

    ids: tuple[str, ...]
    marks: tuple[Mark, ...]
    selectors: tuple[str, ...]
    issued_at: float
    kid: str


class Revocations:
    """What is revoked at this moment; ``held`` is asked anew each time, a resync replaces it."""

    def __init__(self, held: Callable[[], RevocationSet]) -> None:
        self._held = held

    def covers(self, traces: Traces, teams: Iterable[str]) -> bool:
        """Whether the token of ``traces``, of a member of ``teams``, is revoked."""
        held = self._held()
        if held.revokes(traces.marks):
            return True
        if not held.before:
            return False
        moments, issued_at = held.before, traces.issued_at
        if any(issued_at < moments.get(key, 0) for key in traces.selectors):
            return True
        return any(issued_at < moments.get(_team_key(team), 0) for team in teams)


def traces_of(
    token_id: str, parents: tuple[str, ...], *, principal: str, teams: tuple[str, ...], session: str | None,
    certificate: str | None, issued_at: float, kid: str,
) -> Traces:  # fmt: skip
    """The traces of a token, put together once when it is verified."""
    ids = (token_id, *parents)
    selectors = [EVERYTHING, selector_key("user", principal), *map(_team_key, teams)]
    if session is not None:
        selectors.append(selector_key("session", session))
    if certificate is not None:
        selectors.append(selector_key("certificate", certificate))
    return Traces(ids, tuple(map(mark_of, ids)), tuple(selectors), issued_at, kid)


@lru_cache(maxsize=4096)
def _team_key(team: str) -> str:
    return selector_key("team", team)
