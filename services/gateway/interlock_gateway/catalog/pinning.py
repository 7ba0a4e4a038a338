"""What an upstream offers is pinned: what counts is the version that was accepted, until another is.

The first look accepts what it finds. Later, what differs from the accepted version is graded (``grading.py``) and
stands as the policy says; what returns to its accepted form is accepted again by itself. What vanishes stays
pinned, so that it cannot come back as something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from interlock_common.messages.catalog import Definition, DefinitionKind, Standing
from interlock_gateway.catalog.grading import Graded, grade
from interlock_gateway.upstreams.discovery.discovery import Discovered

type Treatment = Literal["quarantine", "warn", "accept"]
type Key = tuple[DefinitionKind, str]

KINDS: tuple[DefinitionKind, ...] = ("tool", "resource", "template", "prompt")
MAX_GONE = 1_000
"""How many definitions of an upstream are remembered that it does not have any more."""

_STANDINGS: dict[Treatment, Standing] = {"quarantine": "quarantined", "warn": "warned", "accept": "accepted"}
_NEVER_ACCEPTED = "it came after the upstream was registered and was never accepted"


@dataclass(frozen=True)
class Policy:
    """What is done with definitions that widened, that differ in texts only, and that are new."""

    widened: Treatment = "quarantine"
    described: Treatment = "warn"
    new: Treatment = "accept"

    def treatment(self, graded: Graded) -> Treatment:
        match graded.grade:
            case "widened":
                return self.widened
            case "description":
                return self.described
            case "form":
                return "accept"


@dataclass(frozen=True)
class Pinned:
    """A definition as it is now, and the version of it that was accepted; that is empty where none was.

    ``gone`` is when it vanished, in milliseconds; None while it is there.
    """

    kind: DefinitionKind
    name: str
    position: int
    definition: bytes
    digest: str
    standing: Standing
    reason: str
    accepted_digest: str
    accepted: bytes
    gone: int | None = None

    @property
    def key(self) -> Key:
        return self.kind, self.name

    def accept(self) -> "Pinned":
        """The same with its present version as the accepted one."""
        return replace(self, standing="accepted", reason="", accepted_digest=self.digest, accepted=self.definition)


@dataclass(frozen=True)
class Change:
    """What became of one definition; ``before`` is None for one that was not there, ``after`` for one that is not."""

    before: Pinned | None
    after: Pinned | None
    graded: Graded | None = None


@dataclass(frozen=True)
class Settled:
    """All pins after a look, and what changed."""

    pins: dict[Key, Pinned]
    changes: tuple[Change, ...]


def settle(before: Mapping[Key, Pinned], found: Discovered, policy: Policy, *, at: int, first: bool) -> Settled:
    """Hold what was ``found`` at the moment ``at`` against what is pinned; the ``first`` look accepts everything."""
    pins: dict[Key, Pinned] = {key: pin for key, pin in before.items() if key[0] not in found.asked}
    changes: list[Change] = []
    for kind in KINDS:
        if kind not in found.asked:
            continue
        for position, definition in enumerate(found.of(kind)):
            old = before.get((kind, definition.name))
            fresh = _fresh(kind, position, definition)
            pin, graded = (fresh.accept(), None) if first else _settled(old, fresh, policy)
            pins[pin.key] = pin
            if old is None or old.gone is not None or _differs(old, pin):
                changes.append(Change(old if old is None or old.gone is None else None, pin, graded))
    for key, old in before.items():
        if key not in pins:
            pins[key] = old if old.gone is not None else replace(old, gone=at)
            if old.gone is None:
                changes.append(Change(old, None))
    return Settled(_within_bounds(pins), tuple(changes))


def _fresh(kind: DefinitionKind, position: int, definition: Definition) -> Pinned:
    return Pinned(
        kind, definition.name, position, bytes(definition.definition), definition.digest, "accepted", "", "", b""
    )


def _settled(old: Pinned | None, fresh: Pinned, policy: Policy) -> tuple[Pinned, Graded | None]:
    if old is None or not old.accepted_digest:
        if policy.new == "accept":
            return fresh.accept(), None
        return replace(fresh, standing=_STANDINGS[policy.new], reason=_NEVER_ACCEPTED), None
    if old.accepted_digest == fresh.digest:
        return fresh.accept(), None
    graded = grade(fresh.kind, old.accepted, fresh.definition)
    treatment = policy.treatment(graded)
    if treatment == "accept":
        return fresh.accept(), graded
    reason = f"{graded.grade}: {'; '.join(graded.reasons)}"
    kept = replace(fresh, accepted_digest=old.accepted_digest, accepted=old.accepted)
    return replace(kept, standing=_STANDINGS[treatment], reason=reason), graded


def _differs(old: Pinned, new: Pinned) -> bool:
    return (old.digest, old.standing, old.reason) != (new.digest, new.standing, new.reason)


def _within_bounds(pins: dict[Key, Pinned]) -> dict[Key, Pinned]:
    gone = sorted((pin.gone, pin.key) for pin in pins.values() if pin.gone is not None)
    for _, key in gone[: max(0, len(gone) - MAX_GONE)]:
        del pins[key]
    return pins
