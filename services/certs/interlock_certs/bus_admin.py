"""The bus as its administrator sees it: who is connected with which certificate, reloading, ending a connection."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from interlock_certs.own import OwnIdentity
from interlock_common.clock import Clock
from interlock_common.errors import Unavailable

_log = structlog.get_logger()
_SECONDS = 2
_PING_SECONDS = 0.5
"""How long servers of a cluster have to say that they are there, after the one before."""
_PAGE = 1024
_AGAIN_SECONDS = 0.02
_IDLE_SECONDS = 5.0
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h): issuer, name and signature are verified as ever."""


@dataclass(frozen=True)
class Connection:
    """A client of the bus: the name its certificate has, what it calls itself, the leaf that it shows."""

    server: str
    cid: int
    user: str
    name: str
    fingerprint: str


class BusAdmin:
    """Talks to the system account of the bus, with a certificate made for the occasion.

    The connection is kept for the moment in which several of these things happen, and closed when it is idle.
    """

    def __init__(self, url: str, own: OwnIdentity, clock: Clock) -> None:
        self._url = url
        self._own = own
        self._clock = clock
        self._client: Client | None = None
        self._servers: list[str] = []
        self._users = 0
        self._used_at = 0.0
        self._opening = asyncio.Lock()

    async def ready(self) -> None:
        """Have a certificate that counts, whatever happened to the CA."""
        await self._own.ensure()

    async def reload(self) -> int:
        """Have every server of the bus read its files anew; answers how many did. They keep their connections.

        Raises Unavailable when the bus is away or one of its servers did not reload.
        """
        async with self._connected() as client:
            for server in self._servers:
                await _ask(client, server, "RELOAD")
            return len(self._servers)

    async def connections(self) -> list[Connection]:
        """Who is connected to the bus at the moment, the system account left out. Raises Unavailable."""
        async with self._connected() as client:
            return [found for server in self._servers for found in await _connections(client, server)]

    async def kick(self, connections: list[Connection]) -> None:
        """End connections. Raises Unavailable; those that are gone already count as ended."""
        if not connections:
            return
        async with self._connected() as client:
            for connection in connections:
                with contextlib.suppress(Unavailable):
                    await _ask(client, connection.server, "KICK", {"cid": connection.cid})

    async def keep_tidy(self) -> None:
        """Close the connection whenever it is idle, for ever; and once more at the end."""
        try:
            while True:
                await self._clock.sleep(_IDLE_SECONDS)
                if self._users == 0 and self._clock.monotonic() - self._used_at >= _IDLE_SECONDS:
                    await self._close()
        finally:
            await self._close()

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Client]:
        self._users += 1
        try:
            yield await self._open()
        except (NatsError, OSError, TimeoutError) as error:
            await self._close()
            raise Unavailable(f"the bus at {self._url} does not obey: {str(error) or type(error).__name__}") from None
        except Unavailable:  # a server that went away is looked for anew
            await self._close()
            raise
        finally:
            self._users -= 1
            self._used_at = self._clock.monotonic()

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None or not self._client.is_connected:
                await self._close()
                await self._own.ensure()
                self._client = await self._connect()
                self._servers = await self._found(self._client)
            return self._client

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(NatsError, OSError, TimeoutError):
                async with asyncio.timeout(_SECONDS):  # the end of a connection that was refused may not come
                    await client.close()

    async def _connect(self) -> Client:
        async with asyncio.timeout(_SECONDS):
            return await nats.connect(  # pyright: ignore[reportUnknownMemberType] - untyped callbacks
                self._url,
                name="certs, as administrator",
                tls=_despite_the_time(self._own.identity.client_context()),
                connect_timeout=_SECONDS,
                max_reconnect_attempts=1,  # 0 would be: for ever
                reconnect_time_wait=_AGAIN_SECONDS,
                allow_reconnect=False,
                error_cb=_ignore,
            )

    async def _found(self, client: Client) -> list[str]:
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)  # pyright: ignore[reportUnknownMemberType] - untyped future
        await client.publish("$SYS.REQ.SERVER.PING", reply=inbox)
        found: list[str] = []
        expected = 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                while len(found) < expected:
                    message = await subscription.next_msg(timeout=_PING_SECONDS if found else _SECONDS)
                    answer = json.loads(message.data)
                    found.append(answer["server"]["id"])
                    expected = max(1, answer.get("statsz", {}).get("active_servers", 1))
        await subscription.unsubscribe()
        if not found:
            raise Unavailable(f"no server of the bus at {self._url} answers {self._own.identity.service}")
        return found


async def _connections(client: Client, server: str) -> list[Connection]:
    found: list[Connection] = []
    while True:
        page = await _ask(client, server, "CONNZ", {"auth": True, "limit": _PAGE, "offset": len(found)})
        entries: list[dict[str, Any]] = page["data"]["connections"] or []
        found += [_connection(server, entry) for entry in entries]
        if len(found) >= page["data"].get("total", 0) or not entries:
            return [connection for connection in found if connection.fingerprint and connection.user]


def _connection(server: str, entry: dict[str, Any]) -> Connection:
    if entry.get("account") == "SYS":
        return Connection(server, 0, "", "", "")
    chain: list[dict[str, str]] = entry.get("tls_peer_certs") or []
    shown = chain[0].get("cert_sha256", "") if chain else ""
    fingerprint = f"sha256:{shown}" if shown else ""
    return Connection(server, entry["cid"], entry.get("authorized_user", ""), entry.get("name", ""), fingerprint)


async def _ask(client: Client, server: str, verb: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
    body = b"" if request is None else json.dumps(request).encode()
    result = await client.request(f"$SYS.REQ.SERVER.{server}.{verb}", body, timeout=_SECONDS)
    answer: dict[str, Any] = json.loads(result.data)
    if "error" in answer:
        raise Unavailable(f"server {server} of the bus refused {verb}: {answer['error'].get('description', '')}")
    return answer


def _despite_the_time(context: ssl.SSLContext) -> ssl.SSLContext:
    """Take a bus whose certificate has expired, too: having it read the next one is what the connection is for."""
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


async def _ignore(_error: Exception) -> None:
    """What fails here is told by what the requests raise."""
