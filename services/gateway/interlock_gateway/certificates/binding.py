"""Tokens that work only with their certificate (RFC 8705, section 3), also after it was renewed.

The holder of a certificate names its successor; the successor then stands in for it wherever a token is bound to it.
"""

import hmac
from typing import Protocol

from interlock_common.messages.certs import Successor
from interlock_gateway.certificates.errors import TokenBound
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.standing import Standing

_MAX_RENEWALS = 64
"""How often a certificate may be renewed in the life of one token."""


class Successors(Protocol):
    """The bucket of successors, by the thumbprint of the certificate that was renewed."""

    def get(self, key: str, /) -> Successor | None: ...


class NoSuccessors:
    """For an edge, or a test, where no certificate was renewed."""

    def get(self, _key: str, /) -> None:
        return None


class Bindings:
    """Says whether a bound token may be used with what was shown."""

    def __init__(self, standing: Standing, successors: Successors | None = None) -> None:
        self._standing = standing
        self._successors = NoSuccessors() if successors is None else successors

    def check(self, bound: str, peer: PeerCertificate | None) -> None:
        """Raise TokenBound unless ``peer`` is the certificate ``bound`` (x5t#S256), or follows it.

        Raises CertificateRevoked where the one it is bound to, or one in between, was revoked.
        """
        self._standing.check_bound(bound)
        if peer is None:
            raise TokenBound("the token is bound to a certificate, and none was shown")
        thumbprint = bound
        for _ in range(_MAX_RENEWALS):
            if hmac.compare_digest(thumbprint.encode(), peer.thumbprint.encode()):
                return
            successor = self._successors.get(thumbprint)
            if successor is None:
                break
            thumbprint = successor.thumbprint
            self._standing.check_bound(thumbprint)
        raise TokenBound("the token is bound to another certificate than the one that was shown")
