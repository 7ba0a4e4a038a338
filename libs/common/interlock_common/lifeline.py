"""What the kernel does for a process that belongs to another: end with it, and show a name (Linux, prctl(2)).

SIGKILL, because there is nobody left to wait for a polite end; what the services keep is safe against that.
"""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_libc: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that happens."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def show_name(name: str) -> None:
    """Name the process in ``ps`` and ``top``; the kernel keeps 15 bytes."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, f"ilk-{name}".encode())
