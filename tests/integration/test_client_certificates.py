"""Clients with certificates at a whole deployment: two edges that ask for them, tokens beside them, and their end."""

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_common.testing.chains import ChainAuthority, Pair
from interlock_common.testing.waiting import until
from interlock_gateway.testing.certificates import peer_of
from stories.load import modern_call
from stories.stage import Stage, set_up

HANDSHAKE = {"Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "jsonrpc": "2.0", "id": 0, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "story", "version": "1"}},
}  # fmt: skip
SECOND = 1.0


@dataclass(frozen=True)
class Clients:
    """A CA of clients, and what they connect with."""

    directory: Path
    front: ChainAuthority = field(default_factory=lambda: ChainAuthority.root("front"))
    ca: ChainAuthority = field(default_factory=lambda: ChainAuthority.root("clients"))

    def issue(self, name: str) -> tuple[Pair, ssl.SSLContext]:
        """A certificate with that common name, and a context that shows it."""
        pair = self.ca.issue(name, hosts=())
        cert, key = pair.write(self.directory, name)
        context = ssl.create_default_context(cafile=self.directory / "front.pem")
        context.load_cert_chain(cert, key)
        return pair, context


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    found = Clients(tmp_path_factory.mktemp("clients"))
    (found.directory / "front.pem").write_bytes(found.front.pem)
    (found.directory / "clients.pem").write_bytes(found.ca.pem)
    found.front.issue("edge").write(found.directory)
    return found


@pytest.fixture(scope="module")
def stage_with(tmp_path_factory: pytest.TempPathFactory, containers: bool, clients: Clients) -> Generator[Stage]:
    directory = clients.directory
    extra = {
        "CERT_FILE": str(directory / "cert.pem"), "KEY_FILE": str(directory / "key.pem"), "CERT_REQS": "1",
        "CA_CERTS": str(directory / "clients.pem"), "CLIENT_CERT_AUTH": "true", "RATE_LIMIT_CERTIFICATE": "200/400",
    }  # fmt: skip
    with set_up(
        tmp_path_factory.mktemp("mtls"), containers=containers, extra=extra, gateways=2, ca=directory / "front.pem"
    ) as ready:
        with ready.deployment.rest(ready.token) as admin:
            for name in ("robot", "other"):
                admin.post("/users", json={"name": name, "kind": "service"}).raise_for_status()
                admin.post(f"/users/{name}/roles", json={"role": "developer"}).raise_for_status()
        yield ready


def at(stage: Stage, context: ssl.SSLContext, token: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=stage.deployment.url, headers=headers, verify=context, timeout=20)


async def search(http: httpx.AsyncClient) -> tuple[int, str]:
    """The status of a tool call, and the code it was refused with."""
    headers, body = modern_call("notes-search_notes", {"query": "x"}, 3)
    answer = await http.post("/mcp", headers=headers, json=body)
    said = answer.json()
    return answer.status_code, said.get("error", {}).get("data", {}).get("code", "")


def token_of(stage: Stage, name: str, **said: Any) -> str:
    with stage.deployment.rest(stage.token) as admin:
        body = {"name": "story", "lifetime": 600, "principal": name, **said}
        return admin.post("/tokens", json=body).raise_for_status().json()["token"]


def revoke(stage: Stage, pair: Pair) -> None:
    peer = peer_of(pair.leaf)
    body = {"reason": "key_compromise", "issuer": peer.authority_key_id, "fingerprint": peer.fingerprint}
    with stage.deployment.rest(stage.token) as admin:
        admin.post(f"/certificates/{peer.serial}/revoke", json=body).raise_for_status()


async def test_a_certificate_is_a_credential_and_so_is_a_token_and_both_must_agree(
    stage_with: Stage, clients: Clients
) -> None:
    _, robot = clients.issue("robot")
    _, stranger = clients.issue("stranger")
    without = stage_with.deployment.trust
    own, others = token_of(stage_with, "robot"), token_of(stage_with, "other")
    expected = [
        (robot, None, (200, "")), (without, own, (200, "")), (robot, own, (200, "")),
        (robot, others, (401, "credentials_disagree")), (stranger, None, (401, "certificate_identity_unknown")),
        (stranger, own, (401, "credentials_disagree")), (without, None, (401, "token_missing")),
    ]  # fmt: skip
    for context, token, outcome in expected:
        async with at(stage_with, context, token) as http:
            assert await search(http) == outcome


async def test_the_record_of_a_call_names_the_certificate(stage_with: Stage, clients: Clients) -> None:
    pair, robot = clients.issue("robot")
    async with at(stage_with, robot) as http:
        assert await search(http) == (200, "")

    def recorded() -> list[dict[str, Any]]:
        with stage_with.deployment.rest(stage_with.token) as admin:
            page = admin.get("/audit/records", params={"kind": "call.intent", "limit": 50}).json()["records"]
        leaves = [json.loads(record["leaf"]) for record in page]
        return [leaf for leaf in leaves if leaf.get("certificate") == peer_of(pair.leaf).fingerprint]

    await until(lambda: bool(recorded()), 15)
    assert recorded()[0]["principal"] == "robot"
    assert "token_id" not in recorded()[0]


