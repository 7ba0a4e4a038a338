"""Who is called what where several want the same name: nobody takes a name over, and the order of arrival is nothing.

Each holder has a few names, from the one it would like to one that only it can have. Whoever finds another at its name
takes its next one and keeps its claim to the one before, so that this name stays nobody's. Claims only ever add up, so
every edge comes to the same names, whatever it learnt first.
"""

from collections import deque
from collections.abc import Iterable


class Claim[T]:
    """The names that ``holder`` may get, best first; ``chosen`` says that somebody chose the first for it.

    A chosen name gives way to another that was chosen only. The last name must be nobody else's last name.
    """

    __slots__ = ("chosen", "holder", "level", "names")

    def __init__(self, holder: T, names: tuple[str, ...], *, chosen: bool = False) -> None:
        self.holder = holder
        self.names = names
        self.chosen = chosen
        self.level = 0

    @property
    def name(self) -> str:
        return self.names[self.level]

    def insists(self, name: str) -> bool:
        return name == self.names[-1] or (self.chosen and name == self.names[0])

    def yields(self, claimants: Iterable["Claim[T]"]) -> bool:
        """Whether it takes its next name because of the others who claim the one it has."""
        if self.name == self.names[-1]:
            return False
        others = (other for other in claimants if other is not self)
        if self.insists(self.name):
            return any(other.insists(self.name) for other in others)
        return any(True for _ in others)


class Claims[T]:
    """All claims to the names of one kind."""

    def __init__(self) -> None:
        self._claimants: dict[str, set[Claim[T]]] = {}

    def change(self, removed: Iterable[Claim[T]], added: Iterable[Claim[T]]) -> list[Claim[T]]:
        """Take claims away and others in; answers those that were added or may have another name now.

        The work is in proportion to them, and to the claims that have to do with them.
        """
        removed = set(removed)
        again = self._entangled(removed)
        for claim in again:
            self._withdraw(claim)
        touched = dict.fromkeys((*(again - removed), *added))
        pending = deque(self._claimed(claim) for claim in touched)
        while pending:
            name = pending.popleft()
            claimants = self._claimants[name]
            moving = [claim for claim in claimants if claim.name == name and claim.yields(claimants)]
            for claim in moving:
                claim.level += 1
                touched[claim] = None
                pending.append(self._claimed(claim))
        return list(touched)

    def _claimed(self, claim: Claim[T]) -> str:
        self._claimants.setdefault(claim.name, set()).add(claim)
        return claim.name

    def _withdraw(self, claim: Claim[T]) -> None:
        for name in claim.names[: claim.level + 1]:
            claimants = self._claimants[name]
            claimants.discard(claim)
            if not claimants:
                del self._claimants[name]
        claim.level = 0

    def _entangled(self, claims: set[Claim[T]]) -> set[Claim[T]]:
        """``claims``, and whoever has its name because of them, or of whoever has its own because of them."""
        found, pending = set(claims), list(claims)
        while pending:
            claim = pending.pop()
            for name in claim.names[: claim.level + 1]:
                others = self._claimants[name] - found
                found |= others
                pending.extend(others)
        return found
