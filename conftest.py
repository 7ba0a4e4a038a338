"""Fixtures for the whole workspace."""

import os

from interlock_common import ports
from interlock_common.testing.fixtures import embedded_bus

__all__ = ["embedded_bus"]


def pytest_configure() -> None:
    """Processes that run tests beside each other choose their ports from ranges of their own (pytest-xdist)."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        ports.candidates = ports.candidates[int(worker.removeprefix("gw")) :: count]
