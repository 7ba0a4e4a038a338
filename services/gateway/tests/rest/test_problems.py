from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest

from interlock_common.errors import (
    Conflict,
    DeadlineExceeded,
    InterlockError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
)
from interlock_common.messages import subjects
from interlock_gateway.errors import ScopeMissing
from interlock_gateway.rest.bodies import MAX_BODY_BYTES
from interlock_gateway.rest.testing import FakeWorld


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such upstream", id="u1"),
        Conflict("taken"),
        PermissionDenied("no"),
        UpstreamFailed("nothing listens there", cause="refused"),
        Unavailable("nobody answers"),
        DeadlineExceeded("late"),
    ],
)
async def test_the_error_of_an_owner_is_told_as_it_is(
    client: httpx2.AsyncClient, world: FakeWorld, error: InterlockError
) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = error
    answer = await client.get("/gateways/u1")
    assert answer.status_code == error.status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["status"]) == (f"urn:interlock:error:{error.code}", error.status)
    assert (body["detail"], body.get("fields", {})) == (error.detail, error.fields)


async def test_an_unexpected_error_tells_nothing(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = RuntimeError("password=hunter2")
    answer = await client.get("/gateways/u1")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/gateways", {"url": "https://x"}, "name"),
        ("POST", "/gateways", {"name": "x", "url": "https://x", "visibility": "secret"}, "visibility"),
        ("POST", "/gateways", {"name": "x" * 101, "url": "https://x"}, "name"),
        ("POST", "/gateways", [1], "body"),
        ("POST", "/servers", {"name": "x", "associated_tools": "all"}, "associated_tools"),
        ("POST", "/servers", {"server": {"id": "a/b", "name": "x"}}, "id"),
        ("POST", "/tokens", {"name": "x", "lifetime": 0}, "lifetime"),
        ("POST", "/tokens", {"name": "x", "scopes": {"permissions": [1]}}, "scopes.permissions.0"),
        ("POST", "/tokens", {"name": "x", "scopes": {"weekdays": True}}, "scopes.weekdays"),
        ("POST", "/tokens", {"name": "x", "scopes": {"usage_limits": {"per_hour": 1}}}, "scopes.usage_limits.per_hour"),
        ("PUT", "/tokens/t", {"scopes": {"time_restrictions": {"from": "9"}}}, "scopes.time_restrictions.from"),
        ("POST", "/auth/login", {"email": "a@b"}, "password"),
        ("GET", "/audit/records?limit=0", None, "limit"),
        ("GET", "/audit/consistency?old_size=1", None, "new_size"),
        ("GET", "/audit/records?before=-1", None, "before"),
    ],
)
async def test_what_does_not_fit_is_refused_with_its_field(
    client: httpx2.AsyncClient, world: FakeWorld, method: str, path: str, body: Any, field: str
) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["type"] == "urn:interlock:error:invalid_input"
    assert problem["fields"]["errors"][0]["field"] == field
    assert world.bus.asked == []


async def test_a_refused_value_is_not_repeated(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/auth/login", json={"email": "a@b", "password": ["hunter2"]})
    assert answer.status_code == 400
    assert "hunter2" not in answer.text


async def test_a_body_that_is_no_json_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/gateways", content=b"{hunter2", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "hunter2" not in answer.text


async def test_unknown_paths_and_methods_are_problem_documents(client: httpx2.AsyncClient) -> None:
    for answer, status in (
        (await client.get("/nowhere"), 404),
        (await client.put("/gateways"), 405),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("known_length", [True, False])
async def test_a_body_over_the_bound_is_refused(client: httpx2.AsyncClient, known_length: bool) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            yield b" " * 65536

    content = b" " * (MAX_BODY_BYTES + 1) if known_length else pieces()
    answer = await client.post("/gateways", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


async def test_a_missing_credential_is_told_where_to_look(client: httpx2.AsyncClient) -> None:
    client.headers.pop("Authorization")
    header = (await client.get("/gateways")).headers["www-authenticate"]
    assert header == 'Bearer resource_metadata="http://gateway.test/.well-known/oauth-protected-resource"'


async def test_a_refused_credential_is_told_why(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.refusal = Unauthenticated('the token has "expired"\r\nX: y')
    header = (await client.get("/gateways")).headers["www-authenticate"]
    assert 'error="invalid_token", error_description="the token has expiredX: y"' in header


async def test_a_missing_scope_is_named(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = ScopeMissing("no", scope="gateways.read")
    answer = await client.get("/gateways/u1")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (
        403,
        'Bearer error="insufficient_scope", scope="gateways.read"',
    )


async def test_what_can_be_tried_again_says_when(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/gateways/u1")).headers["retry-after"] == "1"
