"""The bus's own certificate: having every server of the bus read it anew, through the system account."""

import asyncio
import contextlib
import json
from typing import Any

import nats
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from interlock_common.errors import Unavailable
from interlock_common.identity import Identity

_log = structlog.get_logger()
_SECONDS = 2
_PING_SECONDS = 0.5
"""How long servers of a cluster have to say that they are there, after the one before."""


async def reload_bus(url: str, admin: Identity) -> int:
    """Ask every server of the bus to reload; answers how many did. Servers keep their connections meanwhile.

    Raises Unavailable when the bus is away or one of its servers did not reload.
    """
    try:
        connection = await nats.connect(  # pyright: ignore[reportUnknownMemberType] - untyped callbacks
            url,
            name="certs, to have the bus reload",
            tls=admin.client_context(),
            connect_timeout=_SECONDS,
            max_reconnect_attempts=0,
            allow_reconnect=False,
            error_cb=_ignore,
        )
        try:
            servers = await _servers(connection)
            for server in servers:
                await _reload(connection, server)
        finally:
            await connection.close()
    except (NatsError, OSError, TimeoutError) as error:
        raise Unavailable(f"the bus at {url} did not reload: {str(error) or type(error).__name__}") from None
    if not servers:
        raise Unavailable(f"no server of the bus at {url} answers {admin.service}")
    _log.info("the bus reloaded", servers=len(servers))
    return len(servers)


async def _servers(connection: Client) -> list[str]:
    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox)  # pyright: ignore[reportUnknownMemberType] - untyped future
    await connection.publish("$SYS.REQ.SERVER.PING", reply=inbox)
    found: list[str] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS):
            while True:
                message = await subscription.next_msg(timeout=_PING_SECONDS if found else _SECONDS)
                found.append(json.loads(message.data)["server"]["id"])
    return found


async def _reload(connection: Client, server: str) -> None:
    result = await connection.request(f"$SYS.REQ.SERVER.{server}.RELOAD", timeout=_SECONDS)
    answer: dict[str, Any] = json.loads(result.data)
    if "error" in answer:
        raise Unavailable(f"server {server} of the bus did not reload: {answer['error'].get('description', '')}")


async def _ignore(_error: Exception) -> None:
    """What fails here is told by what the requests raise."""
