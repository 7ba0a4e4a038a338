"""What the command line of the MCP Inspector sees of a server: ``inspector.py MODE URL PREFIX``, one JSON document.

It asks one thing per run. ``NODE`` and ``INSPECTOR`` say what to run.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from seen import Seen, main


class InspectorError(Exception):
    """A run did not give a result; the message says what it wrote."""


class Inspector:
    """Runs of the command line on one server, whose token is in a file and in no argument."""

    def __init__(self, folder: Path, mode: str, url: str, token: str) -> None:
        config = folder / "servers.json"
        server = {"type": "streamable-http", "url": url, "headers": {"Authorization": f"Bearer {token}"}}
        config.write_text(json.dumps({"mcpServers": {"gateway": server}}), encoding="utf-8")
        self._command = (
            *(os.environ["NODE"], os.environ["INSPECTOR"], "--cli", "--config", str(config)),
            *("--server", "gateway", "--protocol-era", mode, "--format", "json", "--quiet"),
        )
        self._environment = {**os.environ, "HOME": str(folder), "MCP_INSPECTOR_SECRET_STORE": "memory"}

    async def ask(self, method: str, *arguments: str) -> Any:
        """The result of one method."""
        process = await asyncio.create_subprocess_exec(
            *(*self._command, "--method", method, *arguments),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, complained = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise InspectorError(complained.decode(errors="replace").strip()[-400:])
        return json.loads(said)["result"]


class Looks:
    """Each thing to look at; the command line shows no progress and answers no question of a server."""

    def __init__(self, inspector: Inspector, prefix: str) -> None:
        self._inspector, self._prefix = inspector, prefix

    async def tools(self) -> list[str]:
        return [tool["name"] for tool in (await self._inspector.ask("tools/list"))["tools"]]

    async def resources(self) -> dict[str, str]:
        return {each["name"]: each["uri"] for each in (await self._inspector.ask("resources/list"))["resources"]}

    async def prompts(self) -> list[str]:
        return [each["name"] for each in (await self._inspector.ask("prompts/list"))["prompts"]]

    async def call(self) -> str:
        return (await self._call("test_simple_text"))["content"][0]["text"]

    async def structured(self) -> Any:
        return (await self._call("structured_weather", "--tool-arg", "city=Oslo"))["structuredContent"]

    async def read(self) -> str:
        uri = (await self.resources())["static text"]
        return (await self._inspector.ask("resources/read", "--uri", uri))["contents"][0]["text"]

    async def prompt(self) -> str:
        name = f"{self._prefix}test_prompt_with_arguments"
        given = ("--prompt-name", name, "--prompt-args", "arg1=one", "arg2=two")
        return (await self._inspector.ask("prompts/get", *given))["messages"][0]["content"]["text"]

    async def _call(self, name: str, *arguments: str) -> Any:
        return await self._inspector.ask("tools/call", "--tool-name", self._prefix + name, *arguments)


async def look(mode: str, url: str, prefix: str, token: str, seen: Seen) -> None:
    """Look at everything, run by run."""
    with tempfile.TemporaryDirectory(prefix="interlock-inspector-") as folder:
        inspector = Inspector(Path(folder), mode, url, token)
        await seen.by(Looks(inspector, prefix))


if __name__ == "__main__":
    sys.exit(main(look))
