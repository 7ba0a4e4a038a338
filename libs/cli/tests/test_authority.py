"""``interlock certificates``: what it asks for, what it prints, and how it waits for those who have to follow."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from interlock_cli import authority, connection
from interlock_cli.client import Client, Endpoint
from interlock_cli.main import app
from interlock_common.messages.certs import Reason

LEAF = {
    "serial": "4f1d",
    "issuer": "ab",
    "fingerprint": "sha256:00",
    "subject": "auth",
    "reason": "superseded",
    "at": 1,
}
REVOKED: dict[str, Any] = {"revoked": [LEAF], "connections_ended": 1, "ms": 41.3, "enforced": True}
LEAVES = {"leaves": [
    {"serial": "4f1d", "identity": "auth", "fingerprint": "sha256:00", "not_before": 0, "not_after": 86400,
     "reason": "superseded"},
]}  # fmt: skip


def status(next_step: str, waiting_for: tuple[str, ...] = ()) -> dict[str, Any]:
    root = {"number": 1, "state": "active", "root_fingerprint": "sha256:" + "a" * 64, "root_key_id": "ab",
            "not_before": 0, "not_after": 86400}  # fmt: skip
    peer = {"identity": "auth", "instance": "a1", "bundle": 1, "leaf": 1}
    return {"generations": [root], "bundle": 1, "peers": [peer], "next_step": next_step, "waiting_for": waiting_for}


class Gateway:
    """Answers what is laid ready, by method and path; a list is answered one after the other."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[str, list[httpx.Response]] = {}

    def ready(self, request: str, *answers: Any, status: int = 200) -> None:
        made = (httpx.Response(status, json=answer, headers=_kind(status)) for answer in answers)
        self.answers.setdefault(request, []).extend(made)

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.asked.append((request.method, path, json.loads(request.content) if request.content else None))
        waiting = self.answers[f"{request.method} {path}"]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


def _kind(status: int) -> dict[str, str]:
    return {"content-type": "application/problem+json" if status >= 400 else "application/json"}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    found = Gateway()

    def client(endpoint: Endpoint) -> Client:
        return Client(endpoint, httpx.MockTransport(found.handle))

    monkeypatch.setattr(connection, "Client", client)
    monkeypatch.setattr(authority, "_ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setenv("INTERLOCK_URL", "http://gateway.test")
    monkeypatch.setenv("INTERLOCK_TOKEN", "t")
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["certificates", *arguments])


def refusal(detail: str) -> dict[str, Any]:
    return {"type": "urn:interlock:error:step_refused", "title": "step refused", "status": 409, "detail": detail}


def test_leaves_are_listed_with_their_ends(gateway: Gateway) -> None:
    gateway.ready("GET /certificates", LEAVES)
    said = run("list").stdout
    assert "4f1d" in said
    assert "1970-01-02 00:00:00" in said
    assert "superseded" in said


def test_a_serial_number_may_be_written_as_openssl_writes_it(gateway: Gateway) -> None:
    gateway.ready("POST /certificates/4f1d/revoke", REVOKED)
    result = run("revoke", "4F:1D", "--reason", "superseded")
    assert result.exit_code == 0, result.output
    assert gateway.asked[0][2] == {"reason": "superseded", "issuer": None}
    assert "1 revoked, 1 connections to the bus ended, within 41.3 ms" in result.stdout
    assert run("revoke", "nonsense").exit_code != 0


def test_a_bus_that_has_not_followed_is_told(gateway: Gateway) -> None:
    gateway.ready("POST /certificates/identities/auth/revoke", REVOKED | {"enforced": False})
    assert "asked again until it does" in run("revoke-identity", "auth").stderr


def test_a_reinstated_service_may_join_again(gateway: Gateway) -> None:
    gateway.ready("POST /certificates/identities/auth/reinstate", None, status=200)
    assert "auth may join again" in run("reinstate", "auth").stdout


def test_the_authority_is_a_table_of_cas_and_of_who_follows(gateway: Gateway) -> None:
    gateway.ready("GET /certificates/authority", status("activate", ("auth a1",)))
    said = run("authority").stdout
    assert "next step: activate" in said
    assert "which waits for auth a1" in said
    assert json.loads(run("authority", "--json").stdout)["bundle"] == 1


def test_an_unsafe_step_is_one_line_with_the_names(gateway: Gateway) -> None:
    gateway.ready("POST /certificates/authority/activate", refusal("activate is not safe yet: auth a1 …"), status=409)
    result = run("rotate", "activate")
    assert (result.exit_code, result.stdout) == (8, "")
    assert "activate is not safe yet: auth a1" in result.stderr


def test_all_takes_each_step_as_soon_as_it_is_safe(gateway: Gateway) -> None:
    gateway.ready("GET /certificates/authority", status("activate"))
    unsafe = refusal("activate is not safe yet: auth a1 have not confirmed the trust bundle")
    gateway.ready("POST /certificates/authority/activate", unsafe, unsafe, status=409)
    gateway.ready("POST /certificates/authority/activate", status("taint"))
    gateway.ready("POST /certificates/authority/taint", status("revoke"))
    gateway.ready("POST /certificates/authority/revoke", status("prepare"))
    result = run("rotate", "all")
    assert result.exit_code == 0, result.output
    assert [path.rpartition("/")[2] for _, path, _ in gateway.asked] == [
        "authority", "activate", "activate", "activate", "taint", "revoke",
    ]  # fmt: skip
    assert result.stderr.count("auth a1 have not confirmed") == 1
    assert "revoke: done" in result.stderr


def test_all_gives_up_with_the_names_when_the_time_is_over(gateway: Gateway) -> None:
    gateway.ready("GET /certificates/authority", status("prepare"))
    gateway.ready("POST /certificates/authority/prepare", refusal("prepare is not safe yet: auth a1 …"), status=409)
    result = run("rotate", "all", "--timeout", "0")
    assert result.exit_code != 0
    assert "prepare is not safe yet: auth a1" in result.stderr


def test_every_reason_of_the_contract_can_be_said(gateway: Gateway) -> None:
    gateway.ready("POST /certificates/4f1d/revoke", REVOKED)
    for reason in Reason.__value__.__args__:
        assert run("revoke", "4f1d", "--reason", reason).exit_code == 0
