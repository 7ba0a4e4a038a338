"""The configuration is written down, lost, and brought back: clients find what they had."""

import asyncio
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from stories.clients import mcp_client, text_of
from stories.deployment import wait_for
from stories.stage import Stage

YAML = {"Content-Type": "application/yaml"}


@pytest.fixture
def rest(stage: Stage) -> Generator[httpx.Client]:
    with stage.deployment.rest(stage.token) as client:
        yield client
        client.delete("/servers/kept").close()


def brought(rest: httpx.Client, document: str, *, dry_run: bool = False) -> dict[str, str]:
    """What an import says of each item."""
    answer = rest.post("/import", params={"dry_run": dry_run}, content=document, headers=YAML, timeout=60)
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return {item["name"]: item["outcome"] for item in items}


async def call(stage: Stage) -> str:
    async with mcp_client(f"{stage.deployment.url}/servers/kept/mcp", stage.token) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["write_down"]
        return text_of(await client.call_tool("write_down", {"text": "kept"}))


def test_what_was_exported_can_be_brought_back(stage: Stage, rest: httpx.Client) -> None:
    notes = next(each for each in rest.get("/gateways").json() if each["name"] == "notes")
    tool = f"{notes['id']}/add_note"
    body = {
        "name": "Kept",
        "id": "kept",
        "associated_tools": [tool],
        "prefix": "custom",
        "aliases": {tool: "write_down"},
    }
    rest.post("/servers", json=body).raise_for_status()
    assert "kept" in asyncio.run(call(stage))

    document = rest.get("/export").raise_for_status().text
    there = [*rest.get("/gateways").json(), *rest.get("/servers").json()]  # notes, and what other stories left
    others = {each["name"]: "unchanged" for each in there}
    assert {"notes", "Kept"} <= set(others)
    assert notes["id"] not in document  # names identify things: ids are those of one deployment
    assert brought(rest, document) == others | {"Kept": "unchanged"}

    rest.delete("/servers/kept").raise_for_status()
    wait_for(lambda: rest.get("/servers/kept/tools").status_code == 404, "the server to be gone", 15)
    assert brought(rest, document, dry_run=True)["Kept"] == "created"
    assert rest.get("/servers/kept").status_code == 404

    assert brought(rest, document) == others | {"Kept": "created"}
    wait_for(lambda: rest.get("/servers/kept/tools").status_code == 200, "the server to be back", 15)
    assert "kept" in asyncio.run(call(stage))
    assert brought(rest, document) == others | {"Kept": "unchanged"}


def test_a_token_of_one_server_reaches_that_server_only(stage: Stage, rest: httpx.Client) -> None:
    rest.post("/servers", json={"name": "Kept", "id": "kept"}).raise_for_status()
    body = {"name": "one server", "scopes": {"server_id": "kept"}}
    token = rest.post("/tokens", json=body).raise_for_status().json()["token"]
    with stage.deployment.rest(token) as narrow:
        for path, status in (
            ("/servers/kept", 200), ("/openapi.json", 200), ("/health", 200), ("/ready", 200), ("/servers", 403),
            ("/tools", 403), ("/gateways", 403), ("/export", 403), ("/servers/other/tools", 403),
        ):  # fmt: skip
            assert narrow.get(path).status_code == status, path
