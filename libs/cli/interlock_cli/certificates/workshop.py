"""Makes a key and its certificate as two files, completes what is half there, and leaves alone what is whole."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_cli.certificates.errors import IncompletePair, PassphraseNeeded
from interlock_cli.certificates.files import Writing, is_there, let_group_read
from interlock_cli.certificates.keys import KeyForm, PrivateKey, private_pem
from interlock_cli.certificates.reading import read_certificate, read_key, require_match
from interlock_common.clock import SYSTEM_CLOCK, Clock

SOON = timedelta(days=30)


@dataclass
class Journal:
    """What was done, for standard output, and what should be looked at, for standard error."""

    done: list[str] = field(default_factory=list[str])
    warned: list[str] = field(default_factory=list[str])

    def made(self, *paths: Path, what: str = "") -> None:
        self.done.append(f"made {_listed(paths)}{what and f': {what}'}")

    def kept(self, *paths: Path) -> None:
        self.done.append(f"left alone {_listed(paths)}: already there (--force replaces)")

    def warn(self, text: str) -> None:
        self.warned.append(text)


@dataclass(frozen=True)
class Pair:
    """Where a key and its certificate are."""

    key: Path
    certificate: Path

    @classmethod
    def named(cls, folder: Path, name: str) -> "Pair":
        return cls(folder / f"{name}.key", folder / f"{name}.crt")


@dataclass(frozen=True)
class Workshop:
    """What every story of making needs."""

    writing: Writing = field(default_factory=Writing)
    key_form: KeyForm = field(default_factory=KeyForm)
    clock: Clock = SYSTEM_CLOCK
    journal: Journal = field(default_factory=Journal)

    def pair(
        self, pair: Pair, certify: Callable[[PrivateKey], x509.Certificate], passphrase: bytes | None = None
    ) -> bool:
        """Make both files, or only the certificate where just the key is there; answers whether anything was made.

        ``passphrase`` encrypts a key that is made. Raises IncompletePair for a certificate without its key,
        KeyMismatch where what is there does not belong together.
        """
        has_key, has_certificate = is_there(pair.key), is_there(pair.certificate)
        if not self.writing.force and has_certificate:
            self._keep(pair, has_key=has_key)
            return False
        if not self.writing.force and has_key:
            key = read_key(pair.key, passphrase)
            made = (pair.certificate,)
        else:
            key = self.key_form.new()
            made = (pair.key, pair.certificate)
        certificate = certify(key)
        if pair.key in made:
            self.writing.private(pair.key, private_pem(key, passphrase))
        self.writing.public(pair.certificate, certificate.public_bytes(Encoding.PEM))
        self.journal.made(*made, what=until(certificate))
        return True

    def file(self, path: Path, content: Callable[[], bytes], *, private: bool) -> bool:
        """Make a single file unless it is there; answers whether it was made."""
        if is_there(path) and not self.writing.force:
            self.journal.kept(path)
            return False
        (self.writing.private if private else self.writing.public)(path, content())
        self.journal.made(path)
        return True

    def share(self, path: Path) -> None:
        """Let containers read a key that was left alone, where that is asked for."""
        if self.writing.group_readable and let_group_read(path):
            self.journal.done.append(f"{path} is readable by group 0 now")

    def _keep(self, pair: Pair, *, has_key: bool) -> None:
        if not has_key:
            raise IncompletePair(f"{pair.certificate} is there without {pair.key}: put its key back, move it away, "
                                 "or replace both with --force")  # fmt: skip
        certificate = read_certificate(pair.certificate)
        with suppress(PassphraseNeeded):  # whether an encrypted key fits shows when it is opened
            require_match(read_key(pair.key), pair.key, certificate, pair.certificate)
        self.journal.kept(pair.key, pair.certificate)
        self.share(pair.key)
        left = certificate.not_valid_after_utc - self.clock.now()
        if left < SOON:
            says = "expired" if left <= timedelta() else "expires"
            self.journal.warn(f"{pair.certificate} {says} on {certificate.not_valid_after_utc:%Y-%m-%d}: "
                              "--force replaces it")  # fmt: skip


def until(certificate: x509.Certificate) -> str:
    return f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}"


def _listed(paths: tuple[Path, ...]) -> str:
    return " and ".join(map(str, paths))
