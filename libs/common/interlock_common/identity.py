"""The identity of a service: a key, a certificate chain and the trust bundle, as three files in its own folder."""

import ssl
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.verification import VerificationError

from interlock_common import tls
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.messages.access import spiffe_id
from interlock_common.tls import UnusableIdentity


class Identity:
    """Who ``service`` is to the others (SPIFFE-ID); the files are read anew at each use."""

    def __init__(self, service: str, trust_domain: str, directory: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self.service = service
        self.directory = directory
        self.key_path = directory / "key.pem"
        self.cert_path = directory / "cert.pem"
        self.bundle_path = directory / "bundle.pem"
        self.clock = clock
        self._trust_domain = trust_domain

    @property
    def spiffe_id(self) -> str:
        return spiffe_id(self._trust_domain, self.service)

    @property
    def chain(self) -> list[x509.Certificate]:
        """The leaf first, without the root."""
        return tls.certificates(tls.read(self.cert_path), self.cert_path)

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def not_before(self) -> datetime:
        return self.leaf.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.leaf.not_valid_after_utc

    def problem(self) -> str | None:
        """Why the identity cannot be used at the moment, for health checks and logs."""
        try:
            self._check(tls.read(self.key_path), tls.read(self.cert_path), tls.read(self.bundle_path))
        except UnusableIdentity as error:
            return error.detail
        return None

    def is_usable(self) -> bool:
        """Whether the files are there, belong together, carry this name and count at this moment."""
        return self.problem() is None

    def client_context(self) -> ssl.SSLContext:
        """A new context that shows the leaf and verifies the server by the bundle."""
        return tls.client_context(self.bundle_path, self.cert_path, self.key_path)

    def server_context(self, *, client_certificates: ssl.VerifyMode) -> ssl.SSLContext:
        """A new context that shows the leaf and, if asked to, asks for a certificate that the bundle verifies."""
        return tls.server_context(
            self.bundle_path, self.cert_path, self.key_path, client_certificates=client_certificates
        )

    def install(self, key_pem: bytes, chain_pem: bytes, bundle_pem: bytes) -> None:
        """Check that the three belong together, then put them in place; on an error nothing has changed.

        The bundle goes first and the chain last. A process that dies in between leaves a key without its leaf,
        which ``is_usable`` tells, and the service joins again.
        """
        self._check(key_pem, chain_pem, bundle_pem)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            tls.write_atomically(self.bundle_path, bundle_pem, private=False)
            tls.write_atomically(self.key_path, key_pem, private=True)
            tls.write_atomically(self.cert_path, chain_pem, private=False)
        except OSError as error:
            raise UnusableIdentity(f"{error.filename or self.directory} cannot be written: {error.strerror}") from None

    def trust(self, bundle_pem: bytes) -> bool:
        """Put another trust bundle in place; answers whether it is another one. The leaf must be verified by it."""
        if tls.read(self.bundle_path) == bundle_pem:
            return False
        self.install(tls.read(self.key_path), tls.read(self.cert_path), bundle_pem)
        return True

    def is_verified_by(self, bundle_pem: bytes) -> bool:
        """Whether the leaf would count with another trust bundle; one that cannot be read counts nowhere."""
        try:
            leaf, *between = self.chain
            tls.verify(leaf, between, tls.certificates(bundle_pem, "the trust bundle"), self.clock.now())
        except (UnusableIdentity, VerificationError):
            return False
        return True

    def is_below(self, roots: Collection[str]) -> bool:
        """Whether the leaf is below one of these CAs, which are named by their key ids in hex."""
        return bool(roots) and not tls.authority_key_ids(self.chain).isdisjoint(roots)

    def _check(self, key_pem: bytes, chain_pem: bytes, bundle_pem: bytes) -> None:
        tls.check(key_pem, chain_pem, bundle_pem, self.clock.now(), self.spiffe_id, self.directory)
