"""Finds the certificates below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from interlock_cli.certificates.errors import FileUnusable
from interlock_cli.certificates.pem import MAX_BYTES

_CERTIFICATES = frozenset({".crt", ".cer", ".cert"})
_EITHER = ".pem"
_MAX_FILES, _MAX_DEPTH = 10_000, 8


def certificate_files(roots: list[Path]) -> list[Path]:
    """The files given, and those below the folders given. Raises FileUnusable where there are none."""
    found = list(dict.fromkeys(path for root in roots for path in _below(root)))
    if not found:
        raise FileUnusable(f"there are no certificates in {', '.join(map(str, roots))}")
    return found


def _below(root: Path) -> Iterator[Path]:
    if not root.exists():
        raise FileUnusable(f"there is no {root}")
    if not root.is_dir():
        yield root
        return
    seen = 0
    for folder, folders, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < _MAX_DEPTH else []
        for path in (Path(folder, name) for name in sorted(files) if not name.startswith(".")):
            seen += 1
            if seen > _MAX_FILES:
                raise FileUnusable(f"{root} holds more than {_MAX_FILES} files: name the folder of the certificates")
            if path.suffix in _CERTIFICATES or (path.suffix == _EITHER and not _is_other_pem(path)):
                yield path


def _is_other_pem(path: Path) -> bool:
    """Whether a file holds PEM, but no certificate: a key, or parameters."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES)
    except OSError:
        return False
    return b"-----BEGIN " in content and b"CERTIFICATE-----" not in content
