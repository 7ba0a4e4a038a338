"""``interlock issuers``: what it asks for, and what it prints."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from interlock_cli import connection
from interlock_cli.client import Client, Endpoint
from interlock_cli.main import app

CORP: dict[str, Any] = {
    "settings": {"name": "corp", "issuer": "https://idp.example", "audiences": ["x"]}, "from_file": False,
    "keys": ["k1"], "keys_read_at": 1, "keys_until": 2, "error": "",
}  # fmt: skip
IDENTITY = {"issuer": "https://idp.example", "subject": "a/b", "principal": "ada@example.com", "linked_by": "root",
            "linked_at": 1}  # fmt: skip


@dataclass
class FakeApi:
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.asked.append((f"{request.method} {path}", json.loads(request.content) if request.content else None))
        listed = request.method == "GET" and path.split("?")[0] in {"/issuers", "/issuers/corp/identities"}
        one = IDENTITY if "identities" in path else CORP
        return httpx.Response(200, json=[one] if listed else one)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    api = FakeApi()

    def client(endpoint: Endpoint) -> Client:
        return Client(endpoint, httpx.MockTransport(api.handle))

    monkeypatch.setattr(connection, "Client", client)
    monkeypatch.setenv("INTERLOCK_URL", "http://gateway.test")
    monkeypatch.setenv("INTERLOCK_TOKEN", "t")
    return api


def run(*arguments: str, fails: bool = False) -> str:
    result = CliRunner().invoke(app, ["issuers", *arguments])
    assert (result.exit_code != 0) is fails, result.output
    return result.output


def test_issuers_are_listed_shown_refreshed_and_removed(api: FakeApi) -> None:
    assert "https://idp.example" in run("list")
    assert json.loads(run("show", "corp", "--json")) == CORP
    assert "k1" in run("refresh", "corp")
    assert "removed" in run("remove", "corp")
    assert [asked for asked, _ in api.asked] == [
        "GET /issuers", "GET /issuers/corp", "POST /issuers/corp/refresh", "DELETE /issuers/corp",
    ]  # fmt: skip


def test_an_issuer_is_said_by_options_or_by_a_file_whose_secret_lies_elsewhere(api: FakeApi, tmp_path: Path) -> None:
    run("set", "corp", "--issuer", "https://idp.example", "--audience", "a", "--audience", "b")
    assert api.asked[-1] == ("PUT /issuers/corp", {"issuer": "https://idp.example", "audiences": ["a", "b"]})
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "issuer.yaml").write_text(
        f"name: corp\nissuer: https://idp.example\nlogin: {{client_id: c, client_secret_file: {tmp_path}/secret}}\n"
    )
    run("set", "corp", "--file", str(tmp_path / "issuer.yaml"), "--accounts", "mapped")
    assert api.asked[-1][1] == {
        "issuer": "https://idp.example", "login": {"client_id": "c", "client_secret": "s3cret"}, "accounts": "mapped",
    }  # fmt: skip
    asked = len(api.asked)
    (tmp_path / "broken.yaml").write_text("{")
    for file in ("broken.yaml", "gone.yaml"):
        assert "cannot be used" in run("set", "corp", "--file", str(tmp_path / file), fails=True)
    assert "--issuer" in run("set", "corp", fails=True)
    assert len(api.asked) == asked


def test_subjects_are_linked_listed_and_unlinked(api: FakeApi) -> None:
    assert "ada@example.com" in run("link", "corp", "a/b", "ada@example.com")
    assert api.asked[-1] == (
        "POST /issuers/corp/identities", {"subject": "a/b", "principal": "ada@example.com"},
    )  # fmt: skip
    assert "a/b" in run("identities", "corp")
    run("unlink", "corp", "a/b")
    assert api.asked[-1][0] == "DELETE /issuers/corp/identities?subject=a%2Fb"
