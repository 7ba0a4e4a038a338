"""The state folder of an embedded stack: everything it keeps, readable by its owner only."""

import contextlib
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from interlock_cli.errors import AlreadyRunning, StateUnusable
from interlock_common.tls import write_atomically

FORMAT = 1
_MARKER = "interlock-state.json"
_LOCK = "lock"
_PRIVATE_FOLDER = 0o700
_FOLDERS = ("ca", "join", "identity", "bus", "jetstream", "logs", "secrets", "tiles", "keys")


class State:
    """One state folder; every path of the stack is named here."""

    def __init__(self, root: Path, trust_domain: str = "interlock.local") -> None:
        self.root = root.absolute()
        self.trust_domain = trust_domain
        self.ca = self.root / "ca"
        self.join = self.root / "join"
        self.bus = self.root / "bus"
        self.jetstream = self.root / "jetstream"
        self.tiles = self.root / "tiles"
        self.keys = self.root / "keys"
        self.front = self.root / "front"
        self.nats_config = self.root / "nats.conf"
        self.ports_file = self.root / "ports.json"
        self.endpoint_file = self.root / "endpoint.json"
        self.token_file = self.root / "token"
        self.admin_password = self.root / "secrets" / "admin-password"
        self.audit_digest_key = self.root / "secrets" / "audit-digest-key"
        self.encryption_secret = self.root / "secrets" / "auth-encryption-secret"

    def identity(self, name: str) -> Path:
        return self.root / "identity" / name

    def log(self, process: str) -> Path:
        return self.root / "logs" / f"{process}.log"

    def database_url(self, service: str) -> str:
        return f"sqlite:///{self.root / f'{service}.db'}"

    def exists(self) -> bool:
        """Whether a stack was kept here before."""
        return (self.root / _MARKER).exists()

    def prepare(self) -> None:
        """Make the folder and its secrets, or check the ones that are there.

        Raises StateUnusable for a file, a folder that cannot be written, or one that holds something else.
        """
        try:
            self._claim()
            for name in _FOLDERS:
                (self.root / name).mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
            _secret(self.admin_password, secrets.token_urlsafe(18))
            _secret(self.audit_digest_key, secrets.token_hex(32))
            _secret(self.encryption_secret, secrets.token_hex(32))
        except OSError as error:
            raise StateUnusable(
                f"the state folder {self.root} cannot be used: {error.strerror} ({error.filename})"
            ) from None

    def _claim(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise StateUnusable(f"{self.root} is a file: --state names a folder")
        self.root.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        marker = self.root / _MARKER
        if marker.exists():
            self._check(marker)
        elif foreign := sorted(path.name for path in self.root.iterdir()):
            raise StateUnusable(
                f"{self.root} holds something else ({foreign[0]}): name an empty folder or one of Interlock"
            )
        else:
            write_json(marker, {"format": FORMAT, "trust_domain": self.trust_domain})
        if stat.S_IMODE(self.root.stat().st_mode) != _PRIVATE_FOLDER:
            self.root.chmod(_PRIVATE_FOLDER)
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise StateUnusable(f"the state folder {self.root} cannot be written")

    def _check(self, marker: Path) -> None:
        kept = read_json(marker)
        if kept.get("format") != FORMAT:
            raise StateUnusable(f"{marker} is of format {kept.get('format')}, this version knows {FORMAT}")
        if kept.get("trust_domain") != self.trust_domain:
            raise StateUnusable(
                f"{self.root} belongs to the trust domain {kept.get('trust_domain')}, not {self.trust_domain}"
            )

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder: one stack per folder, however the one before it ended."""
        with (self.root / _LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read(20).strip() or "another process"
                raise AlreadyRunning(f"a stack runs in {self.root} already (process {holder})") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def is_running(self) -> bool:
        """Whether a stack holds this folder."""
        try:
            with (self.root / _LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _secret(path: Path, value: str) -> None:
    if not path.exists():
        write_atomically(path, value.encode(), private=True)


def write_json(path: Path, content: object) -> None:
    write_atomically(path, json.dumps(content, indent=2).encode() + b"\n", private=True)


def read_json(path: Path) -> dict[str, object]:
    """The object in ``path``; raises StateUnusable where there is none."""
    with contextlib.suppress(OSError, ValueError):
        content: object = json.loads(path.read_bytes())
        if isinstance(content, dict):
            return content  # pyright: ignore[reportUnknownVariableType] - keys of a JSON object are strings
    raise StateUnusable(f"{path} is not readable as JSON")
