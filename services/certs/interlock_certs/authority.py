"""The certificate authority: a root, an issuing CA below it, and the leaves it signs. Only this module has CA keys.

A leaf takes nothing from its request but the public key: what it is called is decided here, since the bus maps
the names of a leaf to the permissions of a service.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp

from interlock_certs import profiles
from interlock_certs.errors import AuthorityUnusable
from interlock_certs.profiles import Validity
from interlock_certs.requests import requested_key
from interlock_common.clock import Clock
from interlock_common.enrolment import key_pem, new_key
from interlock_common.messages.access import spiffe_id
from interlock_common.tls import write_atomically

_log = structlog.get_logger()
_BACKDATED = timedelta(minutes=1)
_ROOT, _ISSUING, _PREVIOUS, _CREATING = "root", "issuing", "previous", "creating"
_SHA256 = hashes.SHA256()


@dataclass(frozen=True)
class Leaf:
    """An issued certificate and the CA certificate that verifies it."""

    identity: str
    certificate: x509.Certificate
    issuer: x509.Certificate

    @property
    def chain_pem(self) -> bytes:
        """Leaf first, without the root."""
        return self.certificate.public_bytes(Encoding.PEM) + self.issuer.public_bytes(Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        return "sha256:" + self.certificate.fingerprint(_SHA256).hex()

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc


@dataclass(frozen=True)
class Lifetimes:
    root: timedelta
    issuing: timedelta


@dataclass(frozen=True)
class _Signer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Authority:
    """Root and issuing CA of one trust domain, kept as PEM files (keys with mode 600) in one folder.

    ``root.key`` may be taken away and kept offline; it is needed again when the issuing CA has passed two thirds
    of its lifetime, to sign the next one.
    """

    def __init__(self, directory: Path, trust_domain: str, lifetimes: Lifetimes, clock: Clock) -> None:
        self._directory = directory
        self._trust_domain = trust_domain
        self._lifetimes = lifetimes
        self._clock = clock
        self._root = _read_certificate(directory / f"{_ROOT}.crt")
        self._issuing = self._load_issuing()
        self._previous = self._load_previous()

    @classmethod
    def open(cls, directory: Path, trust_domain: str, lifetimes: Lifetimes, clock: Clock) -> "Authority":
        """The authority in ``directory``, created there when the folder has none.

        Raises AuthorityUnusable when its files are incomplete or do not belong together: a CA is never quietly
        replaced. Only a first start that was interrupted, before anything was issued, starts over.
        """
        creating = directory / _CREATING
        try:
            found = [directory / f"{name}.{kind}" for name in (_ROOT, _ISSUING) for kind in ("crt", "key")]
            if creating.exists() or not any(file.exists() for file in found):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                creating.touch(mode=0o600)
                _create_root(directory, trust_domain, lifetimes.root, clock)
                authority = cls(directory, trust_domain, lifetimes, clock)
                creating.unlink()
                return authority
            return cls(directory, trust_domain, lifetimes, clock)
        except OSError as error:
            raise AuthorityUnusable(f"CA_DIR {directory} cannot be used: {error.strerror} ({error.filename})") from None

    @property
    def bundle_pem(self) -> bytes:
        """The roots that count in this deployment."""
        return self._root.public_bytes(Encoding.PEM)

    @property
    def root(self) -> x509.Certificate:
        return self._root

    @property
    def issuers(self) -> list[x509.Certificate]:
        """The issuing CAs whose leaves may still count: that of the moment, and the one before it."""
        return [signer.certificate for signer in self._signers]

    def sign_crl(
        self, issuer: x509.Certificate, builder: x509.CertificateRevocationListBuilder
    ) -> x509.CertificateRevocationList:
        """Sign a CRL with the key of ``issuer``, one of ``issuers``."""
        return builder.sign(self._key_of(issuer), _SHA256)

    def sign_ocsp(self, issuer: x509.Certificate, builder: ocsp.OCSPResponseBuilder) -> ocsp.OCSPResponse:
        """Sign an OCSP response with the key of ``issuer``, one of ``issuers``."""
        return builder.sign(self._key_of(issuer), _SHA256)

    @property
    def certificates(self) -> list[x509.Certificate]:
        """Issuing CA and root, for EST ``cacerts``."""
        return [self._issuing.certificate, self._root]

    def issue(self, identity: str, csr: bytes, lifetime: timedelta, names: Sequence[str] = ()) -> Leaf:
        """A leaf for the key of a request (RFC 2986), called ``identity`` and, for listeners, ``names``.

        Raises RequestRejected that says which rule the request breaks.
        """
        key = requested_key(csr)
        signer = self._signer_of_the_moment()
        now, ca = self._clock.now(), signer.certificate
        # Backdated for peers whose clock is behind, but a leaf of seconds must not be half over when it is born.
        begin = max(now - min(_BACKDATED, lifetime / 10), ca.not_valid_before_utc)
        end = min(now + lifetime, ca.not_valid_after_utc)
        name = spiffe_id(self._trust_domain, identity)
        certificate = profiles.leaf(name, names, ca, key, Validity(begin, end)).sign(signer.key, _SHA256)
        return Leaf(identity, certificate, ca)

    def _signer_of_the_moment(self) -> _Signer:
        if self._is_due(self._issuing.certificate):
            self._issuing = self._renew_issuing(self._issuing)
        return self._issuing

    def _is_due(self, issuing: x509.Certificate) -> bool:
        lifetime = issuing.not_valid_after_utc - issuing.not_valid_before_utc
        return self._clock.now() >= issuing.not_valid_before_utc + lifetime * (2 / 3)

    @property
    def _signers(self) -> list[_Signer]:
        return [self._issuing, *([self._previous] if self._previous is not None else [])]

    def _key_of(self, issuer: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        return next(signer.key for signer in self._signers if signer.certificate == issuer)

    def _load_previous(self) -> _Signer | None:
        """The issuing CA before this one: its leaves still count, and so it still says which of them are revoked."""
        if not (self._directory / f"{_PREVIOUS}.crt").exists():
            return None
        return _read_signer(self._directory, _PREVIOUS, issuer=self._root)

    def _load_issuing(self) -> _Signer:
        """The issuing CA of the folder; a new one when that is not usable but the root key is there."""
        try:
            return _read_signer(self._directory, _ISSUING, issuer=self._root)
        except AuthorityUnusable as error:
            if not (self._directory / f"{_ROOT}.key").exists():
                raise
            _log.warning("making a new issuing CA", reason=error.detail)
            return self._create_issuing()

    def _renew_issuing(self, old: _Signer) -> _Signer:
        if (self._directory / f"{_ROOT}.key").exists():
            _write(self._directory, _PREVIOUS, old)
            self._previous = old
            return self._create_issuing()
        _log.warning("the issuing CA is due and root.key is not in CA_DIR to sign the next one",
                     not_after=old.certificate.not_valid_after_utc.isoformat())  # fmt: skip
        if self._clock.now() >= old.certificate.not_valid_after_utc:
            raise AuthorityUnusable(f"the issuing CA has expired: put root.key back into CA_DIR {self._directory}")
        return old

    def _create_issuing(self) -> _Signer:
        root = _read_signer(self._directory, _ROOT, issuer=self._root)
        key, now = new_key(), self._clock.now()
        begin = max(now - _BACKDATED, self._root.not_valid_before_utc)
        validity = Validity(begin, min(now + self._lifetimes.issuing, self._root.not_valid_after_utc))
        name = profiles.name(self._trust_domain, "Issuing CA")
        certificate = profiles.issuing(name, self._root, key.public_key(), validity).sign(root.key, _SHA256)
        _write(self._directory, _ISSUING, _Signer(certificate, key))
        _log.info("issuing CA created", not_after=certificate.not_valid_after_utc.isoformat())
        return _Signer(certificate, key)


def _create_root(directory: Path, trust_domain: str, lifetime: timedelta, clock: Clock) -> None:
    key, now = new_key(), clock.now()
    validity = Validity(now - _BACKDATED, now + lifetime)
    certificate = profiles.root(profiles.name(trust_domain, "Root CA"), key.public_key(), validity).sign(key, _SHA256)
    _write(directory, _ROOT, _Signer(certificate, key))
    _log.info("root CA created", not_after=certificate.not_valid_after_utc.isoformat())


def _write(directory: Path, name: str, signer: _Signer) -> None:
    write_atomically(directory / f"{name}.key", key_pem(signer.key), private=True)
    write_atomically(directory / f"{name}.crt", signer.certificate.public_bytes(Encoding.PEM), private=False)


def _read_signer(directory: Path, name: str, *, issuer: x509.Certificate) -> _Signer:
    certificate, path = _read_certificate(directory / f"{name}.crt"), directory / f"{name}.key"
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuthorityUnusable(f"{path} holds no unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityUnusable(f"{path} is not the key of {name}.crt")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise AuthorityUnusable(f"{directory / name}.crt is not issued by {_ROOT}.crt") from None
    return _Signer(certificate, key)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError:
        raise AuthorityUnusable(f"{path} holds no PEM certificate") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuthorityUnusable(f"{path} cannot be read: {error.strerror}; restore it from its backup") from None
