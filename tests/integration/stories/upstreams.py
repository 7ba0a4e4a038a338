"""The example servers of ``examples/`` as upstreams of a story."""

import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import urlopen

from interlock_common.ports import choose_free
from stories.deployment import ROOT, wait_for


@dataclass(frozen=True)
class Upstream:
    url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def example(script: str, environment: Mapping[str, str], *arguments: str) -> Generator[Upstream]:
    """A running example server."""
    (port,) = choose_free(1)
    command = [sys.executable, str(ROOT / "examples" / script), "--port", str(port), *arguments]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        wait_for(lambda: _answers(url), f"{script} on port {port}", 30)
        yield Upstream(url, process)
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2):  # noqa: S310 - a loopback address of ours
            return True
    except HTTPError:
        return True  # it speaks HTTP, and wants a POST
    except OSError:
        return False
