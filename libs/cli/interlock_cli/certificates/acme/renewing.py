"""Keeps ``cert.pem`` and ``key.pem`` of a folder fresh from an ACME server, and touches no pair of somebody else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from interlock_cli.certificates.acme.challenges import Responder
from interlock_cli.certificates.acme.server import Account, AcmeServer
from interlock_cli.certificates.errors import AcmeFailed, CertificateError, FileUnusable, NameRefused
from interlock_cli.certificates.files import Writing, is_there
from interlock_cli.certificates.keys import KeyForm, KeyType, PrivateKey, private_pem
from interlock_cli.certificates.names import alternative_name
from interlock_cli.certificates.pem import read_file
from interlock_cli.certificates.reading import certificates_in, read_certificate, read_key, require_match
from interlock_cli.certificates.text import fingerprint_of, names_of
from interlock_cli.certificates.workshop import Workshop, until

_DUE = 2 / 3
"""Of its lifetime a certificate is used before it is renewed."""


class Issued(msgspec.Struct, frozen=True):
    """``acme/issued.json``: which certificates are ours to replace."""

    server: str
    fingerprints: tuple[str, ...]


@dataclass(frozen=True)
class Renewal:
    """A pair in a folder, for names; with a passphrase its key is encrypted."""

    shop: Workshop
    folder: Path
    names: tuple[str, ...]
    responder: Responder
    passphrase: bytes | None = None

    @property
    def key_path(self) -> Path:
        return self.folder / "key.pem"

    @property
    def certificate_path(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def _issued_path(self) -> Path:
        return self.folder / "acme" / "issued.json"

    def without_force(self) -> "Renewal":
        writing = replace(self.shop.writing, force=False)
        return replace(self, shop=replace(self.shop, writing=writing))

    def run(self, connect: Callable[[], AcmeServer]) -> datetime:
        """Order a certificate where one is due; answers when the next one is. Raises CertificateError."""
        wanted = [public_name(name) for name in self.names]
        self._require_ours()
        server = connect()
        try:
            due = self._due(server, {str(name.value) for name in wanted})
            if due is not None and due > self.shop.clock.now():
                told = f"left alone {self.certificate_path}: to be renewed from {due:%Y-%m-%d %H:%M} UTC on"
                self.shop.journal.done.append(told)
                return due
            key = self._key()
            server.register()
            leaf = self._install(server, key, server.issue(wanted, key, self.responder))
            return _due_by_age(leaf)
        finally:
            server.close()

    def _require_ours(self) -> None:
        """Raises FileUnusable for a pair that somebody else put there."""
        if not is_there(self.certificate_path) or self.shop.writing.force:
            return
        if fingerprint_of(read_certificate(self.certificate_path)) not in self._issued().fingerprints:
            raise FileUnusable(f"{self.certificate_path} was not made by this: --force replaces it and its key")

    def _due(self, server: AcmeServer, names: set[str]) -> datetime | None:
        """When the pair is to be renewed; None for now."""
        if not is_there(self.certificate_path) or self.shop.writing.force:
            return None
        leaf = read_certificate(self.certificate_path)
        if set(names_of(leaf)) != names or self._issued().server != server.url or not self._fits(leaf):
            return None
        return server.suggested_renewal(leaf) or _due_by_age(leaf)

    def _fits(self, leaf: x509.Certificate) -> bool:
        """Not where an earlier run was interrupted between the two files."""
        try:
            require_match(read_key(self.key_path, self.passphrase), self.key_path, leaf, self.certificate_path)
        except CertificateError:
            return False
        return True

    def _key(self) -> PrivateKey:
        """A new one each time; only a key that waits for its first certificate is used."""
        if is_there(self.key_path) and not is_there(self.certificate_path) and not self.shop.writing.force:
            return read_key(self.key_path, self.passphrase)
        return self.shop.key_form.new()

    def _install(self, server: AcmeServer, key: PrivateKey, chain: bytes) -> x509.Certificate:
        leaf = certificates_in(chain, f"the chain from {server.url}")[0]
        require_match(key, self.key_path, leaf, self.certificate_path)
        writing = Writing(force=True, group_readable=self.shop.writing.group_readable)
        known = Issued(server.url, (fingerprint_of(leaf), *self._issued().fingerprints[:1]))
        writing.public(self._issued_path, msgspec.json.format(msgspec.json.encode(known)) + b"\n")
        writing.private(self.key_path, private_pem(key, self.passphrase))
        writing.public(self.certificate_path, chain)
        self.shop.journal.made(self.key_path, self.certificate_path, what=until(leaf))
        return leaf

    def _issued(self) -> Issued:
        if not is_there(self._issued_path):
            return Issued("", ())
        try:
            return msgspec.json.decode(read_file(self._issued_path), type=Issued)
        except msgspec.DecodeError:
            raise FileUnusable(f"{self._issued_path} is damaged: remove it, and say --force once") from None


def _due_by_age(leaf: x509.Certificate) -> datetime:
    return leaf.not_valid_before_utc + (leaf.not_valid_after_utc - leaf.not_valid_before_utc) * _DUE


def account_of(
    shop: Workshop, folder: Path, *, email: str = "", agrees: bool = False, eab: tuple[str, str] = ("", "")
) -> Account:
    """The account of a folder, its key made once. Raises CertificateError."""
    path = folder / "acme" / "account.key"
    if not is_there(path):
        Writing().private(path, private_pem(KeyForm(KeyType.P256).new()))
        shop.journal.made(path)
    key = read_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FileUnusable(f"{path} is no P-256 key, which accounts have here")
    return Account(key, email, agrees, *eab)


def public_name(text: str) -> x509.GeneralName:
    """What an ACME server can look at: a host, or an address. Raises NameRefused."""
    name = alternative_name(text)
    if not isinstance(name, x509.DNSName | x509.IPAddress):
        raise NameRefused(f"{text} is neither a host nor an address")
    if text.startswith("*."):
        raise NameRefused(f"{text} can be proven by DNS only, which is not offered here")
    return name


def require_names(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise AcmeFailed("for which names? say at least one")
    return tuple(dict.fromkeys(name.lower() for name in names))
