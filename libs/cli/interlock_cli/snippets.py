"""What a person pastes to connect a client: Claude Code, VS Code, Cursor, the MCP Inspector."""

import json
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Snippet:
    """``text`` goes where ``title`` says."""

    title: str
    text: str


def snippets(url: str, token: str) -> list[Snippet]:
    """Ready for the clients of the day; ``url`` is the gateway's, without a path."""
    endpoint, header = f"{url}/mcp", f"Authorization: Bearer {token}"
    headers = {"Authorization": f"Bearer {token}"}
    claude = ["claude", "mcp", "add", "--transport", "http", "interlock", endpoint, "--header", header]
    inspector = [
        "npx", "@modelcontextprotocol/inspector", "--cli", endpoint, "--transport", "http",
        "--header", header, "--method", "tools/list",
    ]  # fmt: skip
    vs_code = {"servers": {"interlock": {"type": "http", "url": endpoint, "headers": headers}}}
    cursor = {"mcpServers": {"interlock": {"url": endpoint, "headers": headers}}}
    return [
        Snippet("Claude Code", shlex.join(claude)),
        Snippet("VS Code: .vscode/mcp.json", json.dumps(vs_code, indent=2)),
        Snippet("Cursor: .cursor/mcp.json", json.dumps(cursor, indent=2)),
        Snippet("MCP Inspector (Node 22 or newer)", shlex.join(inspector)),
    ]
