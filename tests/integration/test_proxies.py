"""A deployment behind proxies that say who the client is, and which takes no tokens for MCP any more."""

import asyncio
import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_common.testing.waiting import until
from interlock_gateway.testing.certificates import ClientCa, peer_of
from stories.load import modern_call
from stories.stage import Stage, set_up

ADMIN = "admin@example.com"
CA, ELSEWHERE = ClientCa(), ClientCa("Somebody else's CA")
PINNED = CA.issue("pinned")


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    directory: Path = tmp_path_factory.mktemp("proxies")
    (directory / "ca.pem").write_bytes(CA.pem)
    (directory / "rules.yaml").write_text(
        f"pins: {{pinned: ['{peer_of(PINNED).fingerprint}']}}\n"
        "policies:\n"
        "- {name: everybody of ours, issuer: 'CN=Test Client CA'}\n"
        "- {name: whom the proxy names, organization: Console}\n"
    )
    extra = {
        "TRUSTED_PROXIES": "127.0.0.1", "TRUST_PROXY_AUTH": "true", "MCP_CLIENT_AUTH_ENABLED": "false",
        "CLIENT_CA_CERTS": str(directory / "ca.pem"), "CLIENT_CERT_RULES_FILE": str(directory / "rules.yaml"),
    }  # fmt: skip
    with set_up(directory / "deployment", containers=containers, extra=extra) as ready:
        with ready.deployment.rest(ready.token) as admin:
            for name in ("robot", "pinned", "hasty"):
                admin.post("/users", json={"name": name, "kind": "service"}).raise_for_status()
                admin.post(f"/users/{name}/roles", json={"role": "developer"}).raise_for_status()
        yield ready


def passed_on(certificate: x509.Certificate) -> dict[str, str]:
    """As nginx says it."""
    pem = certificate.public_bytes(Encoding.PEM).decode()
    return {"X-SSL-Client-Cert": quote(pem, safe=""), "X-SSL-Client-Verify": "SUCCESS"}


async def search(http: httpx.AsyncClient, headers: dict[str, str]) -> tuple[int, str, str]:
    """Status, code and message of the answer to a tool call."""
    call_headers, body = modern_call("notes-search_notes", {"query": "x"}, 3)
    answer = await http.post("/mcp", headers=call_headers | headers, json=body)
    error = answer.json().get("error", {})
    return answer.status_code, error.get("data", {}).get("code", ""), error.get("message", "")


async def test_who_a_trusted_proxy_names_is_let_in_and_others_learn_what_is_missing(proxied: Stage) -> None:
    named = {"X-Authenticated-User": "robot", "X-User-Organization": "Console"}
    async with httpx.AsyncClient(base_url=proxied.deployment.url) as http:
        assert (await search(http, passed_on(CA.issue("robot"))))[:2] == (200, "")
        assert (await search(http, named))[:2] == (200, "")
        status, code, message = await search(http, {})
        assert (status, code) == (401, "proxy_misconfigured")
        assert "X-Authenticated-User" in message
        assert "X-SSL-Client-Cert" in message
        for said, code in (
            ({"Authorization": f"Bearer {proxied.token}"}, "tokens_off"),
            (named | {"Authorization": f"Bearer {proxied.token}"}, "tokens_off"),
            (passed_on(CA.issue("nobody")), "certificate_identity_unknown"),
            (passed_on(ELSEWHERE.issue("robot")), "certificate_refused"),
            (passed_on(CA.issue("robot")) | {"X-SSL-Client-Verify": "FAILED:expired"}, "proxy_verify_failed"),
            (passed_on(CA.issue("robot")) | {"X-Authenticated-User": ADMIN}, "credentials_disagree"),
            ({"X-SSL-Client-Cert": "nonsense", "X-SSL-Client-Verify": "SUCCESS"}, "certificate_unreadable"),
        ):
            assert (await search(http, said))[:2] == (401, code)
        assert (await search(http, {"X-Authenticated-User": "robot"}))[:2] == (403, "certificate_policy")


def test_the_administration_stays_protected(proxied: Stage) -> None:
    console = {"X-User-Organization": "Console"}
    with proxied.deployment.rest() as http:
        assert http.get("/users").status_code == 401
        assert http.get("/users", headers=console | {"X-Authenticated-User": "robot"}).status_code == 403
        assert http.get("/users", headers=console | {"X-Authenticated-User": ADMIN}).status_code == 200
        body = {"name": "made-by-a-page", "kind": "service"}
        forged = console | {"X-Authenticated-User": ADMIN, "Origin": "https://evil.example"}
        refused = http.post("/users", headers=forged, json=body)
        assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (403, "cross_site")
    with proxied.deployment.rest(proxied.token) as http:
        assert http.get("/users").status_code == 200


async def test_another_certificate_than_the_pinned_one_is_refused_and_recorded(proxied: Stage) -> None:
    async with httpx.AsyncClient(base_url=proxied.deployment.url) as http:
        assert (await search(http, passed_on(PINNED)))[:2] == (200, "")
        other = CA.issue("pinned")
        assert (await search(http, passed_on(other)))[:2] == (401, "certificate_pin")

    def recorded() -> list[dict[str, Any]]:
        with proxied.deployment.rest(proxied.token) as admin:
            page = admin.get("/audit/records", params={"kind": "call.refused", "limit": 100}).json()["records"]
        leaves = [json.loads(record["leaf"]) for record in page]
        return [leaf for leaf in leaves if leaf["reason"] == "certificate_pin"]

    await until(lambda: bool(recorded()), 15)
    assert recorded()[0]["certificate"] == peer_of(other).fingerprint


async def test_a_client_may_ask_twenty_times_at_once_and_then_ten_times_a_second(proxied: Stage) -> None:
    headers = passed_on(CA.issue("hasty"))
    async with httpx.AsyncClient(base_url=proxied.deployment.url, timeout=30) as http:
        outcomes = [each[:2] for each in await asyncio.gather(*(search(http, headers) for _ in range(90)))]
    assert set(outcomes) == {(200, ""), (429, "rate_limited")}
    assert outcomes.count((200, "")) >= 20


async def test_a_certificate_that_is_passed_on_is_refused_within_a_second_of_its_revocation(proxied: Stage) -> None:
    certificate = CA.issue("robot")
    peer = peer_of(certificate)
    async with httpx.AsyncClient(base_url=proxied.deployment.url) as http:
        assert (await search(http, passed_on(certificate)))[:2] == (200, "")

        def revoke() -> None:
            with proxied.deployment.rest(proxied.token) as admin:
                body = {"issuer": peer.authority_key_id, "fingerprint": peer.fingerprint}
                admin.post(f"/certificates/{peer.serial}/revoke", json=body).raise_for_status()

        await asyncio.to_thread(revoke)
        revoked = time.monotonic()
        while (await search(http, passed_on(certificate)))[:2] != (401, "certificate_revoked"):
            assert time.monotonic() - revoked < 1
