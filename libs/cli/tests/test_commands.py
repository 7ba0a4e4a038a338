"""``interlock gateways``, ``servers``, ``tools``, ``export``, ``import``: what they ask for, and what they print."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from interlock_cli import connection
from interlock_cli.client import Client, Endpoint
from interlock_cli.main import app

NOTES = {
    "id": "u1", "name": "Notes", "slug": "notes", "url": "https://notes.example.com/mcp", "transport": "http",
    "reachable": True, "problem": "", "tool_count": 2, "resource_count": 1, "prompt_count": 0,
}  # fmt: skip
AWAY = NOTES | {"id": "u2", "name": "a/b", "slug": "a-b", "reachable": False, "problem": "nothing \x1b[31mlistens"}
DESK = {
    "id": "desk", "name": "Desk", "path": "/servers/desk/mcp", "prefix": "none", "visibility": "public",
    "owner": "ada@example.com", "api_key_only": False,
}  # fmt: skip
TOOL = {
    "id": "u1/add", "name": "notes-add", "original_name": "add", "upstream_name": "Notes", "standing": "quarantined",
    "reachable": True, "description": "adds\nmore", "digest": "sha256:ab", "definition": {"name": "add"},
}  # fmt: skip


@dataclass
class FakeApi:
    """Answers by method and path; keeps what was asked."""

    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: list[tuple[str, str, bytes]] = field(default_factory=list[tuple[str, str, bytes]])

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.asked.append((request.method, path, request.content))
        assert request.headers["authorization"] == "Bearer t"
        answer = self.answers.get(f"{request.method} {path}", self.answers.get(f"{request.method} {request.url.path}"))
        if answer is None:
            problem = {"type": "urn:interlock:error:not_found", "title": "not found", "status": 404, "detail": path}
            return httpx.Response(404, json=problem, headers={"content-type": "application/problem+json"})
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def body(self, method: str, path: str) -> Any:
        return next(json.loads(body) for m, p, body in self.asked if (m, p) == (method, path))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    api = FakeApi({"GET /gateways": [NOTES, AWAY], "GET /servers": [DESK]})

    def client(endpoint: Endpoint) -> Client:
        return Client(endpoint, httpx.MockTransport(api.handle))

    monkeypatch.setattr(connection, "Client", client)
    monkeypatch.setenv("INTERLOCK_URL", "http://gateway.test")
    monkeypatch.setenv("INTERLOCK_TOKEN", "t")
    return api


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


@pytest.mark.usefixtures("api")
def test_gateways_are_a_table_for_people_and_json_for_scripts() -> None:
    table = run("gateways", "list")
    assert table.exit_code == 0, table.output
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["name", "Notes", "a/b"]
    assert "\x1b" not in table.stdout
    assert json.loads(run("gateways", "list", "--json").stdout) == [NOTES, AWAY]


def test_a_list_is_followed_page_by_page(api: FakeApi) -> None:
    api.answers["GET /tools?limit=1000&name=a"] = httpx.Response(
        200, json=[TOOL], headers={"link": '</tools?limit=1000&name=a&cursor=x>; rel="next"'}
    )
    api.answers["GET /tools?limit=1000&name=a&cursor=x"] = [TOOL | {"name": "notes-second"}]
    listed = run("tools", "list", "--name", "a")
    assert ["notes-add", "Notes", "quarantined", "yes", "adds"] in [line.split() for line in listed.stdout.splitlines()]
    assert "notes-second" in listed.stdout


@pytest.mark.parametrize("name", ["u2", "a/b", "a-b"])
def test_a_gateway_is_known_by_id_name_or_slug(api: FakeApi, name: str) -> None:
    api.answers["DELETE /gateways/u2"] = {"status": "deleted"}
    removed = run("gateways", "remove", name, "--yes")
    assert (removed.exit_code, removed.stdout) == (0, "a/b is deleted\n")


def test_nothing_is_deleted_before_somebody_said_so(api: FakeApi) -> None:
    assert run("gateways", "remove", "notes", stdin="n\n").exit_code == 1
    assert run("servers", "remove", "desk", stdin="").exit_code == 1
    assert [method for method, _, _ in api.asked] == ["GET", "GET"]


def test_what_does_not_exist_is_said_so_with_an_exit_code(api: FakeApi) -> None:
    missing = run("gateways", "show", "nobody")
    assert (missing.exit_code, missing.stderr) == (7, "error: there is no gateway nobody\n")
    problem = {
        "type": "urn:interlock:error:name_taken",
        "title": "name taken",
        "status": 409,
        "detail": "it \x1b[2J is",
    }
    api.answers["POST /gateways"] = httpx.Response(
        409, json=problem, headers={"content-type": "application/problem+json"}
    )
    taken = run("gateways", "add", "Notes", "https://x")
    assert (taken.exit_code, taken.stderr) == (8, "error: name taken: it \ufffd[2J is\n")


def test_a_gateway_is_added_with_secrets_that_are_in_no_argument(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answers["POST /gateways"] = NOTES
    (tmp_path / "key").write_text("from a file\n")
    monkeypatch.setenv("MY_TOKEN", "from the environment")
    added = run(
        "gateways", "add", "Notes", "--command", "npx -y 'a server'", "--env", "A=b=c", "--credential", "header",
        "--public", "name=X-Key", "--secret", f"credential.value=@{tmp_path}/key",
        "--secret", "environment.TOKEN=env:MY_TOKEN", "--secret", "environment.ASKED", stdin="typed\n",
    )  # fmt: skip
    assert added.exit_code == 0, added.output
    assert "2 tools" in added.stdout
    body = api.body("POST", "/gateways")
    assert body["transport"] == "stdio"
    assert body["command"] == {"argv": ["npx", "-y", "a server"], "environment": {"A": "b=c"}}
    assert body["credential"] == {"kind": "header", "public": {"name": "X-Key"}}
    assert body["secrets"] == {
        "credential": {"value": "from a file"},
        "environment": {"TOKEN": "from the environment", "ASKED": "typed"},
    }


@pytest.mark.parametrize("secret", ["credential.value=hunter2", "value=@x", "credential.=@x", "other.x=@x"])
def test_a_secret_in_the_arguments_is_refused_and_not_repeated(api: FakeApi, secret: str) -> None:
    refused = run("gateways", "add", "Notes", "https://x", "--secret", secret)
    assert refused.exit_code == 2
    assert "hunter2" not in refused.output
    assert api.asked == []


def test_an_openapi_document_is_sent_as_it_is(api: FakeApi, tmp_path: Path) -> None:
    api.answers["POST /gateways/openapi"] = {"gateway": NOTES, "notes": ["GET /x is left out"]}
    (tmp_path / "shop.yaml").write_text("openapi: 3.1.0\n")
    added = run("gateways", "add", "shop", "--openapi", str(tmp_path / "shop.yaml"), "--include", "tag:a")
    assert added.exit_code == 0, added.output
    assert added.stderr == "note: GET /x is left out\n"
    body = api.body("POST", "/gateways/openapi")
    assert (body["document"], body["include"], body["base_url"]) == ("openapi: 3.1.0\n", ["tag:a"], None)


def test_a_refresh_of_what_is_away_fails(api: FakeApi) -> None:
    api.answers["POST /gateways/u2/refresh"] = AWAY
    refreshed = run("gateways", "refresh", "a-b")
    assert refreshed.exit_code == 1
    assert "cannot be reached" in refreshed.stdout
    assert "\x1b" not in refreshed.stdout


def test_a_server_is_composed_of_names(api: FakeApi) -> None:
    api.answers["POST /servers"] = DESK
    added = run(
        "servers", "add", "Desk", "--tool", "notes/add", "--tool", "a/b/sub/tool", "--resource", "Notes/file:///a",
        "--resource", "u1/file:///{p}", "--gateway", "a-b", "--alias", "notes/add=plus",
    )  # fmt: skip
    assert added.stdout == "Desk is at http://gateway.test/servers/desk/mcp\n", added.output
    body = api.body("POST", "/servers")
    assert body["associated_tools"] == ["u1/add", "u2/sub/tool"]
    assert (body["associated_resources"], body["associated_templates"]) == (["u1/file:///a"], ["u1/file:///{p}"])
    assert (body["associated_upstreams"], body["prefix"], body["aliases"]) == (["u2"], "custom", {"u1/add": "plus"})
    assert run("servers", "add", "x", "--tool", "nobody/add").exit_code == 8


def test_a_server_shows_what_it_offers_and_how_clients_connect(api: FakeApi) -> None:
    api.answers |= {
        "GET /servers/desk/tools": [TOOL],
        "GET /servers/desk/resources": [],
        "GET /servers/desk/prompts": [],
    }
    shown = run("servers", "show", "Desk")
    assert "http://gateway.test/servers/desk/mcp" in shown.stdout
    assert ["tool", "notes-add", "Notes", "add"] in [line.split() for line in shown.stdout.splitlines()]
    assert json.loads(run("servers", "show", "desk", "--json").stdout)["offers"]["tools"] == [TOOL]
    snippets = run("servers", "snippets", "desk").stdout
    assert "claude mcp add --transport http desk http://gateway.test/servers/desk/mcp" in snippets


def test_accepting_sends_the_digest_that_was_shown(api: FakeApi) -> None:
    api.answers["GET /tools/u1%2Fadd"] = TOOL
    api.answers["POST /tools/u1%2Fadd/accept"] = {"status": "accepted"}
    for arguments, digest in ((("--yes",), "sha256:ab"), (("--digest", "sha256:cd"), "sha256:cd")):
        api.asked.clear()
        accepted = run("tools", "accept", "notes/add", *arguments)
        assert (accepted.exit_code, accepted.stdout) == (0, "notes-add is accepted\n"), accepted.output
        assert api.body("POST", "/tools/u1%2Fadd/accept") == {"digest": digest}
    api.asked.clear()
    assert run("tools", "accept", "notes/add").exit_code == 2
    assert all(method == "GET" for method, _, _ in api.asked)


def test_a_resource_is_found_by_its_uri(api: FakeApi) -> None:
    api.answers["GET /resources/u1%2Ffile%3A%2F%2F%2Fa"] = TOOL | {"label": "a"}
    assert run("resources", "show", "notes/file:///a", "--json").exit_code == 0


def test_an_export_goes_to_standard_output_or_into_a_file(api: FakeApi, tmp_path: Path) -> None:
    api.answers["GET /export"] = httpx.Response(200, text="version: 1\n")
    assert run("export").stdout == "version: 1\n"
    assert run("export", "-o", str(tmp_path / "x.yaml")).stdout == ""
    assert (tmp_path / "x.yaml").read_text() == "version: 1\n"
    assert run("export", "-o", str(tmp_path / "no" / "x.yaml")).exit_code == 2


REPORT: dict[str, Any] = {
    "dry_run": True, "created": 1, "updated": 0, "unchanged": 0, "failed": 0,
    "items": [{"kind": "gateway", "name": "n", "outcome": "created", "reason": "", "missing_secrets": []}],
}  # fmt: skip
FAILED: dict[str, Any] = REPORT | {
    "dry_run": False, "created": 0, "failed": 1,
    "items": [{"kind": "gateway", "name": "n", "outcome": "failed", "reason": "it needs secrets",
               "missing_secrets": ["credential.value"]}],
}  # fmt: skip


def read_from_a_file(tmp_path: Path) -> tuple[str, str | None]:
    (tmp_path / "x.yaml").write_text("gateways: []\n")
    return str(tmp_path / "x.yaml"), None


def read_from_standard_input(_tmp_path: Path) -> tuple[str, str | None]:
    return "-", "gateways: []\n"


@pytest.mark.parametrize("source", [read_from_a_file, read_from_standard_input])
def test_an_import_tells_each_item(
    api: FakeApi, tmp_path: Path, source: Callable[[Path], tuple[str, str | None]]
) -> None:
    file, stdin = source(tmp_path)
    api.answers["POST /import?dry_run=true"] = REPORT
    dry = run("import", file, "--dry-run", stdin=stdin)
    assert dry.exit_code == 0, dry.output
    assert "1 created, 0 updated, 0 unchanged, 0 failed (dry run: nothing was changed)" in dry.stdout
    assert api.asked == [("POST", "/import?dry_run=true", b"gateways: []\n")]
    api.answers["POST /import"] = FAILED
    failed = run("import", file, stdin=stdin)
    assert failed.exit_code == 1
    assert "it needs secrets: credential.value" in failed.stdout
    assert json.loads(run("import", file, "--json", stdin=stdin).stdout) == FAILED


def test_a_token_may_be_in_a_file(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTERLOCK_TOKEN")
    (tmp_path / "token").write_text("t\n")
    monkeypatch.setenv("INTERLOCK_TOKEN_FILE", str(tmp_path / "token"))
    assert run("gateways", "list").exit_code == 0
    assert run("gateways", "list", "--token-file", str(tmp_path / "none")).exit_code == 2
    assert len(api.asked) == 1
