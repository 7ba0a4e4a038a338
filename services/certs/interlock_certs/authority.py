"""The certificate authority: one root, an issuing CA below it, and the leaves it signs.

A leaf takes nothing from its request but the public key and what its profile grants: the bus maps the names of a
leaf to the permissions of a service.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_certs import templates
from interlock_certs.brought_ca import BroughtCa
from interlock_certs.errors import AuthorityUnusable
from interlock_certs.issuers import Issuer
from interlock_certs.own_ca import OwnCa
from interlock_certs.plan import Plan
from interlock_certs.profiles import Grant
from interlock_certs.requests import LeafKey
from interlock_certs.templates import Validity
from interlock_common.clock import Clock
from interlock_common.messages.access import spiffe_id

_BACKDATED = timedelta(minutes=1)
_PEM = Encoding.PEM


@dataclass(frozen=True)
class Leaf:
    """An issued certificate and the CA certificates that lead to the root, without it."""

    identity: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]

    @property
    def issuer(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def chain_pem(self) -> bytes:
        """Leaf first, without the root."""
        return b"".join(certificate.public_bytes(_PEM) for certificate in (self.certificate, *self.chain))

    @property
    def fingerprint(self) -> str:
        return "sha256:" + self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc


class Ca(Protocol):
    """Where root and issuing CA come from: ``own_ca.py``, ``brought_ca.py``."""

    root: x509.Certificate
    retired: tuple[Issuer, ...]

    def current(self) -> Issuer: ...


class Authority:
    """One root and the issuing CA below it: one generation of the CA of a deployment."""

    def __init__(self, ca: Ca, plan: Plan, clock: Clock) -> None:
        self._ca = ca
        self._plan = plan
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._issuer = ca.current()

    @classmethod
    def open(cls, directory: Path, plan: Plan, clock: Clock) -> "Authority":
        """The authority that ``plan`` brings, or the one in ``directory``, created there when the folder has none."""
        if plan.brought is not None:
            return cls(BroughtCa(plan.brought, plan.care, clock), plan, clock)
        return cls(OwnCa.open(directory, plan, clock), plan, clock)

    @property
    def root(self) -> x509.Certificate:
        return self._ca.root

    @property
    def issuer(self) -> Issuer:
        """Who signed last."""
        return self._issuer

    @property
    def issuers(self) -> list[Issuer]:
        """Whose leaves may count: who signs now, then those who did before and have not expired."""
        return [self._issuer, *self._ca.retired]

    @property
    def bundle_pem(self) -> bytes:
        """The root that counts."""
        return self.root.public_bytes(_PEM)

    @property
    def certificates(self) -> list[x509.Certificate]:
        """Issuing CA and what leads to the root, for EST ``cacerts``."""
        return [*self._issuer.chain, self.root]

    def issue(self, identity: str, key: LeafKey, grant: Grant) -> Leaf:
        """A leaf for ``key``, called ``identity`` and what is granted. May wait for a token: not for the event loop."""
        with self._one_at_a_time:
            issuer = self._issuer = self._ca.current()
            now, ca = self._clock.now(), issuer.certificate
            # Backdated for peers whose clock is behind, but a leaf of seconds must not be half over when it is born.
            begin = max(now - min(_BACKDATED, grant.lifetime / 10), ca.not_valid_before_utc)
            end = min(now + grant.lifetime, issuer.not_after, self.root.not_valid_after_utc)
            if end <= begin:
                raise AuthorityUnusable("the CA has expired: rotate it")
            name = spiffe_id(self._plan.trust_domain, identity)
            builder = templates.leaf(name, grant, ca, key, Validity(begin, end))
            for pointer in self._plan.pointers(issuer.key_id):
                builder = builder.add_extension(pointer, critical=False)
            return Leaf(identity, issuer.sign(builder), issuer.chain)
