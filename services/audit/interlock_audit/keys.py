"""The one module that touches the key that signs checkpoints."""

import contextlib
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from interlock_audit.errors import KeyUnusable
from interlock_common.transparency.note import Signer

KEY_FILE = "checkpoint.pem"
VERIFIER_FILE = "checkpoint.vkey"
_OPEN_TO_OTHERS = 0o007


def load_signer(directory: Path, origin: str, *, may_create: bool) -> Signer:
    """The signer of the log, made when there is none and ``may_create`` says that nothing was signed yet."""
    path = directory / KEY_FILE
    if not path.exists():
        if not may_create:
            raise KeyUnusable(f"{path} is missing, but checkpoints were signed with it: restore it")
        _create(path)
    try:
        if path.stat().st_mode & _OPEN_TO_OTHERS:
            raise KeyUnusable(f"{path} can be read by others: chmod 600 it")
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise KeyUnusable(f"{path} cannot be read: {type(error).__name__}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path} is not an Ed25519 key")
    signer = Signer(origin, key)
    with contextlib.suppress(OSError):  # a convenience beside a key that may be mounted read-only
        (directory / VERIFIER_FILE).write_text(f"{signer.verifier}\n")
    return signer


def _create(path: Path) -> None:
    """Write a new key (mode 600) so that it is there whole or not at all, and never over another one."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):  # another writer was first: its key counts
                os.link(temporary, path)
        finally:
            Path(temporary).unlink()
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be created: {error.strerror}") from None
