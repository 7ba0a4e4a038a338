"""A deployment that is ready to be asked."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stories.deployment import Deployment
from stories.upstreams import Upstream, example


@dataclass(frozen=True)
class Stage:
    """A deployment with the notes server behind it, and an administrator's token."""

    deployment: Deployment
    notes: Upstream
    token: str

    @property
    def mcp(self) -> str:
        return f"{self.deployment.url}/mcp"


@contextmanager
def set_up(
    directory: Path,
    *,
    containers: bool,
    extra: Mapping[str, str] | None = None,
    gateways: int = 1,
    ca: Path | None = None,
) -> Generator[Stage]:
    """Start a deployment that serves the notes server; ``extra`` is added to everyone's environment.

    With ``ca`` it is reached over TLS.
    """
    deployment = Deployment(directory, containers, extra or {}, gateways, ca)
    try:
        deployment.start()
        with example("notes_server.py", os.environ | dict(deployment.extra)) as notes:
            token = deployment.administrator_token()
            deployment.register(token, "notes", notes.url)
            yield Stage(deployment, notes, token)
    finally:
        deployment.stop()
