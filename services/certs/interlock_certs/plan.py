"""What is decided about a CA before it is there: its names, lifetimes, keys, and what its leaves point to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509

from interlock_certs.ca_keys import KeyCare

type Root = Literal["made", "offline"]


@dataclass(frozen=True)
class Lifetimes:
    root: timedelta
    issuing: timedelta


@dataclass(frozen=True)
class Brought:
    """An enterprise chain: the root, the issuing CA (with what is between the two), and its key."""

    root: Path
    issuing: Path
    key: Path


@dataclass(frozen=True)
class Plan:
    """``pointers`` answers what goes into every leaf of an issuing CA, by its key id: where its revocation is told.

    RFC 5280, sections 4.2.1.13 and 4.2.2.1.
    """

    trust_domain: str
    lifetimes: Lifetimes
    care: KeyCare = field(default_factory=KeyCare)
    root: Root = "made"
    brought: Brought | None = None
    pointers: Callable[[str], Sequence[x509.ExtensionType]] = lambda _issuer: ()
