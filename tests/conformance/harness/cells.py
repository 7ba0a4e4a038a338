"""What is run: each cell is one way from a client of an era to an upstream of an era."""

from dataclasses import dataclass
from enum import StrEnum

from everything.eras import Era

REVISIONS = {Era.MODERN: "2026-07-28", Era.LEGACY: "2025-11-25"}


class Way(StrEnum):
    """What stands between the suite and the upstream."""

    DIRECT = "direct"
    EDGE = "edge"
    BALANCER = "balancer"


@dataclass(frozen=True)
class Cell:
    """A client that speaks ``client``, an upstream that speaks ``upstream``, and what is between them."""

    name: str
    client: Era
    upstream: Era
    way: Way

    @property
    def revision(self) -> str:
        """The revision whose required scenarios are run."""
        return REVISIONS[self.client]


def cells(replicas: int) -> list[Cell]:
    """All of them; those of several replicas only when there are some."""
    modern, legacy = Era.MODERN, Era.LEGACY
    found = [
        Cell("direct_modern", modern, modern, Way.DIRECT),
        Cell("direct_legacy", legacy, legacy, Way.DIRECT),
        Cell("modern_modern", modern, modern, Way.EDGE),
        Cell("legacy_legacy", legacy, legacy, Way.EDGE),
        Cell("modern_client_legacy_upstream", modern, legacy, Way.EDGE),
        Cell("legacy_client_modern_upstream", legacy, modern, Way.EDGE),
    ]
    if replicas > 1:
        found.append(Cell(f"modern_modern_{replicas}_replicas", modern, modern, Way.BALANCER))
        found.append(Cell(f"legacy_legacy_{replicas}_replicas", legacy, legacy, Way.BALANCER))
    return found
