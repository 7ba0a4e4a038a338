"""Signed notes and checkpoints: C2SP signed-note and tlog-checkpoint, with Ed25519.

A note is a text whose last character is a newline, an empty line, and signature lines
``— <name> <base64 of key hash and signature>``. A checkpoint's text is origin, size, root in base64.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from interlock_common.transparency.merkle import HASH_SIZE

_ED25519 = b"\x01"
_KEY_HASH_SIZE = 4
_PUBLIC_KEY_SIZE = 32
_MAX_NOTE = 64 * 1024
_MAX_SIGNATURES = 64
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_CHECKPOINT_LINES = 3


class NoteInvalid(Exception):
    """A note, a key or a checkpoint is not well-formed, or its signature does not hold."""


@dataclass(frozen=True)
class Verifier:
    """A named public key that notes are checked against."""

    name: str
    public_key: bytes

    @property
    def key_hash(self) -> bytes:
        """Four bytes that tell keys of one name apart (signed-note, "Signatures")."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_KEY_HASH_SIZE]

    def __str__(self) -> str:
        """The vkey form: ``<name>+<hex key hash>+<base64 of type and key>``."""
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(_ED25519 + self.public_key).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """Read the vkey form; NoteInvalid names what is wrong with it."""
        name, _, rest = vkey.strip().partition("+")
        key_hash, _, encoded = rest.partition("+")
        key = _decode(encoded, "the verifier key")
        if not _NAME.fullmatch(name) or key[:1] != _ED25519 or len(key) != 1 + _PUBLIC_KEY_SIZE:
            raise NoteInvalid("the verifier key is not of the form <name>+<hash>+<base64 of an Ed25519 key>")
        verifier = cls(name, key[1:])
        if verifier.key_hash.hex() != key_hash.lower():
            raise NoteInvalid(f"the verifier key of {name} does not match its key hash")
        return verifier


class Signer:
    """A named private key; ``verifier`` is its public side."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        if not _NAME.fullmatch(name):
            raise NoteInvalid("the name of a key has no white space and no plus sign")
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The note made of ``text`` and the signature over it."""
        if not text.endswith("\n") or _CONTROL.search(text):
            raise NoteInvalid("the text of a note ends in a newline and has no other control characters")
        signature = base64.b64encode(self.verifier.key_hash + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.verifier.name} {signature}\n"


def open_note(note: str, verifier: Verifier) -> str:
    """The text of ``note`` once the signature of ``verifier`` holds; other signatures are ignored."""
    if len(note) > _MAX_NOTE or _CONTROL.search(note):
        raise NoteInvalid("the note is too long or has control characters")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteInvalid("the note has no signatures")
    text += "\n"
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise NoteInvalid("the note has too many signatures")
    found = False
    for line in lines:
        if (signature := _signature(line, verifier)) is not None:
            _check(text, signature, verifier)
            found = True
    if not found:
        raise NoteInvalid(f"the note has no signature of {verifier.name}+{verifier.key_hash.hex()}")
    return text


def _signature(line: str, verifier: Verifier) -> bytes | None:
    """The signature bytes of a line by this key, None for another key's."""
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != "—" or not _NAME.fullmatch(name):
        raise NoteInvalid("a signature line is not well-formed")
    decoded = _decode(encoded, "a signature")
    if name != verifier.name or decoded[:_KEY_HASH_SIZE] != verifier.key_hash:
        return None
    return decoded[_KEY_HASH_SIZE:]


def _check(text: str, signature: bytes, verifier: Verifier) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(verifier.public_key).verify(signature, text.encode())
    except InvalidSignature:
        raise NoteInvalid(f"the signature of {verifier.name} does not hold") from None


@dataclass(frozen=True)
class TreeHead:
    """What a checkpoint states: the log called ``origin`` has ``size`` leaves and this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The body of the checkpoint (tlog-checkpoint, "Note text")."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "TreeHead":
        """Read the body of a checkpoint; extension lines are ignored."""
        lines = text.split("\n")
        if len(lines) < _CHECKPOINT_LINES + 1 or not lines[0] or not _SIZE.fullmatch(lines[1]):
            raise NoteInvalid("the checkpoint is not made of origin, size and root")
        root = _decode(lines[2], "the root of the checkpoint")
        if len(root) != HASH_SIZE:
            raise NoteInvalid(f"the root of the checkpoint has {len(root)} bytes")
        return cls(lines[0], int(lines[1]), root)


def open_checkpoint(note: str, verifier: Verifier) -> TreeHead:
    """What a checkpoint states, once its signature holds and its origin is the name of the key."""
    head = TreeHead.parse(open_note(note, verifier))
    if head.origin != verifier.name:
        raise NoteInvalid(f"the checkpoint is of {head.origin}, the key of {verifier.name}")
    return head


def _decode(encoded: str, what: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise NoteInvalid(f"{what} is not base64") from None
