"""A gateway is killed while it holds the streams of a session: they go on at another, and nothing of them is lost."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from interlock_common.messages.gateway import session_key
from interlock_common.messages.subjects import inbox_prefix, session_stream
from interlock_common.testing.waiting import until
from stories.stage import Stage, set_up

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "story", "version": "1"}},
}
SAID = 200


@pytest.fixture
def victim(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    """A deployment to break, with two gateways on one port."""
    with set_up(tmp_path_factory.mktemp("resuming"), containers=containers, gateways=2) as ready:
        yield ready


@dataclass
class Reader:
    """Reads streams of one session, over as many connections as it takes."""

    http: httpx.AsyncClient
    url: str
    headers: dict[str, str]
    last: str = ""
    messages: list[Any] = field(default_factory=list[Any])
    broken: int = 0

    async def read(self, **request: Any) -> None:
        """Read to the end of a stream, or until its connection breaks."""
        headers = self.headers | ({"Last-Event-ID": self.last} if self.last and not request else {})
        method = "POST" if request else "GET"
        try:
            async with self.http.stream(method, self.url, headers=headers, **request) as stream:
                assert stream.status_code == 200, await stream.aread()
                await self._take(stream.aiter_lines())
        except httpx.TransportError:
            self.broken += 1

    async def read_on(self) -> None:
        """Come back whenever a connection breaks, or is refused as its gateway is gone."""
        while True:
            await self.read()

    async def _take(self, lines: AsyncIterator[str]) -> None:
        async for line in lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.last = value
            elif name == "data" and value:
                self.messages.append(json.loads(value))


@asynccontextmanager
async def session(stage: Stage) -> AsyncGenerator[Reader]:
    authorization = {"Authorization": f"Bearer {stage.token}", "Accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(headers=authorization, timeout=30) as http:
        opened = await http.post(stage.mcp, json=INITIALIZE)
        yield Reader(http, stage.mcp, {"Mcp-Session-Id": opened.raise_for_status().headers["mcp-session-id"]})


@asynccontextmanager
async def bus(stage: Stage) -> AsyncGenerator[Client]:
    """The bus as a gateway sees it."""
    identity = stage.deployment.state.identity("gateway")
    tls = ssl.create_default_context(cafile=str(identity / "bundle.pem"))
    tls.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    client = Client()
    await client.connect(
        f"tls://127.0.0.1:{stage.deployment.ports['bus']}", tls=tls, inbox_prefix=inbox_prefix("gateway").encode()
    )
    try:
        yield client
    finally:
        await client.close()


async def kill_holder(stage: Stage, reader: Reader) -> None:
    """Kill gateways until the connection of the reader breaks; another runs all the time."""
    deployment = stage.deployment
    broken = reader.broken
    for instance in deployment.edges:
        await asyncio.to_thread(deployment.kill, instance)
        with suppress(TimeoutError):
            await until(lambda: reader.broken > broken, 2)
            return
        await asyncio.to_thread(deployment.start_process, "gateway", instance)
        await asyncio.to_thread(deployment.wait_ready)
    raise AssertionError("no gateway held the stream")


async def test_a_killed_gateway_costs_the_stream_of_a_session_nothing(victim: Stage) -> None:
    async with session(victim) as reader, bus(victim) as nats:
        stream = nats.jetstream()  # pyright: ignore[reportUnknownMemberType] - untyped **opts
        subject = session_stream(session_key(reader.headers["Mcp-Session-Id"]), "get")
        reading = asyncio.create_task(reader.read_on())
        await until(lambda: bool(reader.last))

        async def say() -> None:
            for number in range(SAID):
                params = {"level": "info", "data": number}
                said = {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
                await stream.publish(subject, json.dumps(said).encode())
                await asyncio.sleep(0.01)

        saying = asyncio.create_task(say())
        await until(lambda: len(reader.messages) >= SAID // 10)
        await kill_holder(victim, reader)
        await saying
        await until(lambda: _numbers(reader)[-1] == SAID - 1, 30)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert reader.broken >= 1
    assert _numbers(reader) == list(range(SAID))  # nothing lost, nothing twice, in its order


async def test_a_call_whose_gateway_is_killed_is_said_to_be_lost(victim: Stage) -> None:
    async with session(victim) as reader:
        params = {
            "name": "notes-count_slowly", "arguments": {"n": 600, "seconds": 60}, "_meta": {"progressToken": "p"},
        }  # fmt: skip
        call = {"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": params}
        calling = asyncio.create_task(reader.read(json=call))
        await until(lambda: len(reader.messages) >= 5, 20)
        await kill_holder(victim, reader)
        await calling
        async with asyncio.timeout(30):
            while reader.messages[-1].get("id") != "slow":
                await reader.read()
    *progress, lost = reader.messages
    counted = [message["params"]["progress"] for message in progress]
    assert counted == list(range(1, len(counted) + 1))
    assert (lost["error"]["data"]["code"], lost["error"]["data"]["retryable"]) == ("call_lost", True)


def _numbers(reader: Reader) -> list[int]:
    return [each["params"]["data"] for each in reader.messages if each["method"] == "notifications/message"]
