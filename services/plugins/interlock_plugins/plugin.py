"""What a plugin is: it looks at one payload and says continue, replace or deny."""

from dataclasses import dataclass
from typing import Protocol

from interlock_common.messages.plugins import Hook, HookContext
from interlock_plugins.document import Document


@dataclass(frozen=True, slots=True)
class Continue:
    """Nothing to object."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Go on with ``payload`` (raw JSON); ``detail`` is for the record and never holds what was removed."""

    payload: bytes
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """A violation: ``reason`` is shown to the caller, ``detail`` is for the record."""

    code: str
    reason: str
    detail: str = ""


type Outcome = Continue | Replace | Deny
CONTINUE = Continue()


class Plugin(Protocol):
    """Looks at payloads; one instance serves all calls, from several threads at a time.

    ``linear`` says that its time is linear in the payload, so that small payloads need no thread.
    """

    linear: bool

    def check(self, hook: Hook, document: Document, context: HookContext) -> Outcome: ...
