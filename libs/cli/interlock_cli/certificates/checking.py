"""Looks at certificates as a whole folder: dates, keys, chains, copies, and what is weak."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from interlock_cli.certificates.chain import chain_problem, is_self_signed
from interlock_cli.certificates.errors import CertificateError, KeyMismatch, PassphraseNeeded
from interlock_cli.certificates.files import is_there
from interlock_cli.certificates.keys import MIN_RSA_BITS
from interlock_cli.certificates.reading import read_certificates, read_key, require_match

DEFAULT_THRESHOLD = 30
ALARMING = 7
"""Days left below which it is an error and no warning any more."""
_DAY = timedelta(days=1)
_OTHERS_MAY = 0o007
_WEAK = (hashes.MD5, hashes.SHA1)


class Level(StrEnum):
    """``note`` alone does not change the exit code."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Key(StrEnum):
    """What the key beside a certificate is to it."""

    FITS = "fits"
    ENCRYPTED = "encrypted"
    WRONG = "wrong"
    NONE = ""


@dataclass(frozen=True)
class Finding:
    code: str
    level: Level
    text: str


@dataclass(frozen=True)
class Asked:
    """What a check goes by."""

    moment: datetime
    threshold: int = DEFAULT_THRESHOLD
    anchors: tuple[x509.Certificate, ...] = ()
    passphrase: bytes | None = None


@dataclass(frozen=True)
class Checked:
    """One file with what was found; without a chain it could not be read."""

    path: Path
    chain: tuple[x509.Certificate, ...] = ()
    key: Key = Key.NONE
    days_left: int | None = None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def leaf(self) -> x509.Certificate | None:
        return self.chain[0] if self.chain else None

    @property
    def is_fine(self) -> bool:
        return all(finding.level is Level.NOTE for finding in self.findings)


def check(path: Path, asked: Asked, key_path: Path | None = None) -> Checked:
    """Everything about one file; what cannot be read is a finding, no error."""
    try:
        chain = tuple(read_certificates(path))
    except CertificateError as error:
        return Checked(path, findings=(Finding("unreadable", Level.ERROR, error.detail),))
    leaf = chain[0]
    days_left = (leaf.not_valid_after_utc - asked.moment) // _DAY
    key, key_findings = _check_key(path, leaf, key_path or _key_beside(path), asked)
    findings = [
        *_check_dates(leaf, days_left, asked), *key_findings, *_check_chain(path, chain, asked), *_check_strength(leaf)
    ]  # fmt: skip
    return Checked(path, chain, key, days_left, tuple(findings))


def check_copies(paths: Iterable[Path]) -> Finding | None:
    """All files named ``ca.crt`` hold the same bytes, or which one differs from the first."""
    copies = [path for path in paths if path.name == "ca.crt"]
    for path in copies[1:]:
        if path.read_bytes() != copies[0].read_bytes():
            return Finding("ca_differs", Level.ERROR, f"{path} is not the same as {copies[0]}")
    return None


def _check_dates(leaf: x509.Certificate, days_left: int, asked: Asked) -> Iterator[Finding]:
    end = f"{leaf.not_valid_after_utc:%Y-%m-%d}"
    if asked.moment >= leaf.not_valid_after_utc:
        yield Finding("expired", Level.ERROR, f"expired on {end}")
    elif asked.moment < leaf.not_valid_before_utc:
        yield Finding("not_yet_valid", Level.ERROR, f"counts from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on")
    elif days_left < asked.threshold:
        level = Level.ERROR if days_left < ALARMING else Level.WARNING
        yield Finding("expires_soon", level, f"expires in {days_left} days")


def _check_key(path: Path, leaf: x509.Certificate, key_path: Path | None, asked: Asked) -> tuple[Key, list[Finding]]:
    if key_path is None:
        return Key.NONE, []
    found = list(_check_mode(key_path))
    try:
        require_match(read_key(key_path, asked.passphrase), key_path, leaf, path)
    except PassphraseNeeded:
        return Key.ENCRYPTED, found
    except KeyMismatch:
        return Key.WRONG, [*found, Finding("key_mismatch", Level.ERROR, f"{key_path.name} is not its key")]
    except CertificateError as error:
        return Key.WRONG, [*found, Finding("key_unreadable", Level.ERROR, error.detail)]
    return Key.FITS, found


def _check_mode(key_path: Path) -> Iterator[Finding]:
    try:
        mode = key_path.stat().st_mode
    except OSError:
        return
    if mode & _OTHERS_MAY:
        yield Finding("key_open", Level.NOTE, f"everybody on this machine may read {key_path.name}")


def _check_chain(path: Path, chain: Sequence[x509.Certificate], asked: Asked) -> Iterator[Finding]:
    leaf, anchors = chain[0], list(asked.anchors)
    if leaf in anchors:
        return
    if leaf.subject == leaf.issuer and not anchors:
        if not is_self_signed(leaf) and not _is_weakly_signed(leaf):
            yield Finding("untrusted", Level.ERROR, "its own signature does not hold")
        return
    beside = path.with_name("ca.crt")
    if not anchors and beside != path and is_there(beside):
        try:
            anchors = read_certificates(beside)
        except CertificateError as error:
            yield Finding("untrusted", Level.ERROR, error.detail)
            return
    if not anchors:
        yield Finding("chain_unknown", Level.NOTE, "its CA is not here: --ca FILE checks the chain")
    elif (problem := chain_problem(chain, anchors, asked.moment)) is not None:
        yield Finding("untrusted", Level.ERROR, problem)


def _check_strength(leaf: x509.Certificate) -> Iterator[Finding]:
    if leaf.subject != leaf.issuer and _is_weakly_signed(leaf):  # a root is trusted without its signature
        yield Finding("weak_signature", Level.ERROR, "it is signed with MD5, SHA-1 or something unknown")
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        yield Finding("weak_key", Level.ERROR, f"its RSA key has {key.key_size} bits only")


def _is_weakly_signed(leaf: x509.Certificate) -> bool:
    try:
        return isinstance(leaf.signature_hash_algorithm, _WEAK)
    except UnsupportedAlgorithm:
        return True


def _key_beside(path: Path) -> Path | None:
    """The key that by its name belongs to a certificate, or the file itself where both are in one."""
    if path.suffix == ".pem" and b"PRIVATE KEY-----" in path.read_bytes():
        return path
    names = [f"{path.stem}.key", f"{path.stem}-key.pem"]
    if path.suffix == ".pem":
        names += [path.name.replace("cert", "key"), f"{path.stem.replace('cert', 'key')}-encrypted.pem"]
    if path.stem in ("fullchain", "cert"):
        names.append("privkey.pem")
    found = (path.with_name(name) for name in names if name != path.name)
    return next((each for each in found if is_there(each)), None)
