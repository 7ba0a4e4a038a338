"""One compose stack for all stories here, and an upstream for it."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from stories.compose import UP_SECONDS, Stack, free_port, wait_for_port
from stories.deployment import ROOT


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    stack = Stack()
    stack.compose("config", "--quiet")
    try:
        stack.compose("build", timeout=UP_SECONDS)
        started = time.monotonic()
        stack.up()
        sys.stderr.write(f"\ndocker compose up --wait: {time.monotonic() - started:.1f} s\n")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--rmi", "all", "--timeout", "10")


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    """The example notebook on this machine, under the name that containers know this machine by."""
    port = free_port()
    command = [sys.executable, ROOT / "examples" / "notes_server.py", "--host", "0.0.0.0", "--port", str(port)]
    with subprocess.Popen(command) as process:
        try:
            wait_for_port(port)
            yield f"http://host.docker.internal:{port}/mcp"
        finally:
            process.terminate()
