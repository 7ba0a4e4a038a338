"""What lies in the folder of a CA of our own, and the way of an issuing CA into it, from its request to its chain."""

import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_certs import issuers, templates
from interlock_certs.ca_keys import KeyCare, digest_for
from interlock_certs.errors import ChainBroken, KeyFileOpen, KeyMismatch
from interlock_certs.issuers import Issuer
from interlock_common.tls import write_atomically

_PEM = Encoding.PEM


@dataclass(frozen=True)
class CaFiles:
    """The folder of one CA and how its keys are kept."""

    directory: Path
    care: KeyCare

    @property
    def root(self) -> Path:
        return self.directory / "root.crt"

    @property
    def root_key(self) -> Path:
        return self.directory / "root.key"

    @property
    def issuing(self) -> Path:
        return self.directory / "issuing.crt"

    @property
    def issuing_key(self) -> Path:
        return self.directory / "issuing.key"

    @property
    def next_key(self) -> Path:
        return self.directory / "next.key"

    @property
    def request(self) -> Path:
        return self.directory / "issuing.csr"

    @property
    def chain(self) -> Path:
        return self.directory / "issuing-chain.pem"

    @property
    def retired(self) -> Path:
        return self.directory / "retired"

    def any_exists(self) -> bool:
        return any(file.exists() for file in (self.root, self.root_key, self.issuing, self.issuing_key, self.chain))

    def refuse_open(self) -> None:
        """Raise KeyFileOpen for a folder in which everybody may replace files."""
        if stat.S_IMODE(self.directory.stat().st_mode) & stat.S_IWOTH:
            raise KeyFileOpen(f"CA_DIR {self.directory} may be changed by everybody: chmod o-w {self.directory}")

    def write_request(self, trust_domain: str) -> bytes:
        """The request (PEM) for the next issuing CA, for the offline root to sign; for the same key until it did."""
        key = self.care.load(self.next_key) if self.next_key.exists() else self.care.create(self.next_key)
        builder = x509.CertificateSigningRequestBuilder().subject_name(issuing_name(trust_domain))
        for extension, critical in templates.ISSUING_EXTENSIONS:
            builder = builder.add_extension(extension, critical=critical)
        pem = builder.sign(key, digest_for(key.public_key())).public_bytes(_PEM)
        write_atomically(self.request, pem, private=False)
        return pem

    def place_chain(self, chain_pem: bytes, source: object, moment: datetime) -> Issuer:
        """Put the chain that the offline root signed where certs takes it over; nothing changes where it is wrong."""
        found = issuers.parse_certificates(chain_pem, source)
        root = issuers.read_certificates(self.root)[0] if self.root.exists() else root_among(found, source)
        issuer = self.checked(found, root, source, moment)
        write_atomically(self.chain, chain_pem, private=False)
        return issuer

    def checked(
        self, found: list[x509.Certificate], root: x509.Certificate, source: object, moment: datetime
    ) -> Issuer:
        """The issuer that a chain makes with the key that waits for it, or that has it already."""
        for path in (self.next_key, self.issuing_key):
            if not path.exists():
                continue
            key = self.care.load(path)
            if any(issuers.is_pair(key, certificate) for certificate in found):
                issuer = issuers.joined(key, path, found, root, source)
                issuers.check(issuer, root, moment, source)
                return issuer
        raise KeyMismatch(f"{source} has no certificate for the key in {self.next_key}: sign {self.request}")


def root_among(found: list[x509.Certificate], source: object) -> x509.Certificate:
    """The root of a chain; raises ChainBroken when it was left out."""
    root = next((one for one in found if one.subject == one.issuer), None)
    if root is None:
        raise ChainBroken(f"{source} has no root: put the certificate of the offline root last")
    return root


def issuing_name(trust_domain: str) -> x509.Name:
    return templates.name(trust_domain, "Issuing CA")
