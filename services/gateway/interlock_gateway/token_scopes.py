"""What a token is limited to besides its permissions: from where it counts, when, and how often.

A token without such limits costs two lookups.
"""

from dataclasses import dataclass
from typing import Protocol

from interlock_common.messages.auth import NarrowedScopes, Scopes
from interlock_common.restrictions import UNRESTRICTED, RestrictionRefused, Restrictions, address_of, restrictions_of
from interlock_gateway.errors import ScopeAddress, ScopeTime, TokenMalformed
from interlock_gateway.usage import Uses


class Narrowed(Protocol):
    """The mirror of the scopes that were narrowed after their tokens were minted."""

    def get(self, key: str, /) -> NarrowedScopes | None: ...


class NothingNarrowed:
    """For an edge, or a test, where no token's scopes were changed."""

    def get(self, _key: str, /) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Limits:
    """The scopes of a token, ready to be decided by."""

    scopes: Scopes
    restrictions: Restrictions

    @property
    def none(self) -> bool:
        return self.restrictions is UNRESTRICTED and self.scopes.usage_limits is None


def limits_of(scopes: Scopes) -> Limits:
    """Raises TokenMalformed for scopes that could not be enforced."""
    try:
        return Limits(scopes, restrictions_of(scopes))
    except RestrictionRefused as error:
        raise TokenMalformed(f"the token has a scope that nobody can enforce: {error.detail}") from None


class ScopeGate:
    """Lets a token in, or says which of its scopes keeps it out."""

    def __init__(self, uses: Uses, narrowed: Narrowed | None = None) -> None:
        self.uses = uses
        self._narrowed = narrowed or NothingNarrowed()
        self._compiled: dict[str, tuple[NarrowedScopes, Limits]] = {}

    def limits(self, token_id: str, minted: Limits) -> Limits:
        """The scopes of a token as they are now: as it was minted, or as they were narrowed since."""
        narrowed = self._narrowed.get(token_id)
        if narrowed is None:
            return minted
        known = self._compiled.get(token_id)
        if known is None or known[0] is not narrowed:
            if len(self._compiled) >= _MOST_COMPILED:
                self._compiled.clear()
            known = self._compiled[token_id] = (narrowed, limits_of(narrowed.scopes))
        return known[1]

    def admit(self, token_id: str, limits: Limits, address: str | None, now: float) -> float | None:
        """Until when the token counts, by its scopes; None is no end. Raises the refusal that is due."""
        if limits.none:
            return None
        restrictions, usage = limits.restrictions, limits.scopes.usage_limits
        if restrictions.networks is not None and not restrictions.lets_in(address_of(address or "")):
            raise ScopeAddress("the token does not count from this address")
        ends = None
        if restrictions.window is not None and (ends := restrictions.window.ends(now)) is None:
            raise ScopeTime("the token does not count at this time")
        if usage is not None:
            self.uses.check(token_id, usage, now)
        return ends


_MOST_COMPILED = 10_000
