"""The deployed form, from nothing: build, start, call a tool, scale, stop, start again.

One stack serves all stories here; they run from top to bottom.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp_types import TextContent

ROOT = Path(__file__).resolve().parents[3]
ADMINISTRATOR = "admin@example.com"
SECRET_VOLUMES = {"auth", "certs", "audit", "catalog"}
LONG_RUNNING = {"postgres", "nats", "certs", "auth", "audit", "catalog", "plugins", "gateway", "front"}
UP_SECONDS = 600.0

pytestmark = pytest.mark.docker


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@dataclass
class Stack:
    """One compose project under a name of its own, without anybody's .env."""

    port: int = field(default_factory=free_port)
    project: str = field(default_factory=lambda: f"interlock-{uuid4().hex[:8]}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, timeout: float = UP_SECONDS) -> str:
        command = ["docker", "compose", "--project-name", self.project, "--env-file", os.devnull, *arguments]
        environment = {**os.environ, "PORT": str(self.port), "IMAGE_TAG": self.project, "BUILDKIT_PROGRESS": "plain"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr[-4000:]}\n{done.stdout[-4000:]}"
        return done.stdout

    def up(self, *arguments: str) -> None:
        try:
            self.compose("up", "--wait", *arguments)
        except BaseException:
            sys.stderr.write(self.compose("logs", "--no-color", "--tail", "60"))
            raise

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine knows of each container, by its name within the project (``gateway-1``)."""
        ids = self.compose("ps", "--all", "--quiet").split()
        known = json.loads(subprocess.check_output(["docker", "inspect", *ids], text=True))
        return {one["Name"].removeprefix(f"/{self.project}-"): one for one in known}

    def password(self) -> str:
        return self.compose("exec", "-T", "auth", "cat", "/run/secrets/administrator_password")


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.05)


async def log_in(stack: Stack) -> str:
    async with create_mcp_http_client() as http:
        answer = await http.post(
            f"{stack.url}/auth/login", json={"email": ADMINISTRATOR, "password": stack.password()}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]


async def post(stack: Stack, token: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http:
        answer = await http.post(f"{stack.url}{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()


async def call_tool(base: str, token: str, path: str, tool: str, **arguments: Any) -> str:
    """Call a tool as any MCP client would, and answer its text."""
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http:
        transport = streamable_http_client(f"{base}{path}", http_client=http)
        async with Client(transport) as client:
            result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text
