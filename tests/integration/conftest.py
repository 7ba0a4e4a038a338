"""What the stories share: one deployment for those that leave it as they found it."""

import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stories.deployment import Deployment, docker_answers
from stories.upstreams import Upstream, example


def pytest_report_header() -> str:
    if docker_answers():
        return "integration: nats-server and PostgreSQL in containers (a Docker engine answers)"
    return "integration: NO DOCKER ENGINE ANSWERS - embedded nats-server and SQLite instead of containers"


@pytest.fixture(scope="session")
def containers() -> bool:
    return docker_answers()


@dataclass(frozen=True)
class Stage:
    """A deployment with the notes server behind it, and an administrator's token."""

    deployment: Deployment
    notes: Upstream
    token: str

    @property
    def mcp(self) -> str:
        return f"{self.deployment.url}/mcp"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    yield from set_up(tmp_path_factory.mktemp("stage"), containers=containers)


def set_up(directory: Path, *, containers: bool, **options: object) -> Generator[Stage]:
    """A deployment that serves the notes server; ``options`` go to Deployment."""
    deployment = Deployment(directory, containers, **options)  # pyright: ignore[reportArgumentType]
    try:
        deployment.start()
        with example("notes_server.py", os.environ | dict(deployment.extra)) as notes:
            token = deployment.administrator_token()
            deployment.register(token, "notes", notes.url)
            yield Stage(deployment, notes, token)
    finally:
        deployment.stop()
