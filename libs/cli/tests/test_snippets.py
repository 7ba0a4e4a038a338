import json
import shlex

from interlock_cli.snippets import snippets

URL, TOKEN = "http://127.0.0.1:4444", "eyJ.tok.en"
BY_TITLE = {snippet.title.split(":")[0]: snippet.text for snippet in snippets(URL, TOKEN)}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def test_vs_code_gets_valid_json() -> None:
    server = json.loads(BY_TITLE["VS Code"])["servers"]["interlock"]
    assert server == {"type": "http", "url": f"{URL}/mcp", "headers": HEADERS}


def test_cursor_gets_valid_json() -> None:
    assert json.loads(BY_TITLE["Cursor"])["mcpServers"]["interlock"] == {"url": f"{URL}/mcp", "headers": HEADERS}


def test_claude_code_gets_a_command_that_a_shell_takes_apart_rightly() -> None:
    words = shlex.split(BY_TITLE["Claude Code"])
    assert words[:6] == ["claude", "mcp", "add", "--transport", "http", "interlock"]
    assert words[6:] == [f"{URL}/mcp", "--header", f"Authorization: Bearer {TOKEN}"]


def test_the_inspector_gets_the_same_address_and_header() -> None:
    words = shlex.split(BY_TITLE["MCP Inspector (Node 22 or newer)"])
    assert f"{URL}/mcp" in words
    assert words[words.index("--header") + 1] == f"Authorization: Bearer {TOKEN}"
