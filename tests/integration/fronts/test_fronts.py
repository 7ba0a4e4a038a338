"""The front ends that we ship, each before a gateway: whom they let through, and what they tell the gateway."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_common.testing.chains import ChainAuthority, Pair
from interlock_common.testing.waiting import until
from interlock_gateway.testing.certificates import peer_of
from stories.deployment import docker_answers, wait_for
from stories.fronts import PRODUCTS, Front, Product, is_here, running
from stories.load import modern_call
from stories.stage import Stage, set_up

ADMIN = "admin@example.com"
FORGED_ADDRESS = "203.0.113.9"
NO_GATEWAY = {502, 503}

pytestmark = pytest.mark.docker


@dataclass(frozen=True)
class Files:
    """Two CAs: of clients, and of the hop between front and gateway."""

    directory: Path
    clients: ChainAuthority = field(default_factory=lambda: ChainAuthority.root("clients"))
    hop: ChainAuthority = field(default_factory=lambda: ChainAuthority.root("hop"))

    def __post_init__(self) -> None:
        (self.directory / "clients-ca.pem").write_bytes(self.clients.pem)
        (self.directory / "gateway-ca.pem").write_bytes(self.hop.pem)
        self.hop.issue("gateway", hosts=("gateway", "localhost", "127.0.0.1")).write(self.directory, "gateway")

    def for_front(self, directory: Path, *, gateway_ca: bytes | None = None) -> Path:
        """What a front needs, and nothing else."""
        directory.mkdir()
        pair = self.hop.issue("front", hosts=("localhost", "127.0.0.1"))
        pair.write(directory)
        (directory / "proxy.pem").write_bytes(pair.chain + pair.key)
        (directory / "clients-ca.pem").write_bytes(self.clients.pem)
        (directory / "gateway-ca.pem").write_bytes(gateway_ca or self.hop.pem)
        return directory

    def client(self, name: str, by: ChainAuthority | None = None) -> tuple[Pair, ssl.SSLContext]:
        pair = (by or self.clients).issue(name, hosts=())
        context = self.nobody()
        context.load_cert_chain(*pair.write(self.directory, name))
        return pair, context

    def nobody(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.directory / "gateway-ca.pem")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, containers: bool, files: Files) -> Generator[Stage]:
    """A gateway that believes whoever shows the certificate of a front."""
    directory = files.directory
    extra = {
        "HOST": "0.0.0.0", "CERT_FILE": str(directory / "gateway-cert.pem"),
        "KEY_FILE": str(directory / "gateway-key.pem"), "CERT_REQS": "1", "CA_CERTS": str(directory / "gateway-ca.pem"),
        "PROXY_CERTIFICATES": "front", "TRUST_PROXY_AUTH": "true",
        "CLIENT_CA_CERTS": str(directory / "clients-ca.pem"), "RATE_LIMIT_CERTIFICATE": "200/400",
    }  # fmt: skip
    scratch, ca = tmp_path_factory.mktemp("behind"), directory / "gateway-ca.pem"
    with set_up(scratch, containers=containers, extra=extra, ca=ca) as ready:
        with ready.deployment.rest(ready.token) as admin:
            admin.post("/users", json={"name": "robot", "kind": "service"}).raise_for_status()
            admin.post("/users/robot/roles", json={"role": "developer"}).raise_for_status()
        yield ready


@pytest.fixture(scope="module", params=PRODUCTS, ids=lambda product: product.name)
def product(request: pytest.FixtureRequest) -> Product:
    product: Product = request.param
    if not docker_answers():
        pytest.skip(f"NOT TESTED: {product.name} needs a Docker engine, and none answers")
    if not is_here(product.image):
        pytest.skip(f"NOT TESTED: {product.name} needs its image: docker pull {product.image}")
    return product


@pytest.fixture(scope="module")
def front(product: Product, behind: Stage, files: Files, tmp_path_factory: pytest.TempPathFactory) -> Generator[Front]:
    scratch = tmp_path_factory.mktemp(f"front-{product.name}")
    tls = files.for_front(scratch / "tls")
    with running(product, scratch, tls, behind.deployment.ports["public"]) as front:
        _, robot = files.client("robot")
        try:
            wait_for(lambda: status_of(front, robot) == 200, f"an answer through {product.name}", 30)
        except TimeoutError as error:
            error.add_note(front.logs()[-4000:])
            raise
        yield front


def status_of(front: Front, context: ssl.SSLContext) -> int:
    """What ``/health`` answers through the front; 0 where nothing answers."""
    try:
        return httpx.get(f"{front.url}/health", verify=context, timeout=5).status_code
    except httpx.TransportError:
        return 0


def at(front: Front, context: ssl.SSLContext, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=front.url, verify=context, timeout=20, headers=headers)


async def search(http: httpx.AsyncClient, forged: list[tuple[str, str]] | None = None) -> tuple[int, str]:
    """The status of a tool call, and the code that it was refused with."""
    headers, body = modern_call("notes-search_notes", {"query": "x"}, 3)
    answer = await http.post("/mcp", headers=[*headers.items(), *(forged or ())], json=body)
    return answer.status_code, answer.json().get("error", {}).get("data", {}).get("code", "")


def pem_of(pair: Pair) -> str:
    return quote(pair.leaf.public_bytes(Encoding.PEM).decode(), safe="")


async def test_a_certificate_calls_a_tool_and_is_in_the_record(front: Front, behind: Stage, files: Files) -> None:
    pair, robot = files.client("robot")
    async with at(front, robot) as http:
        assert await search(http) == (200, "")

    def recorded() -> list[dict[str, Any]]:
        with behind.deployment.rest(behind.token) as admin:
            page = admin.get("/audit/records", params={"kind": "call.intent", "limit": 50}).json()["records"]
        leaves = [json.loads(record["leaf"]) for record in page]
        return [leaf for leaf in leaves if leaf.get("certificate") == peer_of(pair.leaf).fingerprint]

    await until(lambda: bool(recorded()), 15)
    (intent,) = recorded()
    assert intent["principal"] == "robot"
    assert intent["peer"] != front.address, "the client's address, not that of the front"


async def test_nobody_gets_in_without_a_certificate_that_counts(front: Front, files: Files) -> None:
    _, elsewhere = files.client("robot", by=ChainAuthority.root("elsewhere"))
    for context in (files.nobody(), elsewhere):
        try:
            async with at(front, context) as http:
                answer = await http.get("/health")
        except (httpx.TransportError, ssl.SSLError):
            continue
        assert answer.status_code == 400, "nginx says it in HTTP"
        assert "healthy" not in answer.text
    _, stranger = files.client("stranger")
    async with at(front, stranger) as http:
        assert await search(http) == (401, "certificate_identity_unknown")


async def test_what_a_client_forges_does_nothing(front: Front, behind: Stage, files: Files) -> None:
    pair, robot = files.client("robot")
    other, stranger = files.client("stranger")
    admins = files.clients.issue(ADMIN, hosts=())
    forged = [
        ("X-Authenticated-User", ADMIN), ("X-User-Organization", "Console"), ("x-ssl-client-verify", "SUCCESS"),
        ("X-SSL-Client-Cert", pem_of(admins)), ("X-SSL-CLIENT-CERT", pem_of(admins)), ("X-SSL-Client-S-DN-CN", ADMIN),
        ("X-SSL-Client-S-DN", f"CN={ADMIN}"), ("X-Forwarded-Client-Cert", f'Cert="{pem_of(admins)}"'),
        ("X-Forwarded-For", FORGED_ADDRESS), ("X-Real-IP", FORGED_ADDRESS), ("Forwarded", f"for={FORGED_ADDRESS}"),
        ("X-Forwarded-Proto", "http"),
    ]  # fmt: skip
    async with at(front, robot) as http:
        seen = (await http.get("/auth/certificate", headers=forged)).raise_for_status().json()
        assert seen["fingerprint"] == peer_of(pair.leaf).fingerprint
        assert (await http.get("/users", headers=forged)).status_code == 403
        assert await search(http, forged) == (200, "")
    async with at(front, stranger) as http:
        assert await search(http, forged) == (401, "certificate_identity_unknown")

    def peers_of(kind: str, fingerprint: str) -> set[str]:
        with behind.deployment.rest(behind.token) as admin:
            page = admin.get("/audit/records", params={"kind": kind, "limit": 50}).json()["records"]
        leaves = [json.loads(record["leaf"]) for record in page]
        return {leaf["peer"] for leaf in leaves if leaf.get("certificate") == fingerprint}

    for kind, of in (("call.intent", pair), ("call.refused", other)):
        fingerprint = peer_of(of.leaf).fingerprint
        await until(lambda kind=kind, fingerprint=fingerprint: bool(peers_of(kind, fingerprint)), 15)
        assert peers_of(kind, fingerprint).isdisjoint({FORGED_ADDRESS, front.address})


async def test_the_gateway_knows_that_its_client_came_over_tls(front: Front, files: Files) -> None:
    _, robot = files.client("robot")
    async with at(front, robot) as http:
        answer = await http.get("/health")
    assert answer.headers.get_list("strict-transport-security") == ["max-age=31536000"]


async def events_of(stream: httpx.Response) -> AsyncGenerator[str]:
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


async def next_of(events: AsyncIterator[str]) -> str:
    async with asyncio.timeout(10):
        return await anext(events)


async def test_events_of_a_stream_come_while_it_is_open(front: Front, files: Files) -> None:
    _, robot = files.client("robot")
    headers, body = modern_call("notes-count_slowly", {"n": 500, "seconds": 100}, 7)
    body["params"]["_meta"]["progressToken"] = "p"
    async with at(front, robot) as http:
        async with http.stream("POST", "/mcp", headers=headers, json=body) as stream:
            events = events_of(stream)
            progress = [json.loads(await next_of(events)) for _ in range(3)]
        assert [event["params"]["progress"] for event in progress] == [1, 2, 3]
        async with http.stream("GET", "/sse", headers={"Accept": "text/event-stream"}) as stream:
            assert "/messages" in await next_of(events_of(stream))


async def test_a_websocket_has_the_identity_of_its_certificate(front: Front, files: Files) -> None:
    _, robot = files.client("robot")
    _, stranger = files.client("stranger")
    url = front.url.replace("https", "wss") + "/ws"
    mcp = [websockets.Subprotocol("mcp")]
    _, body = modern_call("notes-search_notes", {"query": "x"}, 3)
    async with websockets.connect(url, ssl=robot, subprotocols=mcp) as socket:
        await socket.send(json.dumps(body))
        async with asyncio.timeout(10):
            answer = json.loads(await socket.recv())
    assert answer["result"]["_meta"]["dev.interlock/audit"]
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url, ssl=stranger, subprotocols=mcp)
    assert refused.value.response.status_code == 401


def test_plain_http_is_sent_to_https(front: Front) -> None:
    answer = httpx.get(f"http://localhost:{front.plain_port}/admin?x=1")
    assert answer.status_code == 308
    assert answer.headers["location"].startswith("https://localhost")
    assert answer.headers["location"].endswith("/admin?x=1")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(front: Front, files: Files) -> None:
    _, context = files.client("robot")
    for version, taken in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)):
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with closing(create_connection(("localhost", front.port), 10)) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as tls:
                    came_about = tls.version() == "TLSv1.2"
            except (ssl.SSLError, ConnectionResetError):
                came_about = False
        assert came_about is taken


def test_a_front_says_nothing_to_a_gateway_of_another_ca(
    product: Product, behind: Stage, files: Files, tmp_path: Path
) -> None:
    tls = files.for_front(tmp_path / "tls", gateway_ca=ChainAuthority.root("elsewhere").pem)
    _, robot = files.client("robot")
    with running(product, tmp_path, tls, behind.deployment.ports["public"]) as front:
        wait_for(lambda: status_of(front, robot) != 0, f"an answer of {product.name}", 30)
        assert status_of(front, robot) in NO_GATEWAY


def test_nginx_shows_a_replaced_certificate_to_the_next_handshake(behind: Stage, files: Files, tmp_path: Path) -> None:
    nginx = PRODUCTS[0]
    if not docker_answers() or not is_here(nginx.image):
        pytest.skip(f"NOT TESTED: needs a Docker engine with {nginx.image}")
    tls = files.for_front(tmp_path / "tls")

    def shown() -> int:
        pem = ssl.get_server_certificate(("localhost", front.port), timeout=5)
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    _, robot = files.client("robot")
    with running(nginx, tmp_path, tls, behind.deployment.ports["public"]) as front:
        wait_for(lambda: status_of(front, robot) == 200, "an answer of nginx", 30)
        new = files.hop.issue("front")
        new.write(tls)
        wait_for(lambda: shown() == new.leaf.serial_number, "the new certificate", 20)
