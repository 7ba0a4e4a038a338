"""What no longer counts: selectors, the receipts of those who revoke, and what keeps every edge in step."""

from typing import Literal

import msgspec

from interlock_common.messages.auth import revocation_key
from interlock_common.messages.common import Actor

type Kind = Literal["token", "user", "team", "certificate", "session", "all"]

EVERYTHING = "all"
"""The key of the selector that covers every token."""

FOR_EVER = 2**53 - 1
"""A moment after every other: what is revoked until then is revoked whenever it was issued."""


class Selector(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which tokens: one by its id, or all of a user, team, certificate or session, or all there are.

    ``id`` is a token's ``jti``, an e-mail, the name of a team, ``x5t#S256`` of a certificate (RFC 8705, section 3.1) or
    a session's ``sid``; empty for ``all``.
    """

    kind: Kind
    id: str = ""


class Revoke(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.revocation.create``: what ``selector`` names stops counting at once, everywhere.

    Of all but one token, what was issued before ``before`` (seconds since the epoch; None: up to this moment).
    """

    actor: Actor
    selector: Selector
    before: int | None = None
    reason: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """Which edges have applied it: ``applied`` of ``of``, the slowest after ``max_ms``; ``late`` are named.

    ``revision`` is the sequence in the bucket. No edge that has applied it accepts what it covers.
    """

    id: str
    revision: int
    applied: int = 0
    of: int = 0
    max_ms: float = 0.0
    late: tuple[str, ...] = ()
    kind: Kind = "token"
    before: int = 0


class SelectorRevocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``revocations`` under every key but ``jti.…``: tokens issued before ``before`` do not count."""

    kind: Kind
    id: str
    before: int
    revoked_at: int
    reason: str = ""


class ReadRevoked(msgspec.Struct, frozen=True):
    """``svc.auth.revocation.read``: one of the 64 pages of what is revoked, for an edge that begins."""

    page: int


class RevokedPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bucket held when it had come to ``sequence``: token ids of 16 bytes, in shards of ``lengths`` bytes.

    ``texts`` are the ids that are no UUID, ``before`` the moments of the selectors by key.
    """

    sequence: int
    marks: bytes
    lengths: tuple[int, ...]
    texts: tuple[str, ...] = ()
    before: dict[str, int] = {}


class Heartbeat(msgspec.Struct, frozen=True):
    """``revocation.heartbeat``: what auth ``instance`` knows: the bucket up to ``sequence``, with this ``digest``.

    ``sent`` is in seconds of that instance's monotonic clock: only differences mean something.
    """

    instance: str
    sequence: int
    digest: str
    sent: float


class Confirmation(msgspec.Struct, frozen=True, omit_defaults=True):
    """``revocation.confirmed``: ``edge`` refuses what the bucket revokes up to ``sequence``.

    Said after each change, and for each heartbeat: so it also says that the edge is there. ``lease`` is after how many
    seconds without heartbeats it refuses by itself; ``leaving`` that it ends and needs not be waited for.
    """

    edge: str
    sequence: int
    lease: float
    leaving: bool = False


def selector_key(kind: Kind, subject: str) -> str:
    """The key of a selector in the bucket; hexadecimal, since names may hold what a key cannot."""
    if kind == "token":
        return revocation_key(subject)
    return EVERYTHING if kind == "all" else f"{kind}.{subject.encode().hex()}"
