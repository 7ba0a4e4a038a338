"""A stateless client, the endpoint, and an upstream of the handshake era over HTTP: from end to end."""

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.audit import CallOutcome
from interlock_common.testing.waiting import until
from interlock_gateway.revisions import META_CAPABILITIES
from interlock_gateway.testing.asking import Answer, ask, modern_call
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import result_of, upstream_at
from interlock_gateway.testing.upstreams import LEGACY, LegacyServer, begin_stream, event

FORM: dict[str, Any] = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
CAPABLE: dict[str, Any] = {"_meta": {META_CAPABILITIES: {"elicitation": {}}}}


class Asking(LegacyServer):
    """Asks for a name in the middle of every call, and answers with what it was told."""

    def __init__(self) -> None:
        super().__init__(self.ask)

    async def ask(self, request: web.Request, message: Any) -> web.StreamResponse:
        stream = await begin_stream(request)
        asked: dict[str, Any] = {"jsonrpc": "2.0", "id": "ask-1", "method": "elicitation/create", "params": FORM}
        await stream.write(event(msgspec.json.encode(asked)))
        while (said := self._said()) is None:
            self.noted.clear()
            await self.noted.wait()
        await stream.write(event(result_of(message["id"], msgspec.json.encode({"content": [said]}))))
        return stream

    def _said(self) -> Any:
        return next((note["result"] for note in self.notes if note.get("id") == "ask-1"), None)


@pytest.fixture
async def upstream(world: EdgeWorld, serve: Any) -> Asking:
    asking = Asking()
    world.register(upstream_at(await serve(asking), **LEGACY))
    return asking


async def call(world: EdgeWorld, principal: str = "ada@example.com", **params: Any) -> Answer:
    headers, body = modern_call(arguments={"text": "hello"}, **CAPABLE | params)
    async with asyncio.timeout(10):
        return await ask(world.endpoint(), body, headers, token=world.signer.token(principal))


async def test_a_stateless_client_answers_what_an_upstream_of_the_handshake_era_asks(
    world: EdgeWorld, upstream: Asking
) -> None:
    result = (await call(world)).json()["result"]
    assert result["resultType"] == "input_required"
    ((key, asked),) = result["inputRequests"].items()
    assert asked == {"method": "elicitation/create", "params": FORM}
    said = {"action": "accept", "content": {"name": "Ada"}}
    answer = await call(world, requestState=result["requestState"], inputResponses={key: said})
    assert answer.json()["id"] == 7
    assert answer.json()["result"]["resultType"] == "complete"
    assert answer.json()["result"]["content"] == [said]
    assert upstream.begun[0]["capabilities"] == {"elicitation": {}}
    assert [record.outcome for record in world.audit.of(CallOutcome)] == ["input_required", "ok"]


async def test_a_state_in_other_hands_is_refused(world: EdgeWorld, upstream: Asking) -> None:
    state = (await call(world)).json()["result"]["requestState"]
    assert len(upstream.called_with) == 1
    for principal, given in (("root@example.com", state), ("ada@example.com", state + "-TAMPERED")):
        answer = await call(world, principal, requestState=given, inputResponses={})
        assert (answer.status, answer.json()["error"]["code"]) == (400, -32602)
    await world.holding.stop()
    await until(lambda: upstream.notes[-1].get("method") == "notifications/cancelled")


async def test_calls_of_one_principal_share_a_session_of_the_upstream(world: EdgeWorld, upstream: Asking) -> None:
    await call(world)
    await call(world)
    await call(world, "root@example.com")
    assert len(upstream.begun) == 2
    await world.holding.stop()
