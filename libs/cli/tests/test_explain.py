import io
from pathlib import Path

import httpx
import msgspec
import pytest
import typer

from interlock_cli.client import Endpoint
from interlock_cli.errors import StateUnusable
from interlock_cli.explain import explain, token_from
from interlock_common.messages.explaining import Explanation, Rule

ENDPOINT = Endpoint("http://gateway.example", "who-asks")


def gateway(*, allowed: bool, seen: list[httpx.Request]) -> httpx.MockTransport:
    found = Explanation(
        allowed=allowed, code="" if allowed else "token_revoked",
        rules=(Rule("revocation", passed=allowed, reason="as it is"),), principal="", token_id="", teams=(),
        scopes=None,
    )  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=msgspec.json.encode(found))

    return httpx.MockTransport(answer)


def test_the_token_comes_from_where_nobody_else_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_text("from-file\n")
    monkeypatch.setenv("ASKED_ABOUT", "from-env")
    monkeypatch.setattr("sys.stdin", io.StringIO("from-stdin\n"))
    assert [token_from(f"@{tmp_path}/t"), token_from("env:ASKED_ABOUT"), token_from("-")] == [
        "from-file", "from-env", "from-stdin",
    ]  # fmt: skip
    for refused in ("eyJhbGciOi.e30.x", "env:NOT_THERE", f"@{tmp_path}/none"):
        with pytest.raises(StateUnusable) as error:
            token_from(refused)
        assert "eyJ" not in error.value.detail


def test_the_rule_that_refuses_is_printed_and_ends_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ASKED_ABOUT", "a.b.c")
    certificate = tmp_path / "cert.pem"
    certificate.write_text("PEM\n")
    seen: list[httpx.Request] = []
    with pytest.raises(typer.Exit) as ended:
        explain(
            ENDPOINT, "env:ASKED_ABOUT", "notes-add", "desk", None, certificate, as_json=False,
            transport=gateway(allowed=False, seen=seen),
        )  # fmt: skip
    assert ended.value.exit_code == 1
    assert "refused: token_revoked" in capsys.readouterr().out
    assert seen[0].headers["authorization"] == "Bearer who-asks"
    assert msgspec.json.decode(seen[0].content) == {
        "token": "a.b.c", "tool": "notes-add", "server_id": "desk", "certificate": "PEM",
    }  # fmt: skip


def test_a_call_that_would_go_through_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKED_ABOUT", "a.b.c")
    explain(ENDPOINT, "env:ASKED_ABOUT", "t", None, None, as_json=True, transport=gateway(allowed=True, seen=[]))
    assert msgspec.json.decode(capsys.readouterr().out)["allowed"] is True
