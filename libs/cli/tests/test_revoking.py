"""``interlock tokens revoke`` and ``interlock revoke``: what they ask for, and what they print."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from interlock_cli import connection
from interlock_cli.client import Client, Endpoint
from interlock_cli.main import app

RECEIPT: dict[str, Any] = {"id": "t", "revision": 7, "applied": 2, "of": 3, "max_ms": 4.5, "late": ["gateway-b"]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    asked: list[tuple[str, str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.raw_path.decode(), json.loads(request.content)))
        return httpx.Response(200, json=RECEIPT)

    def client(endpoint: Endpoint) -> Client:
        return Client(endpoint, httpx.MockTransport(handle))

    monkeypatch.setattr(connection, "Client", client)
    monkeypatch.setenv("INTERLOCK_URL", "http://gateway.test")
    monkeypatch.setenv("INTERLOCK_TOKEN", "t")
    return asked


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_token_is_revoked_and_late_edges_are_named(asked: list[tuple[str, str, Any]]) -> None:
    result = run("tokens", "revoke", "a/b", "--reason", "lost")
    assert result.exit_code == 0, result.output
    assert asked == [("DELETE", "/tokens/a%2Fb", {"reason": "lost"})]
    assert "applied by 2 of 3 edges within 4.5 ms" in result.stdout
    assert "gateway-b" in result.stderr


@pytest.mark.parametrize("kind", ["user", "team", "certificate", "session"])
def test_all_tokens_of_somebody_are_revoked(asked: list[tuple[str, str, Any]], kind: str) -> None:
    result = run("revoke", kind, "ada", "--before", "9", "--json")
    assert json.loads(result.stdout) == RECEIPT
    assert asked == [("POST", "/revocations", {"kind": kind, "id": "ada", "before": 9, "reason": ""})]


def test_everything_is_revoked_only_by_somebody_who_means_it(asked: list[tuple[str, str, Any]]) -> None:
    assert run("revoke", "all").exit_code != 0
    assert asked == []
    assert run("revoke", "all", "--yes").exit_code == 0
    assert asked == [("POST", "/revocations", {"kind": "all", "before": None, "reason": ""})]
