"""The mark ``stack``: starts a whole gateway; ``pytest -m stack libs/cli`` runs nothing else."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stack: starts a whole gateway on this machine")
