"""``interlock connect``: a server of this machine, behind a gateway that cannot reach it.

Dials out, and carries messages between the gateway and the server until interrupted. Each connection has a server of
its own: over standard input and output it is started anew, over HTTP it is a new session.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import urlencode

import aiohttp
import msgspec

from interlock_cli.bridge import HttpBridge
from interlock_cli.client import Endpoint, Refused, find_endpoint
from interlock_cli.errors import CommandError
from interlock_cli.trusting import trust
from interlock_common.errors import InterlockError
from interlock_common.stdio import Start, StdioProcess

_PATH = "/reverse-proxy/ws"
_MAX_MESSAGE = 7 * 1024 * 1024
_HEARTBEAT_SECONDS = 20.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_CONNECTED = b'"interlock/connected"'
_REFUSED = range(4400, 4500)


class NoServer(CommandError):
    """The server of this machine, or the token for it, is not usable."""

    exit_code: ClassVar[int] = 2


class Local(Protocol):
    """The server of this machine."""

    async def send(self, message: bytes) -> None: ...
    async def receive(self) -> bytes: ...


@dataclass(frozen=True)
class Offer:
    """What is offered to the gateway: a command or the URL of a server, and under which name to whom."""

    name: str
    command: Sequence[str] = ()
    server: str = ""
    visibility: str = "public"
    team: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.server):
            raise NoServer("give either a command after -- or --server with a URL")

    @property
    def query(self) -> str:
        said = {"name": self.name, "visibility": self.visibility, "team": self.team, "description": self.description}
        return urlencode({name: value for name, value in said.items() if value})


def endpoint_of(url: str | None, token_file: Path | None, state: Path) -> Endpoint:
    """Where to dial, and the token for it: from a file or the environment, never from the arguments."""
    token = os.environ.get("INTERLOCK_TOKEN")
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise NoServer(f"the token in {token_file} cannot be read: {error.strerror}") from None
    return find_endpoint(url, token, state)


async def connect(endpoint: Endpoint, offer: Offer) -> None:
    """Keep a tunnel up until interrupted; raises Refused where the gateway does not want it at all."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    work = asyncio.create_task(_keep_up(endpoint, offer), name="tunnel")
    waiting = asyncio.create_task(ending.wait(), name="signal")
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
    finally:
        for task in (work, waiting):
            task.cancel()
        await asyncio.gather(work, waiting, return_exceptions=True)


async def _keep_up(endpoint: Endpoint, offer: Offer) -> None:
    pause = _FIRST_PAUSE
    while True:
        tunnel = _Tunnel(endpoint, offer)
        try:
            await tunnel.run()
            reason = "the connection ended"
        except InterlockError as error:
            reason = error.detail
        except (aiohttp.ClientError, OSError) as error:
            reason = f"{endpoint.url} cannot be reached: {type(error).__name__}"
        pause = _FIRST_PAUSE if tunnel.stood else min(_LONGEST_PAUSE, pause * 2)
        wait = pause * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, keeps no secret
        _say(f"{reason}; the next try is in {wait:.1f} s")
        await asyncio.sleep(wait)


class _Tunnel:
    """One connection, and the server that is behind it while it stands."""

    def __init__(self, endpoint: Endpoint, offer: Offer) -> None:
        self.stood = False
        self._endpoint = endpoint
        self._offer = offer

    async def run(self) -> None:
        endpoint = self._endpoint
        url = f"{endpoint.url}{_PATH}?{self._offer.query}"
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        async with aiohttp.ClientSession() as http:
            try:
                socket = await http.ws_connect(
                    url,
                    headers=headers,
                    ssl=trust(endpoint.ca),
                    heartbeat=_HEARTBEAT_SECONDS,
                    max_msg_size=_MAX_MESSAGE,
                )
            except aiohttp.WSServerHandshakeError as error:
                if 400 <= error.status < 500:  # noqa: PLR2004 - the class of refusals
                    raise Refused(f"the gateway refuses the connection: HTTP {error.status}") from None
                raise
            async with socket, _local(self._offer) as local:
                await self._carry(socket, local)

    async def _carry(self, socket: aiohttp.ClientWebSocketResponse, local: Local) -> None:
        """Both ways at once, until one end is gone."""
        ways = [
            asyncio.create_task(self._inward(socket, local), name="from the gateway"),
            asyncio.create_task(_outward(socket, local), name="to the gateway"),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _inward(self, socket: aiohttp.ClientWebSocketResponse, local: Local) -> None:
        while (message := await socket.receive()).type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            data = message.data.encode() if isinstance(message.data, str) else message.data
            if _CONNECTED in data[:200]:
                self._greeted(data)
            else:
                await local.send(data)
        if message.type is aiohttp.WSMsgType.CLOSE and message.data in _REFUSED:
            raise Refused(f"the gateway ended the connection: {message.extra or 'it does not count'} ({message.data})")

    def _greeted(self, data: bytes) -> None:
        self.stood = True
        said: dict[str, Any] = msgspec.json.decode(data).get("params", {})
        _say(f"connected as upstream {said.get('name')} ({said.get('upstream')}), session {said.get('session')}")


async def _outward(socket: aiohttp.ClientWebSocketResponse, local: Local) -> None:
    while True:
        await socket.send_str((await local.receive()).decode())


@asynccontextmanager
async def _local(offer: Offer) -> AsyncGenerator[Local]:
    if offer.server:
        async with HttpBridge(offer.server) as bridge:
            yield bridge
        return
    try:
        process = await StdioProcess.begin(Start(offer.name, offer.command, _environment(), max_line=_MAX_MESSAGE))
    except InterlockError as error:
        raise NoServer(error.detail) from None
    try:
        yield process
    finally:
        await process.close()


def _environment() -> dict[str, str]:
    """The caller's own, as any program of theirs has it, without what is the gateway's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
