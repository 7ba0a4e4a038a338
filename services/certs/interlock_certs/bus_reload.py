"""Having the bus read its certificate anew, through its system account."""

import json

import nats
import structlog
from interlock_common.identity import Identity
from nats.errors import Error as NatsError

_log = structlog.get_logger()
_SECONDS = 2


async def reload_bus(url: str, admin: Identity) -> int:
    """Ask every server of the bus to reload; answers how many did. Connections are kept by the servers."""
    connection = await nats.connect(  # pyright: ignore[reportUnknownMemberType] - untyped callbacks
        url,
        tls=admin.client_context(),
        connect_timeout=_SECONDS,
        max_reconnect_attempts=0,
        allow_reconnect=False,
        error_cb=_ignore,
    )
    reloaded = 0
    try:
        answer = await connection.request("$SYS.REQ.SERVER.PING", timeout=_SECONDS)
        server = json.loads(answer.data)["server"]["id"]
        result = await connection.request(f"$SYS.REQ.SERVER.{server}.RELOAD", timeout=_SECONDS)
        if "error" in json.loads(result.data):
            _log.error("the bus did not reload", server=server)
        else:
            reloaded += 1
    except (NatsError, TimeoutError) as error:
        _log.error("the bus did not answer the reload", error=type(error).__name__)
    finally:
        await connection.close()
    return reloaded


async def _ignore(_error: Exception) -> None:
    """What fails here is told by what the requests raise."""
