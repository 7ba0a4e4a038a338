"""A client calls a tool through the gateway: what it gets, and what is kept of it."""

import json
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from stories.clients import Mode, mcp_client, record_of, text_of
from stories.deployment import wait_for
from stories.stage import Stage

BOTH_ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


def audit_records(stage: Stage, **query: str | int) -> list[dict[str, Any]]:
    with stage.deployment.rest(stage.token) as client:
        page = client.get("/audit/records", params=query).raise_for_status().json()
    return [json.loads(record["leaf"]) for record in page["records"]]


@BOTH_ERAS
async def test_a_client_of_either_era_lists_and_calls(stage: Stage, mode: Mode) -> None:
    async with mcp_client(stage.mcp, stage.token, mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "notes-add_note" in names
        assert "hello" in text_of(await client.call_tool("notes-add_note", {"text": "hello"}))


@BOTH_ERAS
async def test_tool_call_is_audited(stage: Stage, mode: Mode) -> None:
    async with mcp_client(stage.mcp, stage.token, mode) as client:
        record_id = record_of(await client.call_tool("notes-add_note", {"text": "a text that must not be kept"}))

    def kept() -> bool:
        return any(record.get("intent") == record_id for record in audit_records(stage, limit=50))

    wait_for(kept, f"the outcome of {record_id}", 15)
    records = audit_records(stage, limit=50)
    intent = next(record for record in records if record["id"] == record_id)
    outcome = next(record for record in records if record.get("intent") == record_id)
    assert intent["kind"] == "call.intent"
    assert intent["principal"] == "admin@example.com"
    assert (intent["tool"], intent["upstream"]) == ("add_note", "notes")
    assert intent["arguments"].startswith("hmac-sha256:")
    assert "must not be kept" not in json.dumps(records)
    assert outcome["outcome"] == "ok"
    assert outcome["ms"] > 0


async def test_a_call_that_policy_denies_never_reaches_the_upstream(stage: Stage) -> None:
    async with mcp_client(stage.mcp, stage.token) as client:
        with pytest.raises(MCPError, match="denied by policy") as denied:
            await client.call_tool("notes-add_note", {"text": "please rm -rf the archive"})
        found = text_of(await client.call_tool("notes-search_notes", {"query": "archive"}))
    assert denied.value.error.code == -32003
    assert "rm -rf" not in found


async def test_a_secret_in_an_answer_is_redacted(stage: Stage) -> None:
    async with mcp_client(stage.mcp, stage.token) as client:
        text = text_of(await client.call_tool("notes-read_credentials", {}))
    assert "[REDACTED]" in text
    assert "AKIA" not in text


async def test_an_unknown_tool_is_told_in_the_words_of_the_protocol(stage: Stage) -> None:
    async with mcp_client(stage.mcp, stage.token) as client:
        with pytest.raises(MCPError, match="Unknown tool: nope") as unknown:
            await client.call_tool("nope", {})
    assert unknown.value.error.code == -32602


def test_no_token_means_401_with_a_challenge(stage: Stage) -> None:
    with stage.deployment.rest() as client:
        answer = client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer resource_metadata=")


async def test_a_virtual_server_offers_its_tools_under_their_own_names(stage: Stage) -> None:
    with stage.deployment.rest(stage.token) as rest:
        upstream = next(one for one in rest.get("/gateways").json() if one["name"] == "notes")
        body = {"server": {"name": "only-notes", "associated_upstreams": [upstream["id"]]}}
        server = rest.post("/servers", json=body).raise_for_status().json()
        wait_for(lambda: rest.get(f"/servers/{server['id']}").is_success, "the server", 10)
    url = f"{stage.deployment.url}/servers/{server['id']}/mcp"
    async with mcp_client(url, stage.token) as client:
        assert "add_note" in [tool.name for tool in (await client.list_tools()).tools]
        assert "hi" in text_of(await client.call_tool("add_note", {"text": "hi"}))
