"""A CA that an enterprise brought: files that are only read, and read again when they change."""

from pathlib import Path

import structlog
from cryptography import x509

from interlock_certs import issuers
from interlock_certs.ca_keys import KeyCare
from interlock_certs.errors import AuthorityUnusable, ChainBroken
from interlock_certs.issuers import Issuer
from interlock_certs.plan import Brought
from interlock_common.clock import Clock

_log = structlog.get_logger()

type _Marks = tuple[tuple[int, int, int], ...]


class BroughtCa:
    """Root and issuing CA of three files; a changed set is taken over when it is usable as a whole."""

    retired: tuple[Issuer, ...] = ()

    def __init__(self, files: Brought, care: KeyCare, clock: Clock) -> None:
        self._files = files
        self._care = care
        self._clock = clock
        self._marks = self._look()
        self.root, self._issuer = self._load()

    def current(self) -> Issuer:
        """Who signs at this moment; raises ChainExpired when the chain is over."""
        marks = self._look()
        if marks != self._marks:
            self._marks = marks
            self._take_over()
        issuers.check(self._issuer, self.root, self._clock.now(), self._files.issuing)
        return self._issuer

    def _take_over(self) -> None:
        try:
            root, issuer = self._load()
            if root != self.root:
                raise ChainBroken(f"{self._files.root} is another root: that takes a rotation of the CA, or a restart")
        except AuthorityUnusable as error:
            _log.error("the changed files of the issuing CA are not used", reason=error.detail)
            return
        if issuer.certificate != self._issuer.certificate:
            self.retired = (self._issuer, *self.retired)
        self._issuer = issuer
        _log.info("issuing CA in use", not_after=issuer.not_after.isoformat(), key_id=issuer.key_id)

    def _load(self) -> tuple[x509.Certificate, Issuer]:
        files = self._files
        root = issuers.read_certificates(files.root)[0]
        if root.subject != root.issuer:
            raise ChainBroken(f"{issuers.name_of(root)} in {files.root} is no root: it is issued by another CA")
        issuer = issuers.joined(
            self._care.load(files.key), files.key, issuers.read_certificates(files.issuing), root, files.issuing
        )
        issuers.check(issuer, root, self._clock.now(), files.issuing)
        return root, issuer

    def _look(self) -> _Marks:
        return tuple(_mark(path) for path in (self._files.root, self._files.issuing, self._files.key))


def _mark(path: Path) -> tuple[int, int, int]:
    """What changes with a file: a Kubernetes Secret is another file each time."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)
