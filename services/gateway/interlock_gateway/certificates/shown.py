"""What a request shows besides a token: a certificate, or the word of a trusted proxy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interlock_common.errors import InterlockError
from interlock_gateway.certificates.peer import PeerCertificate

SHOWN = "interlock.shown"
"""Where the scope of a request keeps its ``Shown``; it is not there where nothing was shown."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The client's certificate, who it is in the words of a trusted proxy, and what is wrong with either.

    ``vouched`` says that a trusted proxy has verified the certificate, not this edge. With ``trouble`` nothing else
    counts. With ``tokens_off`` a token counts for nothing here, and ``missing`` is why nothing else was shown either.
    """

    certificate: PeerCertificate | None = None
    user: str | None = None
    organization: str | None = None
    vouched: bool = False
    trouble: InterlockError | None = None
    tokens_off: bool = False
    missing: InterlockError | None = None


def shown_by(scope: Mapping[str, Any]) -> Shown | None:
    """What an ASGI request shows."""
    return scope.get(SHOWN)


def fingerprint_of(scope: Mapping[str, Any]) -> str | None:
    """The certificate that came with a request, for its record."""
    shown = shown_by(scope)
    return None if shown is None or shown.certificate is None else shown.certificate.fingerprint
