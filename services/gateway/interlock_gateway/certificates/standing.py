"""Whether a certificate still counts: asked for every request, out of memory."""

import base64
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

from interlock_common.clock import Clock
from interlock_common.messages.certs import RevokedCertificate
from interlock_common.messages.revocation import selector_key
from interlock_gateway.certificates.errors import CertificateExpired, CertificateRevoked
from interlock_gateway.certificates.peer import PeerCertificate

_REMEMBERED = 10_000


class Check(Protocol):
    """One more reason for which a certificate may not count, such as a CRL."""

    def check(self, peer: PeerCertificate) -> None:
        """Raise a CertificateRefused where there is one."""
        ...


class RevokedCertificates:
    """The bucket of revoked certificates, by issuer and serial number and by fingerprint."""

    def __init__(self) -> None:
        self._by_key: dict[str, RevokedCertificate] = {}
        self._fingerprints: dict[str, str] = {}

    def take(self, key: str, revoked: RevokedCertificate | None) -> None:
        """Follow a change of the bucket."""
        before = self._by_key.pop(key, None)
        if before is not None:
            self._fingerprints.pop(before.fingerprint, None)
        if revoked is not None:
            self._by_key[key] = revoked
            if revoked.fingerprint:
                self._fingerprints[revoked.fingerprint] = key

    def covers(self, peer: PeerCertificate) -> bool:
        return peer.fingerprint in self._fingerprints or peer.key in self._by_key

    def covers_fingerprint(self, fingerprint: str) -> bool:
        """Of a certificate that is known by its fingerprint only."""
        return fingerprint in self._fingerprints


class Standing:
    """Every reason for which a verified certificate does not count.

    ``moments`` are the selectors of the bucket of revocations, as ``RevocationSet.before``, asked anew each time.
    """

    def __init__(
        self,
        clock: Clock,
        revoked: RevokedCertificates,
        moments: Callable[[], Mapping[str, int]] = dict,
        checks: tuple[Check, ...] = (),
    ) -> None:
        self._clock = clock
        self._revoked = revoked
        self._moments = moments
        self._checks = checks

    def check(self, peer: PeerCertificate) -> None:
        """Raise the CertificateRefused that is due."""
        now = self._clock.time()
        if peer.not_after <= now:
            raise CertificateExpired("the client certificate has expired")
        if peer.not_before > now:
            raise CertificateExpired("the client certificate is not valid yet")
        if self._revoked.covers(peer):
            raise CertificateRevoked("the client certificate has been revoked")
        moments = self._moments()
        if moments and peer.not_before < moments.get(_selector(peer.thumbprint), 0):
            raise CertificateRevoked("the client certificate has been revoked")
        for each in self._checks:
            each.check(peer)

    def check_bound(self, thumbprint: str) -> None:
        """Raise CertificateRevoked for a certificate that is known by its thumbprint only, as of a bound token."""
        if self._revoked.covers_fingerprint(_fingerprint(thumbprint)):
            raise CertificateRevoked("the certificate that the token is bound to has been revoked")


@lru_cache(_REMEMBERED)
def _selector(thumbprint: str) -> str:
    return selector_key("certificate", thumbprint)


@lru_cache(_REMEMBERED)
def _fingerprint(thumbprint: str) -> str:
    """``sha256:<hex>`` of what RFC 8705 writes in base64url; empty for what is no SHA-256."""
    try:
        digest = base64.urlsafe_b64decode(thumbprint + "=")
    except ValueError:
        return ""
    return f"sha256:{digest.hex()}"
