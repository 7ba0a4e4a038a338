"""``interlock migration report``: what it asks for, and what it says of it."""

import json

import httpx
import msgspec
import pytest
from typer.testing import CliRunner, Result

from interlock_cli import connection
from interlock_cli.client import Client, Endpoint
from interlock_cli.main import app
from interlock_common.messages.credential_uses import ClientCredentials, MigrationReport

ADA = ClientCredentials("ada@example.com", 3, 0, 1, 0, 1_790_000_000, 1_790_000_000, ready=False)
ROBOT = ClientCredentials("robot", 0, 9, 0, 0, 0, 1_790_000_000, ready=True)


def run(monkeypatch: pytest.MonkeyPatch, found: MigrationReport, *arguments: str) -> tuple[Result, list[str]]:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, content=msgspec.json.encode(found))

    def client(endpoint: Endpoint) -> Client:
        return Client(endpoint, httpx.MockTransport(handle))

    monkeypatch.setattr(connection, "Client", client)
    monkeypatch.setenv("INTERLOCK_URL", "http://gateway.test")
    monkeypatch.setenv("INTERLOCK_TOKEN", "t")
    return CliRunner().invoke(app, ["migration", "report", *arguments]), asked


def test_whoever_comes_with_tokens_alone_is_listed_and_the_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result, asked = run(monkeypatch, MigrationReport(0, (ADA, ROBOT), 1, 1), "--days", "7")
    assert asked == ["/admin/migration?days=7"]
    assert result.exit_code == 1
    assert "ada@example.com" in result.stdout
    assert "1 of 2 clients still come with tokens alone" in result.stdout


def test_once_nobody_does_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, MigrationReport(0, (ROBOT,), 1, 0))
    assert result.exit_code == 0
    assert "MCP_CLIENT_AUTH_ENABLED=false" in result.stdout


def test_the_report_is_one_json_document(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, MigrationReport(0, (ROBOT,), 1, 0), "--json")
    assert json.loads(result.stdout)["clients"][0]["principal"] == "robot"
