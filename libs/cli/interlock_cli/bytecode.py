"""Compiled Python for the processes of a stack where the machine keeps none.

With ``PYTHONDONTWRITEBYTECODE`` set and packages installed without it, each process compiles every module that
it imports: the start takes twice as long. Then the state folder keeps the bytecode, for the next start.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

_SAMPLE = "sqlalchemy"


def keep_in(folder: Path) -> None:
    """Have child processes keep their bytecode in ``folder``, unless it is kept beside the sources."""
    if "PYTHONPYCACHEPREFIX" in os.environ or not sys.dont_write_bytecode or _is_compiled():
        return
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def write_again() -> None:
    """For the fork server, which inherits the flag rather than the variable."""
    if "PYTHONDONTWRITEBYTECODE" not in os.environ:
        sys.dont_write_bytecode = False


def _is_compiled() -> bool:
    spec = find_spec(_SAMPLE)
    return spec is None or spec.cached is None or Path(spec.cached).exists()
