"""A REST API becomes a gateway by its OpenAPI document."""

import json
from typing import Any

import httpx2
import pytest

from interlock_common.messages import catalog, subjects
from interlock_gateway.rest.testing import ACTOR, FakeWorld

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "1", "description": "sells"},
    "servers": [{"url": "https://shop.example.com/v1"}],
    "paths": {
        "/orders/{id}": {
            "get": {
                "operationId": "getOrder",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            },
            "delete": {"operationId": "dropOrder", "deprecated": True},
        }
    },
}
MADE = catalog.Upstream("u1", "Shop", "shop", "https://shop.example.com/v1", "modern", "", ACTOR.principal)


async def test_a_document_becomes_a_registration(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_CREATE] = MADE
    body = {
        "document": DOCUMENT, "visibility": "team", "team_id": "red", "secrets": {"credential": {"value": "hunter2"}},
        "credential": {"kind": "header", "public": {"name": "X-Key"}},
    }  # fmt: skip
    answer = await client.post("/gateways/openapi", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/gateways/u1"
    assert answer.json()["tools"] == ["getOrder"]
    assert any("deprecated" in note for note in answer.json()["notes"])
    assert "hunter2" not in answer.text
    ((subject, request),) = world.bus.asked
    assert subject == subjects.CATALOG_UPSTREAM_CREATE
    assert isinstance(request, catalog.CreateUpstream)
    assert (request.name, request.url, request.transport, request.team, request.description) == (
        "Shop", "https://shop.example.com/v1", "rest", "red", "sells",
    )  # fmt: skip
    assert request.rest["getOrder"].path == "/orders/{id}"
    assert [json.loads(bytes(each))["name"] for each in request.definitions] == ["getOrder"]
    assert request.secrets == catalog.Secrets({"value": "hunter2"})


AS_YAML = f"openapi: 3.1.0\ninfo: {{title: Shop}}\npaths: {json.dumps(DOCUMENT['paths'])}\n"


@pytest.mark.parametrize("text", [json.dumps(DOCUMENT), AS_YAML])
async def test_a_dry_run_only_says_what_would_be(client: httpx2.AsyncClient, world: FakeWorld, text: str) -> None:
    body = {"document": text, "base_url": "https://here.example.com", "name": "Here"}
    answer = await client.post("/gateways/openapi?dry_run=true", json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["gateway"], answer.json()["name"], answer.json()["url"]) == (
        None, "Here", "https://here.example.com",
    )  # fmt: skip
    assert world.bus.asked == []


async def test_a_gateway_is_brought_to_another_document(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_UPDATE] = MADE
    answer = await client.put("/gateways/u1/openapi", json={"document": DOCUMENT, "include": ["*Order"]})
    assert answer.json()["tools"] == ["getOrder", "dropOrder"]
    ((_, request),) = world.bus.asked
    assert isinstance(request, catalog.UpdateUpstream)
    assert (request.id, set(request.registration.rest)) == ("u1", {"getOrder", "dropOrder"})


@pytest.mark.parametrize("document", ["{", "swagger: '2.0'", {"openapi": "3.0.0"}, {}, "x" * 10])
async def test_what_is_no_such_document_is_refused(client: httpx2.AsyncClient, world: FakeWorld, document: Any) -> None:
    answer = await client.post("/gateways/openapi", json={"document": document})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:interlock:error:openapi_invalid")
    assert world.bus.asked == []
