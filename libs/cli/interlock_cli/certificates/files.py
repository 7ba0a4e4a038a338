"""Writes keys and certificates: whole or not at all, and never over what is there unless that is asked for."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from interlock_cli.certificates.errors import FileUnusable

_PUBLIC, _PRIVATE, _GROUP_READABLE = 0o644, 0o600, 0o640
_ROOT_GROUP = 0


@dataclass(frozen=True)
class Writing:
    """How files are written: ``force`` replaces, ``group_readable`` is for containers that run as 1001:0."""

    force: bool = False
    group_readable: bool = False

    def private(self, path: Path, content: bytes) -> None:
        """A file of mode 600, or 640 with group 0, from its first byte on. Raises FileUnusable."""
        self._write(path, content, _GROUP_READABLE if self.group_readable else _PRIVATE)

    def public(self, path: Path, content: bytes) -> None:
        """A file that everybody may read. Raises FileUnusable."""
        self._write(path, content, _PUBLIC)

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        except OSError as error:
            raise FileUnusable(f"{path} cannot be written: {error.strerror} ({error.filename})") from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                if mode == _GROUP_READABLE:
                    _give_to_root_group(file.fileno(), path)
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._put(Path(temporary), path)
        except OSError as error:
            raise FileUnusable(f"{path} cannot be written: {error.strerror}") from None
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _put(self, temporary: Path, path: Path) -> None:
        if self.force:
            temporary.replace(path)
            return
        try:
            os.link(temporary, path)  # unlike a rename it fails where somebody else was quicker
        except FileExistsError:
            raise FileUnusable(f"{path} appeared while it was being made, and was left alone") from None
        except OSError:  # a file system without links
            if is_there(path):
                raise FileUnusable(f"{path} is there, and was left alone") from None
            temporary.replace(path)


def is_there(path: Path) -> bool:
    """Whether the name is taken, be it by a link that leads nowhere."""
    return os.path.lexists(path)


def let_group_read(path: Path) -> bool:
    """Give an existing key to group 0 with mode 640; answers whether that changed anything. Raises FileUnusable."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o777 == _GROUP_READABLE and status.st_gid == _ROOT_GROUP:
                return False
            _give_to_root_group(file.fileno(), path)
            os.fchmod(file.fileno(), _GROUP_READABLE)
    except OSError as error:
        raise FileUnusable(f"the mode of {path} cannot be changed: {error.strerror}") from None
    return True


def _give_to_root_group(descriptor: int, path: Path) -> None:
    try:
        os.fchown(descriptor, -1, _ROOT_GROUP)
    except PermissionError:
        raise FileUnusable(f"{path} cannot be given to group 0: do this as root, or as a member of group 0") from None