async def test_a_stolen_bound_token_opens_nothing_and_a_renewed_certificate_goes_on_with_it(
    stage_with: Stage, clients: Clients
) -> None:
    _, first = clients.issue("robot")
    new, second = clients.issue("robot")
    _, thiefs = clients.issue("other")
    async with at(stage_with, first) as http:
        seen = (await http.get("/auth/certificate")).raise_for_status().json()
        body = {"name": "bound", "lifetime": 600, "certificate": "this"}
        bound = (await http.post("/tokens", json=body)).raise_for_status().json()["token"]
    assert token_of(stage_with, "robot", certificate=seen["thumbprint"])
    async with at(stage_with, first, bound) as http:
        assert await search(http) == (200, "")
    for context in (stage_with.deployment.trust, second, thiefs):
        async with at(stage_with, context, bound) as http:
            status, code = await search(http)
        assert (status, code) == (401, "token_bound")
    async with at(stage_with, first, bound) as http:
        said = {"certificate": new.leaf.public_bytes(Encoding.PEM).decode()}
        (await http.post("/auth/certificate/successor", json=said)).raise_for_status()
        other = clients.ca.issue("other", hosts=())
        wrong = await http.post(
            "/auth/certificate/successor", json={"certificate": other.leaf.public_bytes(Encoding.PEM).decode()}
        )
        assert wrong.status_code == 403

    outcomes: list[tuple[int, str]] = []
    for _ in range(10):
        for context in (second, first):
            async with at(stage_with, context, bound) as http:
                outcomes.append(await search(http))
    assert outcomes == [(200, "")] * 20, "no call fails, at whichever edge"


async def test_a_revoked_certificate_is_refused_within_a_second_and_its_streams_end(
    stage_with: Stage, clients: Clients
) -> None:
    pair, robot = clients.issue("robot")
    token = token_of(stage_with, "robot")
    async with at(stage_with, robot) as http:
        opened = await http.post("/mcp", json=INITIALIZE, headers=HANDSHAKE)
        session = HANDSHAKE | {"Mcp-Session-Id": opened.raise_for_status().headers["mcp-session-id"]}
        url = stage_with.mcp.replace("https", "wss").removesuffix("/mcp") + "/ws"
        async with (
            http.stream("GET", "/mcp", headers=session) as stream,
            http.stream("GET", "/sse", headers={"Accept": "text/event-stream"}) as events,
            websockets.connect(url, ssl=robot, subprotocols=[websockets.Subprotocol("mcp")]) as socket,
            at(stage_with, robot, token) as beside,
        ):
            assert {stream.status_code, events.status_code} == {200}
            reading = [asyncio.create_task(_until_end(each)) for each in (stream, events)]
            assert await search(beside) == (200, "")
            await asyncio.to_thread(revoke, stage_with, pair)
            revoked = time.monotonic()
            async with asyncio.timeout(SECOND):
                await asyncio.gather(*reading)
                await socket.wait_closed()
            await _refused_everywhere(stage_with, robot, None, revoked)
            await _refused_everywhere(stage_with, robot, token, revoked)
        assert socket.close_code == 1008
    async with at(stage_with, stage_with.deployment.trust, token) as http:
        assert await search(http) == (200, "")


async def _until_end(stream: httpx.Response) -> None:
    async for _ in stream.aiter_lines():
        pass


async def _refused_everywhere(stage: Stage, context: ssl.SSLContext, token: str | None, revoked: float) -> None:
    """Twenty new connections in a row: two edges share the port."""
    in_a_row = 0
    while in_a_row < 20:
        async with at(stage, context, token) as http:
            status, code = await search(http)
        if (status, code) == (401, "certificate_revoked"):
            in_a_row += 1
        else:
            assert time.monotonic() - revoked < SECOND, "an edge still let it in"
            in_a_row = 0


async def test_forged_headers_of_a_proxy_are_taken_off_and_recorded(stage_with: Stage) -> None:
    forged = {"X-Authenticated-User": "admin@example.com", "X-SSL-Client-Verify": "SUCCESS"}
    async with at(stage_with, stage_with.deployment.trust) as http:
        for path in ("/users", "/tokens", "/audit/records"):
            answer = await http.get(path, headers=forged)
            assert answer.status_code == 401

    def recorded() -> bool:
        with stage_with.deployment.rest(stage_with.token) as admin:
            page = admin.get("/audit/records", params={"kind": "action", "limit": 100}).json()["records"]
        return any(json.loads(record["leaf"])["action"] == "proxy_headers.stripped" for record in page)

    await until(recorded, 15)


def test_curl_and_openssl_show_certificates_as_well(stage_with: Stage, clients: Clients) -> None:
    clients.issue("robot")
    directory = clients.directory
    curl = [
        "curl", "-sS", "--cacert", str(directory / "front.pem"), "--cert", str(directory / "robot-cert.pem"),
        "--key", str(directory / "robot-key.pem"), f"{stage_with.deployment.url}/auth/certificate",
    ]  # fmt: skip
    seen = json.loads(subprocess.run(curl, capture_output=True, check=True, timeout=20).stdout)
    shown = x509.load_pem_x509_certificate((directory / "robot-cert.pem").read_bytes())
    assert seen["fingerprint"] == peer_of(shown).fingerprint
