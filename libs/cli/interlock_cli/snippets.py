"""What a person pastes to connect a client: Claude Code, VS Code, Cursor, the MCP Inspector."""

import json
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Snippet:
    """``text`` goes where ``title`` says."""

    title: str
    text: str


def snippets(url: str, token: str, *, path: str = "/mcp", name: str = "interlock") -> list[Snippet]:
    """Ready for the clients of the day; ``url`` is the gateway's, ``path`` that of an endpoint, called ``name``."""
    endpoint, header = f"{url}{path}", f"Authorization: Bearer {token}"
    headers = {"Authorization": f"Bearer {token}"}
    claude = ["claude", "mcp", "add", "--transport", "http", name, endpoint, "--header", header]
    inspector = [
        "npx", "@modelcontextprotocol/inspector", "--cli", endpoint, "--transport", "http",
        "--header", header, "--method", "tools/list",
    ]  # fmt: skip
    vs_code = {"servers": {name: {"type": "http", "url": endpoint, "headers": headers}}}
    cursor = {"mcpServers": {name: {"url": endpoint, "headers": headers}}}
    return [
        Snippet("Claude Code", shlex.join(claude)),
        Snippet("VS Code: .vscode/mcp.json", json.dumps(vs_code, indent=2)),
        Snippet("Cursor: .cursor/mcp.json", json.dumps(cursor, indent=2)),
        Snippet("MCP Inspector (Node 22 or newer)", shlex.join(inspector)),
    ]
