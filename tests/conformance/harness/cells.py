"""What is run: each cell is one way from a client of an era to an upstream of an era."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from everything.eras import Era
from harness.suite import Suite

REVISIONS = {Era.MODERN: "2026-07-28", Era.LEGACY: "2025-11-25"}

CLIENT_SCENARIOS: tuple[tuple[str, str], ...] = (
    ("2025-11-25", "initialize"),
    ("2025-11-25", "tools_call"),
    ("2025-11-25", "elicitation-sep1034-client-defaults"),
    ("2025-11-25", "sse-retry"),
    ("2026-07-28", "tools_call"),
    ("2026-07-28", "request-metadata"),
    ("2026-07-28", "sep-2322-client-request-state"),
    ("2026-07-28", "http-standard-headers"),
    ("2026-07-28", "http-custom-headers"),
    ("2026-07-28", "http-invalid-tool-headers"),
    ("2026-07-28", "json-schema-ref-no-deref"),
)
"""The scenarios of the client leg without those of OAuth: what the gateway is toward its upstreams."""

EXCUSED: Mapping[str, Mapping[str, str]] = {
    "modern_client_legacy_upstream": {
        "input-required-result-basic-elicitation": "the server chooses the key of a request, and a legacy one has none",
    },
}
"""By cell: scenarios that cannot be passed, each with the reason in the specification (docs/conformance.md)."""


class Way(StrEnum):
    """What stands between the suite and the upstream; for ``client`` the suite itself is the upstream."""

    DIRECT = "direct"
    EDGE = "edge"
    BALANCER = "balancer"
    CLIENT = "client"


@dataclass(frozen=True)
class Cell:
    """A client that speaks ``client``, an upstream that speaks ``upstream``, and what is between them."""

    name: str
    client: Era
    upstream: Era
    way: Way

    @property
    def revision(self) -> str:
        """What the suite speaks in this cell."""
        return REVISIONS[self.client]

    def named(self, suite: Suite) -> list[tuple[str, str]]:
        """Revisions and scenarios that can be asked for by name; also those that the suite does not count."""
        if self.way is Way.CLIENT:
            return list(CLIENT_SCENARIOS)
        scenarios = [*suite.required(self.revision), *suite.unscored(self.revision)]
        return [(self.revision, scenario) for scenario in scenarios]


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
        Cell("client_suite", Era.BOTH, Era.BOTH, Way.CLIENT),
    ]
    if replicas > 1:
        found.append(Cell(f"modern_modern_{replicas}_replicas", modern, modern, Way.BALANCER))
        found.append(Cell(f"legacy_legacy_{replicas}_replicas", legacy, legacy, Way.BALANCER))
    return found
