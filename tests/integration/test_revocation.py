"""A token is revoked: what is open ends, what comes is refused, on every edge."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import httpx
import jwt

from interlock_common.testing.waiting import until
from stories.load import modern_call
from stories.slow_upstream import slow_upstream
from stories.stage import Stage

_DEADLINE = 5.0
"""Seconds in which the call would not end by itself; what it took is told with the result."""
HANDSHAKE = {"Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "story", "version": "1"}},
}


def new_token(stage: Stage) -> tuple[str, str]:
    """Id and text of a fresh token of the administrator."""
    with stage.deployment.rest(stage.token) as client:
        issued = client.post("/tokens", json={"name": "story", "lifetime": 600}).raise_for_status().json()
    return issued["id"], issued["token"]


def revoke(stage: Stage, token_id: str) -> dict[str, Any]:
    with stage.deployment.rest(stage.token) as client:
        return client.delete(f"/tokens/{token_id}").raise_for_status().json()


async def test_a_revoked_token_ends_its_open_streams(stage: Stage) -> None:
    token_id, token = new_token(stage)
    headers = HANDSHAKE | {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=20) as http:
        opened = await http.post(stage.mcp, json=INITIALIZE)
        session = {"Mcp-Session-Id": opened.raise_for_status().headers["mcp-session-id"]}
        async with http.stream("GET", stage.mcp, headers=session) as stream:
            assert stream.status_code == 200
            lines = stream.aiter_lines()
            assert await anext(lines) == ": open"
            await asyncio.to_thread(revoke, stage, token_id)
            async with asyncio.timeout(5):
                assert [line async for line in _data(lines) if line] == []
        refused = await http.get(stage.mcp, headers=session)
    assert refused.status_code == 401
    assert refused.json()["error"]["data"]["code"] == "token_revoked"


async def test_a_revoked_token_ends_its_running_calls(stage: Stage) -> None:
    token_id, token = new_token(stage)
    call_headers, body = modern_call("notes-count_slowly", {"n": 200, "seconds": 20}, 7)
    body["params"]["_meta"]["progressToken"] = "p"
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http,
        http.stream("POST", stage.mcp, headers=call_headers, json=body) as stream,
    ):
        lines = stream.aiter_lines()
        async with asyncio.timeout(10):
            first = json.loads(await anext(_data(lines)))
        assert first["method"] == "notifications/progress", "progress arrives while the call still runs"
        record_id = stream.headers["interlock-audit"]
        await asyncio.to_thread(revoke, stage, token_id)
        async with asyncio.timeout(5):
            last = [json.loads(line) async for line in _data(lines)][-1]
    assert last["id"] == 7
    assert last["error"]["data"]["code"] == "token_revoked"

    def outcome() -> str | None:
        with stage.deployment.rest(stage.token) as client:
            page = client.get("/audit/records", params={"kind": "call.outcome", "limit": 50}).json()["records"]
        leaves = [json.loads(record["leaf"]) for record in page]
        return next((leaf["outcome"] for leaf in leaves if leaf["intent"] == record_id), None)

    await until(lambda: outcome() is not None, 15)
    assert outcome() == "revoked"


async def _ended(lines: AsyncIterator[str]) -> float:
    """When the stream ended, without having said anything more."""
    assert [line async for line in _data(lines) if line] == []
    return asyncio.get_running_loop().time()


async def _data(lines: AsyncIterator[str]) -> AsyncGenerator[str]:
    async for line in lines:
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


async def test_a_stream_and_a_long_call_end_at_once_and_the_upstream_is_told(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    token_id, token = new_token(stage)
    clock = asyncio.get_running_loop().time
    async with (
        slow_upstream() as slow,
        httpx.AsyncClient(headers=HANDSHAKE | {"Authorization": f"Bearer {token}"}, timeout=40) as http,
    ):
        await asyncio.to_thread(stage.deployment.register, stage.token, "slow", slow.url)
        opened = await http.post(stage.mcp, json=INITIALIZE)
        session = {"Mcp-Session-Id": opened.raise_for_status().headers["mcp-session-id"]}

        async def call() -> tuple[httpx.Response, float]:
            headers, body = modern_call("slow-wait", {}, 8)
            return await http.post(stage.mcp, headers=headers, json=body), clock()

        async with http.stream("GET", stage.mcp, headers=session) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": open"
            calling = asyncio.create_task(call())
            async with asyncio.timeout(10):
                await slow.called.wait()
            asked = clock()
            receipt, stream_ended, (answer, call_ended), cancelled = await asyncio.wait_for(
                asyncio.gather(
                    asyncio.to_thread(revoke, stage, token_id), _ended(lines), calling, asyncio.shield(slow.cancelled)
                ),
                _DEADLINE,
            )
    assert receipt["late"] == []
    assert receipt["applied"] == receipt["of"] >= 1
    for what, at in (("stream", stream_ended), ("call", call_ended), ("upstream", cancelled)):
        record_property(f"{what}_ended_after_ms", round((at - asked) * 1000, 1))
        sys.stdout.write(f"the {what} ended {(at - asked) * 1000:.1f} ms after the request to revoke was sent\n")
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (401, "token_revoked")

    def recorded() -> set[str]:
        with stage.deployment.rest(stage.token) as client:
            page = client.get("/audit/records", params={"limit": 100}).json()["records"]
        leaves = [json.loads(record["leaf"]) for record in page]
        ours = [leaf for leaf in leaves if answer.headers.get("interlock-audit") in (leaf.get("intent"), leaf["id"])]
        revoked = [leaf for leaf in leaves if leaf.get("action") == "token.revoked" and leaf["target"] == token_id]
        return {leaf.get("outcome", leaf["kind"]) for leaf in (*ours, *revoked)}

    await until(lambda: {"call.intent", "revoked", "action"} <= recorded(), 15)


async def test_revoking_a_session_ends_one_login_and_no_other(stage: Stage) -> None:
    login, other = stage.deployment.administrator_token(), stage.deployment.administrator_token()
    session = jwt.decode(login, options={"verify_signature": False})["sid"]
    with stage.deployment.rest(other) as client:
        await until(lambda: client.get("/tools").is_success, 5)
        asked = {"kind": "session", "id": session, "reason": "a lost laptop"}
        receipt = client.post("/revocations", json=asked).raise_for_status().json()
        assert (receipt["kind"], receipt["late"]) == ("session", [])
        assert client.get("/tools").status_code == 200
    with stage.deployment.rest(login) as client:
        refused = client.get("/tools")
    assert (refused.status_code, "token_revoked" in refused.text) == (401, True)


async def test_revoking_a_user_ends_nothing_of_others(stage: Stage) -> None:
    _, token = new_token(stage)
    with stage.deployment.rest(stage.token) as client:
        receipt = client.post("/revocations", json={"kind": "user", "id": "nobody@example.com"}).raise_for_status()
        assert receipt.json()["late"] == []
        wrong = client.post("/revocations", json={"kind": "user"})
        assert (wrong.status_code, "names nobody" in wrong.text) == (400, True)
    with stage.deployment.rest(token) as client:
        assert client.get("/tools").status_code == 200
