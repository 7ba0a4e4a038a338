"""The edge behind TLS, over real sockets: what requests and WebSockets know of their connection."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.testing.chains import ChainAuthority, Pair
from interlock_common.testing.waiting import until
from interlock_gateway.certificates.peer import PEER, PeerCertificate
from interlock_gateway.config import Settings
from interlock_gateway.server import listen, make_server
from interlock_gateway.tls_front.front import Source, TlsFront


@dataclass
class Telling:
    """An application that keeps the scopes it is called with."""

    scopes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": scope["scheme"]})
            await send({"type": "websocket.close"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": ()})
        await send({"type": "http.response.body", "body": json.dumps(scope["scheme"]).encode()})

    @property
    def peers(self) -> list[PeerCertificate | None]:
        return [scope[PEER] for scope in self.scopes]


@dataclass
class World:
    directory: Path
    root: ChainAuthority = field(default_factory=ChainAuthority.root)
    telling: Telling = field(default_factory=Telling)

    def __post_init__(self) -> None:
        self.issuing = self.root.below("issuing")
        self.cert, self.key = self.issuing.issue("edge").write(self.directory)
        self.authorities = self.directory / "ca.pem"
        self.authorities.write_bytes(self.root.pem)

    @asynccontextmanager
    async def served(self, **settings: Any) -> AsyncGenerator[str]:
        named: dict[str, Any] = {
            "ssl": True, "cert_file": self.cert, "key_file": self.key, "ca_certs": self.authorities, "cert_reqs": 1
        }  # fmt: skip
        source = Source.of(Settings(**(named | settings)), SYSTEM_CLOCK)
        listener = listen("127.0.0.1", 0)
        server = make_server(self.telling, TlsFront(source, SYSTEM_CLOCK) if source else None)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        try:
            async with asyncio.timeout(20):
                yield f"localhost:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
            listener.close()

    def trust(self, client: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.root.pem.decode())
        if client is not None:
            context.load_cert_chain(*client.write(self.directory, "client"))
        return context


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_requests_of_a_connection_share_what_was_read_of_its_certificate(world: World) -> None:
    ada = world.issuing.issue("ada", hosts=("ada.example.com",))
    trust = world.trust(ada)
    async with world.served() as address, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(f"https://{address}/", ssl=trust) as answer:
                assert await answer.json(content_type=None) == "https"
    first, second = world.telling.scopes
    peer = first[PEER]
    assert isinstance(peer, PeerCertificate)
    assert second[PEER] is peer
    assert (peer.common_name, peer.dns_names, peer.issuer) == ("ada", ("ada.example.com",), "CN=issuing")
    tls = first["extensions"]["tls"]
    assert (tls["client_cert_name"], tls["tls_version"], tls["client_cert_error"]) == ("CN=ada", 0x0304, None)
    assert tls["cipher_suite"] in {0x1301, 0x1302, 0x1303}
    assert [pem.splitlines()[0] for pem in tls["client_cert_chain"]] == ["-----BEGIN CERTIFICATE-----"] * 3


async def test_a_websocket_knows_the_certificate_too(world: World) -> None:
    ada = world.issuing.issue("ada")
    async with (
        world.served() as address,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"wss://{address}/ws", ssl=world.trust(ada)) as socket,
    ):
        assert await socket.receive_str() == "wss"
    (scope,) = world.telling.scopes
    assert scope[PEER].common_name == "ada"
    assert set(scope["extensions"]) == {"websocket.http.response", "tls"}


async def test_without_a_certificate_and_without_tls_there_is_no_peer(world: World) -> None:
    async with (
        world.served() as address,
        aiohttp.ClientSession() as session,
        session.get(f"https://{address}/", ssl=world.trust()),
    ):
        pass
    async with world.served(ssl=False, cert_reqs=0) as address, aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/"):
            pass
        async with session.ws_connect(f"ws://{address}/ws") as socket:
            assert await socket.receive_str() == "ws"
    assert world.telling.peers == [None, None, None]
    assert world.telling.scopes[0]["extensions"]["tls"]["client_cert_chain"] == []
    assert "extensions" not in world.telling.scopes[1]


async def test_level_two_refuses_a_client_without_a_certificate_before_any_request(world: World) -> None:
    async with world.served(cert_reqs=2) as address, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError, match="CERTIFICATE_REQUIRED"):
            async with session.get(f"https://{address}/", ssl=world.trust()):
                pass
    assert world.telling.scopes == []


@pytest.mark.parametrize(("depth", "taken"), [(2, False), (3, True)])
async def test_one_more_issuing_ca_needs_one_more_of_depth(world: World, depth: int, taken: bool) -> None:
    ada = world.issuing.below("department").issue("ada")
    async with world.served(cert_reqs=2, cert_chain_depth=depth) as address, aiohttp.ClientSession() as session:
        try:
            async with session.get(f"https://{address}/", ssl=world.trust(ada)) as answer:
                assert answer.status == 200
        except aiohttp.ClientError:
            pass
    assert bool(world.telling.scopes) is taken


async def test_a_slow_head_over_tls_is_bounded_as_without_it(world: World) -> None:
    async with world.served(cert_reqs=0, ca_certs=None) as address:
        port = int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=world.trust())
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 431")
        writer.close()
