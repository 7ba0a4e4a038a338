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

    ``source`` names the header that ``user`` comes from. With ``trouble`` nothing else counts. With ``tokens_off`` a
    token counts for nothing here, and ``missing`` is why nothing else was shown either.
    """

    certificate: PeerCertificate | None = None
    user: str | None = None
    organization: str | None = None
    source: str = ""
    trouble: InterlockError | None = None
    tokens_off: bool = False
    missing: InterlockError | None = None

    @property
    def organization_name(self) -> str | None:
        """The organization: as the certificate has it (O), or as the proxy says where it passed none on."""
        return self.certificate.organization if self.certificate is not None else self.organization


def shown_by(scope: Mapping[str, Any]) -> Shown | None:
    """What an ASGI request shows."""
    return scope.get(SHOWN)
