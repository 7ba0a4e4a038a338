"""Tokens that work only with their certificate (RFC 8705, section 3), also after it was renewed.

The holder of a certificate names its successor; the successor then stands in for it wherever a token is bound to it.
"""

import hmac
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from interlock_common.messages.certs import Successor
from interlock_gateway.certificates.errors import CertificateRevoked, TokenBound
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


class Predecessors:
    """The bucket of successors the other way round: which certificates one follows."""

    def __init__(self) -> None:
        self._successor: dict[str, str] = {}
        self._followed: dict[str, set[str]] = {}

    def take(self, key: str, successor: Successor | None) -> None:
        """Follow a change of the bucket."""
        before = self._successor.pop(key, None)
        if before is not None:
            left = self._followed[before]
            left.discard(key)
            if not left:
                del self._followed[before]
        if successor is not None:
            self._successor[key] = successor.thumbprint
            self._followed.setdefault(successor.thumbprint, set()).add(key)

    def of(self, thumbprint: str) -> frozenset[str]:
        return frozenset(self._followed.get(thumbprint, ()))


@dataclass(frozen=True, slots=True)
class Presented:
    """The thumbprint of the certificate that a request shows, and of those that it stands in for."""

    thumbprint: str | None = None
    succeeds: tuple[str, ...] = ()


class Bindings:
    """Says whether a bound token may be used with what was shown."""

    def __init__(
        self, standing: Standing, successors: Successors | None = None, predecessors: Predecessors | None = None
    ) -> None:
        self._standing = standing
        self._successors = NoSuccessors() if successors is None else successors
        self._predecessors = predecessors or Predecessors()

    def succeeded_by(self, thumbprint: str) -> tuple[str, ...]:
        """The certificates that this one follows, the nearest first; none that was revoked, or is behind such a one."""
        found: dict[str, None] = {}
        waiting = deque([thumbprint])
        while waiting:
            for each in sorted(self._predecessors.of(waiting.popleft())):
                if each in found or each == thumbprint or len(found) >= _MAX_RENEWALS:
                    continue
                try:
                    self._standing.check_bound(each)
                except CertificateRevoked:
                    continue
                found[each] = None
                waiting.append(each)
        return tuple(found)

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
