"""The compose stack of a story, under a name of its own, and what a user does with it."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from stories.deployment import ROOT

ADMINISTRATOR = "admin@example.com"
UP_SECONDS = 600.0


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
        """Start what was built before."""
        try:
            self.compose("up", "--wait", "--no-build", *arguments)
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


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.05)


async def rest(stack: Stack, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(base_url=stack.url, headers=headers, timeout=30) as http:
        answer = await http.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def log_in(stack: Stack) -> str:
    answer = await rest(stack, "/auth/login", {"email": ADMINISTRATOR, "password": stack.password()})
    return answer["access_token"]


async def call_tool(base: str, token: str, tool: str, arguments: dict[str, Any]) -> str:
    """Call a tool of the notebook's virtual server as any MCP client would, and answer its text."""
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        transport = streamable_http_client(f"{base}/servers/notebook/mcp", http_client=http)
        async with Client(transport) as client:
            result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text
