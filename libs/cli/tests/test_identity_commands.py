"""``interlock users``, ``teams`` and ``roles``: what they ask for, and what they print."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from interlock_cli import connection
from interlock_cli.client import Client, Endpoint
from interlock_cli.main import app

ADA: dict[str, Any] = {
    "name": "ada@example.com", "kind": "person", "full_name": "Ada", "active": True, "is_admin": False,
    "must_change_password": False, "teams": ["t1"],
    "roles": [
        {"role": "developer", "team": None, "inherited": False}, {"role": "viewer", "team": "t1", "inherited": True},
    ],
    "permissions": [], "team_permissions": {}, "created_at": 7,
}  # fmt: skip
RED = {
    "id": "t1", "name": "Red", "description": "", "created_by": "ada@example.com", "created_at": 7, "member_count": 1,
}  # fmt: skip
ROLE = {
    "name": "caller", "description": "", "permissions": ["tools.execute"], "built_in": False, "of_platform": True,
    "of_team": True,
}  # fmt: skip
ONE = "/users/ada%40example.com"


@dataclass
class FakeApi:
    """Answers by method and path; keeps what was asked."""

    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])

    def handle(self, request: httpx.Request) -> httpx.Response:
        what = f"{request.method} {request.url.raw_path.decode().removesuffix('?limit=200')}"
        self.asked.append((what, json.loads(request.content) if request.content else None))
        return httpx.Response(200, json=self.answers[what])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    api = FakeApi({"GET /teams": [RED], "GET /users": [ADA], "GET /roles": [ROLE], f"GET {ONE}": ADA})

    def client(endpoint: Endpoint) -> Client:
        return Client(endpoint, httpx.MockTransport(api.handle))

    monkeypatch.setattr(connection, "Client", client)
    monkeypatch.setenv("INTERLOCK_URL", "http://gateway.test")
    monkeypatch.setenv("INTERLOCK_TOKEN", "t")
    return api


def run(*arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, arguments, input=stdin)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.usefixtures("api")
def test_lists_are_tables_for_people_and_json_for_scripts() -> None:
    assert "developer, viewer of t1" in run("users", "list").stdout
    assert json.loads(run("users", "list", "--json").stdout) == [ADA]
    assert "Red" in run("teams", "list").stdout
    assert json.loads(run("teams", "list", "--json").stdout) == [RED]
    assert "tools.execute" in run("roles", "list").stdout
    assert json.loads(run("roles", "list", "--json").stdout) == [ROLE]
    assert "developer" in run("users", "show", "ada@example.com").stdout


def test_a_one_time_password_is_shown_once(api: FakeApi) -> None:
    api.answers["POST /users"] = {"user": ADA, "one_time_password": "made"}
    assert "shown once: made" in run("users", "add", "ada@example.com", "--full-name", "Ada").stdout
    assert api.asked[-1][1] == {
        "name": "ada@example.com", "kind": "person", "full_name": "Ada", "is_admin": False, "password": None,
    }  # fmt: skip
    api.answers[f"POST {ONE}/password"] = {"one_time_password": "again"}
    assert "shown once: again" in run("users", "reset-password", "ada@example.com").stdout


def test_passwords_come_from_files_standard_input_or_the_terminal(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file\n")
    api.answers["POST /users"] = {"user": ADA, "one_time_password": None}
    run("users", "add", "ada@example.com", "--password-file", str(tmp_path / "password"))
    assert api.asked[-1][1]["password"] == "from a file"
    api.answers[f"POST {ONE}/password"] = {"one_time_password": None}
    run("users", "reset-password", "ada@example.com", "--password-file", "-", stdin="from a pipe\n")
    assert api.asked[-1][1] == {"new_password": "from a pipe"}
    api.answers["POST /users/me/password"] = {"status": "changed"}
    output = run("users", "change-password", stdin="old one\nnew one\nnew one\n").output
    assert api.asked[-1][1] == {"current_password": "old one", "new_password": "new one"}
    assert "one\n" not in output


@pytest.mark.parametrize("command", [("users", "add", "a@b.c"), ("users", "reset-password", "a@b.c")])
@pytest.mark.usefixtures("api")
def test_no_password_is_taken_from_the_arguments(command: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, [*command, "--password", "x"]).exit_code == 2


@pytest.mark.usefixtures("api")
def test_an_empty_password_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    given = ["users", "add", "a@b.c", "--password-file", str(tmp_path / "empty")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code != 0
    assert "holds no password" in result.stderr


def test_only_what_is_said_changes(api: FakeApi) -> None:
    api.answers[f"PATCH {ONE}"] = ADA
    run("users", "change", "ada@example.com", "--inactive")
    assert api.asked[-1][1] == {"active": False}
    run("users", "change", "ada@example.com", "--admin", "--full-name", "Ada L.")
    assert api.asked[-1][1] == {"is_admin": True, "full_name": "Ada L."}
    api.answers[f"DELETE {ONE}"] = {"status": "deleted"}
    run("users", "remove", "ada@example.com", "--yes")


def test_a_team_is_named_by_id_or_name(api: FakeApi) -> None:
    api.answers |= {
        "GET /teams/t1/members": [{"principal": "ada@example.com", "owner": True, "joined_at": 7}],
        "PUT /teams/t1/members/bob%40example.com": {"principal": "bob@example.com", "owner": True, "joined_at": 7},
        "DELETE /teams/t1/members/bob%40example.com": {"status": "removed"},
        "POST /teams/t1/invitations": {"invitation": {"email": "bob@example.com"}, "token": "once"},
        "GET /teams/t1/invitations": [{"email": "b@c.d", "id": "i1", "invited_by": "a@b.c", "owner": False}],
        "DELETE /teams/t1/invitations/i1": {"status": "withdrawn"}, "PATCH /teams/t1": RED,
        "DELETE /teams/t1": {"status": "deleted"}, "POST /teams": RED, "POST /invitations/accept": RED,
    }  # fmt: skip
    assert "ada@example.com" in run("teams", "show", "Red").stdout
    assert "an owner of Red" in run("teams", "set-member", "t1", "bob@example.com", "--owner").stdout
    run("teams", "remove-member", "Red", "bob@example.com")
    assert "bob@example.com: once" in run("teams", "invite", "Red", "bob@example.com", "--days", "1").stdout
    assert api.asked[-1][1] == {"email": "bob@example.com", "owner": False, "lifetime": 86400}
    assert "i1" in run("teams", "invitations", "Red").stdout
    run("teams", "withdraw-invitation", "Red", "i1")
    run("teams", "change", "Red", "--name", "Crimson")
    assert api.asked[-1][1] == {"name": "Crimson"}
    run("teams", "add", "Red")
    run("teams", "accept", "--invitation-file", "-", stdin="once\n")
    assert api.asked[-1][1] == {"token": "once"}
    run("teams", "remove", "Red", "--yes")


def test_roles_are_made_given_and_withdrawn(api: FakeApi) -> None:
    api.answers |= {
        "POST /roles": ROLE, "PUT /roles/caller": ROLE, "DELETE /roles/caller": {"status": "deleted"},
        f"POST {ONE}/roles": ADA, f"DELETE {ONE}/roles/caller?team=t1": ADA, f"DELETE {ONE}/roles/caller": ADA,
    }  # fmt: skip
    run("roles", "add", "caller", "tools.execute", "resources.*")
    assert api.asked[-1][1]["permissions"] == ["tools.execute", "resources.*"]
    run("roles", "change", "caller", "tools.read")
    run("roles", "assign", "caller", "ada@example.com", "--team", "Red")
    assert api.asked[-1][1] == {"role": "caller", "team": "t1"}
    run("roles", "withdraw", "caller", "ada@example.com", "--team", "Red")
    assert "has developer" in run("roles", "withdraw", "caller", "ada@example.com").stdout
    run("roles", "remove", "caller")
