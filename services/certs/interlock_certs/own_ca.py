"""A CA of our own in one folder: a root and an issuing CA made here, or an issuing CA that an offline root signs.

``root.crt`` ``root.key`` ``issuing.crt`` ``issuing.key``, and below ``retired/`` issuing CAs that were replaced and
whose leaves still count. ``root.key`` may be taken away. A next issuing CA begins as ``next.key``; its chain comes
as ``issuing-chain.pem``, signed by the root here or by the operator for ``issuing.csr``. Taking it over can be
repeated at any point, so an interruption loses nothing.
"""

from datetime import timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_certs import issuers, templates
from interlock_certs.ca_files import CaFiles, issuing_name, root_among
from interlock_certs.ca_keys import CaKey, digest_for, read
from interlock_certs.errors import AuthorityUnusable, IssuingAwaited, KeyMismatch
from interlock_certs.issuers import Issuer
from interlock_certs.plan import Plan
from interlock_certs.templates import Validity
from interlock_common.clock import Clock
from interlock_common.tls import write_atomically

_log = structlog.get_logger()
_BACKDATED = timedelta(minutes=1)
_PEM = Encoding.PEM
_CREATING = "creating"


class OwnCa:
    """The root and the issuing CAs of one folder."""

    def __init__(self, directory: Path, plan: Plan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._files = CaFiles(directory, plan.care)
        self._asked = False
        self.root = self._find_root()
        self._issuer = self._find_issuer()
        self.retired = self._load_retired()

    @classmethod
    def open(cls, directory: Path, plan: Plan, clock: Clock) -> "OwnCa":
        """The CA in ``directory``, created there when the folder has none.

        Raises AuthorityUnusable when its files are incomplete or do not belong together: a CA is never quietly
        replaced. Only a first start that was interrupted, before anything was issued, starts over.
        """
        files, creating = CaFiles(directory, plan.care), directory / _CREATING
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.refuse_open()
            if plan.root == "made" and (creating.exists() or not files.any_exists()):
                creating.touch(mode=0o600)
                _create_root(files, plan, clock)
                made = cls(directory, plan, clock)
                creating.unlink()
                return made
            return cls(directory, plan, clock)
        except OSError as error:
            raise AuthorityUnusable(f"CA_DIR {directory} cannot be used: {error.strerror} ({error.filename})") from None

    def current(self) -> Issuer:
        """Who signs at this moment; takes over what the offline root signed, and renews past two thirds."""
        if self._files.chain.exists():
            self._issuer = self._adopt_or_keep()
        elif self._is_due(self._issuer.certificate):
            self._renew()
        return self._issuer

    def _find_root(self) -> x509.Certificate:
        files = self._files
        if files.chain.exists() and not files.root.exists():
            root = root_among(issuers.read_certificates(files.chain), files.chain)
            write_atomically(files.root, root.public_bytes(_PEM), private=False)
        if not files.root.exists() and self._plan.root == "offline":
            raise self._awaited()
        return issuers.read_certificates(files.root)[0]

    def _find_issuer(self) -> Issuer:
        files = self._files
        if files.chain.exists():
            return self._adopt()
        if not files.issuing.exists() and not files.issuing_key.exists():
            if not files.root_key.exists():
                raise self._awaited()
            return self._create_issuing()
        care = self._plan.care
        for key in (files.issuing_key, files.root_key):
            if key.exists():
                care.seal(key)
        issuer = self._joined(files.issuing_key, issuers.read_certificates(files.issuing), files.issuing)
        if not files.root_key.exists() or not self._is_due(issuer.certificate):
            issuers.check(issuer, self.root, self._clock.now(), files.issuing)
        return issuer

    def _load_retired(self) -> tuple[Issuer, ...]:
        """Issuing CAs that were replaced and have not expired; the files of others go."""
        kept: list[Issuer] = []
        for path in sorted(self._files.retired.glob("*.crt")):
            found, key = issuers.read_certificates(path), path.with_suffix(".key")
            if self._clock.now() >= found[0].not_valid_after_utc:
                key.unlink(missing_ok=True)
                path.unlink()
            elif key.exists():
                kept.append(self._joined(key, found, path))
        return tuple(kept)

    def _is_due(self, issuing: x509.Certificate) -> bool:
        if issuing.not_valid_after_utc >= self.root.not_valid_after_utc:
            return False  # the next one would end no later: it is the root that is to be rotated
        lifetime = issuing.not_valid_after_utc - issuing.not_valid_before_utc
        return self._clock.now() >= issuing.not_valid_before_utc + lifetime * (2 / 3)

    def _renew(self) -> None:
        if self._files.root_key.exists():
            self._issuer = self._create_issuing()
            return
        if not self._asked:
            self._files.write_request(self._plan.trust_domain)
            self._asked = True
            _log.warning("the issuing CA is due: have the offline root sign issuing.csr, put the chain beside it",
                         request=str(self._files.request), chain=str(self._files.chain),
                         not_after=self._issuer.not_after.isoformat())  # fmt: skip
        if self._clock.now() >= self._issuer.not_after:
            raise IssuingAwaited(
                f"the issuing CA has expired: put root.key back into CA_DIR {self._files.directory}, or have the "
                f"offline root sign {self._files.request} and put the chain into {self._files.chain}"
            )

    def _create_issuing(self) -> Issuer:
        files, care = self._files, self._plan.care
        root_key = care.load(files.root_key)
        self._refuse_mismatch(root_key, self.root, files.root_key, files.root)
        now = self._clock.now()
        issuers.check_dates(self.root, now, files.root)
        key = care.load(files.next_key) if files.next_key.exists() else care.create(files.next_key)
        begin = max(now - _BACKDATED, self.root.not_valid_before_utc)
        validity = Validity(begin, min(now + self._plan.lifetimes.issuing, self.root.not_valid_after_utc))
        builder = templates.issuing(issuing_name(self._plan.trust_domain), self.root, key.public_key(), validity)
        certificate = builder.sign(root_key, digest_for(root_key.public_key()))
        write_atomically(files.chain, certificate.public_bytes(_PEM), private=False)
        return self._adopt()

    def _adopt_or_keep(self) -> Issuer:
        try:
            return self._adopt()
        except AuthorityUnusable as error:
            _log.error("the new chain of the issuing CA is not used", reason=error.detail)
            return self._issuer

    def _adopt(self) -> Issuer:
        """Take over ``issuing-chain.pem`` with its key, next or issuing, whichever of the two it is by now."""
        files = self._files
        found = issuers.read_certificates(files.chain)
        issuer = files.checked(found, self.root, files.chain, self._clock.now())
        self._retire(issuer)
        if files.next_key.exists():
            files.next_key.replace(files.issuing_key)
        pem = b"".join(certificate.public_bytes(_PEM) for certificate in issuer.chain)
        write_atomically(files.issuing, pem, private=False)
        for done in (files.chain, files.request):
            done.unlink(missing_ok=True)
        self._asked = False
        _log.info("issuing CA in use", not_after=issuer.not_after.isoformat(), key_id=issuer.key_id)
        self.retired = self._load_retired()
        return issuer

    def _retire(self, successor: Issuer) -> None:
        files = self._files
        if not files.issuing.exists() or not files.issuing_key.exists():
            return
        old = issuers.read_certificates(files.issuing)
        kept = files.retired / f"{issuers.key_identifier(old[0]).hex()}.crt"
        if old[0] == successor.certificate or kept.exists():
            return
        files.retired.mkdir(mode=0o700, exist_ok=True)
        write_atomically(kept.with_suffix(".key"), read(files.issuing_key), private=True)
        write_atomically(kept, read(files.issuing), private=False)

    def _joined(self, key: Path, found: list[x509.Certificate], source: Path) -> Issuer:
        return issuers.joined(self._plan.care.load(key), key, found, self.root, source)

    def _refuse_mismatch(self, key: CaKey, certificate: x509.Certificate, path: Path, source: Path) -> None:
        if not issuers.is_pair(key, certificate):
            raise KeyMismatch(f"{path} is not the key of {source}: bring the two that are a pair")

    def _awaited(self) -> IssuingAwaited:
        files = self._files
        files.write_request(self._plan.trust_domain)
        return IssuingAwaited(
            f"there is no issuing CA yet: have the offline root sign {files.request}, put the chain (issuing CA first, "
            f"root last) into {files.chain}, and start again"
        )


def _create_root(files: CaFiles, plan: Plan, clock: Clock) -> None:
    key, now = plan.care.create(files.root_key), clock.now()
    validity = Validity(now - _BACKDATED, now + plan.lifetimes.root)
    builder = templates.root(templates.name(plan.trust_domain, "Root CA"), key.public_key(), validity)
    certificate = builder.sign(key, digest_for(key.public_key()))
    write_atomically(files.root, certificate.public_bytes(_PEM), private=False)
    _log.info("root CA created", not_after=certificate.not_valid_after_utc.isoformat())
