"""Clients of 2024-11-05, whose messages may arrive at an edge that does not hold their stream."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from interlock_common.messages.gateway import session_key
from interlock_common.testing.waiting import until
from interlock_gateway.testing.asking import Answer, send
from interlock_gateway.testing.edges import Edge
from interlock_gateway.testing.servers import result_of, upstream_at

HELLO: dict[str, Any] = {
    "protocolVersion": "2024-11-05", "capabilities": {"roots": {}}, "clientInfo": {"name": "c", "version": "1"},
}  # fmt: skip
PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}'


class Client:
    """A client whose stream is at one edge; what it says may go to any."""

    def __init__(self, edge: Edge, server_id: str | None = None) -> None:
        self.edge = edge
        self.server_id = server_id
        self.heard = Answer()
        self.task = asyncio.create_task(self._listen())
        self.last = 0

    async def _listen(self) -> None:
        endpoint = self.edge.world.endpoints().sse
        await send(
            lambda scope, receive, reply: endpoint.stream(scope, receive, reply, self.server_id), "/sse", b"",
            token=self.edge.world.signer.token(), method="GET", answer=self.heard,
        )  # fmt: skip

    @property
    def events(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for block in self.heard.body.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
            if "data" in fields:
                found.append((fields["event"], fields["data"]))
        return found

    @property
    def messages(self) -> list[Any]:
        return [json.loads(data) for event, data in self.events if event == "message"]

    async def address(self) -> str:
        await until(lambda: bool(self.events))
        event, data = self.events[0]
        assert event == "endpoint"
        return data

    async def post(self, body: bytes, edge: Edge | None = None, token: str | None = None) -> Answer:
        path, _, query = (await self.address()).partition("?")
        assert path == (f"/servers/{self.server_id}/messages" if self.server_id else "/messages")
        where = edge or self.edge
        endpoint = where.world.endpoints().sse

        async def ask(scope: dict[str, Any], receive: Any, reply: Any) -> None:
            await endpoint.messages(scope | {"query_string": query.encode()}, receive, reply, self.server_id)

        return await send(ask, path, body, token=token or where.world.signer.token())

    async def ask(self, method: str, edge: Edge | None = None, **params: Any) -> Any:
        self.last += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}).encode()
        answer = await self.post(body, edge)
        assert (answer.status, answer.body) == (202, b"")
        asked = self.last
        await until(lambda: any(message.get("id") == asked and "method" not in message for message in self.messages))
        return next(message for message in self.messages if message.get("id") == asked)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def tool(edges: tuple[Edge, Edge], serve: Any) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"data: " + PROGRESS + b"\n\ndata: " + result_of(asked["id"]) + b"\n\n")
        return stream

    address = await serve(answer)
    for edge in edges:
        edge.world.register(upstream_at(address))


@pytest.mark.usefixtures("tool")
async def test_everything_is_answered_on_the_stream_wherever_the_message_arrived(edges: tuple[Edge, Edge]) -> None:
    first, second = edges
    client = Client(first)
    assert (await client.ask("initialize", **HELLO))["result"]["protocolVersion"] == "2024-11-05"
    assert (await client.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')).status == 202
    assert (await client.ask("ping"))["result"] == {}
    listed = await client.ask("tools/list", second)
    assert [each["name"] for each in listed["result"]["tools"]] == ["notes-echo"]
    called = await client.ask("tools/call", second, name="notes-echo", _meta={"progressToken": 1})
    assert called["result"]["content"] == [{"type": "text", "text": "done"}]
    assert [message.get("method") for message in client.messages].count("notifications/progress") == 1
    await client.leave()


async def test_a_refusal_is_told_on_the_stream_too(edges: tuple[Edge, Edge]) -> None:
    client = Client(edges[0])
    await client.ask("initialize", **HELLO)
    assert (await client.ask("nonsense"))["error"]["code"] == -32601
    assert (await client.ask("tools/call", edges[1], name="none"))["error"]["code"] == -32602
    assert (await client.post(b"{")).status == 400
    await client.leave()


async def test_the_session_ends_with_its_stream_and_belongs_to_its_principal(edges: tuple[Edge, Edge]) -> None:
    first, second = edges
    client = Client(first)
    await client.ask("initialize", **HELLO)
    stranger = first.world.signer.token("eve@example.com")
    assert (await client.post(b'{"jsonrpc":"2.0","id":9,"method":"ping"}', token=stranger)).status == 404
    session = (await client.address()).partition("session_id=")[2]
    await until(lambda: session_key(session) in second.mirror.items)
    await client.leave()
    await until(lambda: session_key(session) not in second.mirror.items)
    assert (await client.post(b'{"jsonrpc":"2.0","id":9,"method":"ping"}', second)).status == 404


async def test_a_message_must_name_its_session(edges: tuple[Edge, Edge]) -> None:
    world = edges[0].world
    endpoint = world.endpoints().sse
    answer = await send(
        lambda scope, receive, reply: endpoint.messages(scope, receive, reply, None), "/messages", b"{}",
        token=world.signer.token(),
    )  # fmt: skip
    assert (answer.status, answer.json()["error"]["message"][:9]) == (400, "the query")
