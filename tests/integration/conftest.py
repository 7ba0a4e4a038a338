"""What the stories share: one deployment for those that leave it as they found it."""

from collections.abc import Generator

import pytest

from stories.deployment import docker_answers
from stories.stage import Stage, set_up


def pytest_report_header() -> str:
    if docker_answers():
        return "integration: nats-server and PostgreSQL in containers (a Docker engine answers)"
    return "integration: NO DOCKER ENGINE ANSWERS - embedded nats-server and SQLite instead of containers"


@pytest.fixture(scope="session")
def containers() -> bool:
    return docker_answers()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    with set_up(tmp_path_factory.mktemp("stage"), containers=containers) as ready:
        yield ready
