from typing import Any

import pytest

from interlock_common.messages.audit import Refusal
from interlock_common.messages.catalog import VirtualServer
from interlock_gateway.revisions import MODERN
from interlock_gateway.testing.asking import Answer, ask, modern_call
from interlock_gateway.testing.callers import ROOT
from interlock_gateway.testing.edge import EdgeWorld

METADATA = 'resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp"'


@pytest.fixture
def world() -> EdgeWorld:
    return EdgeWorld()


async def asked(world: EdgeWorld, body: bytes = b"", headers: Any = (), **changes: Any) -> Answer:
    said: dict[str, Any] = {"token": world.signer.token()} | changes
    return await ask(world.endpoint(), body, headers, **said)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "PUT"])
async def test_without_a_credential_one_is_pointed_to_where_it_comes_from(world: EdgeWorld, method: str) -> None:
    answer = await asked(world, token=None, method=method)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == f"Bearer {METADATA}"
    assert answer.json()["error"]["data"]["code"] == "token_missing"


async def test_a_bad_credential_is_called_invalid_and_not_repeated(world: EdgeWorld) -> None:
    token = world.signer.token(aud="elsewhere")
    answer = await asked(world, token=token)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == f'Bearer {METADATA}, error="invalid_token"'
    assert token.encode() not in answer.body
    (refusal,) = world.audit.of(Refusal)
    assert (refusal.reason, refusal.status, refusal.principal) == ("token_audience", 401, "")


async def test_the_resource_of_a_virtual_server_is_its_own(world: EdgeWorld) -> None:
    answer = await asked(world, token=None, server_id="desk")
    assert "/.well-known/oauth-protected-resource/servers/desk/mcp" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://evil.example", "gateway.example", 403), ("null", "gateway.example", 403),
        ("https://console.example", "gateway.example", 200), ("https://gateway.example", "gateway.example", 403),
        ("https://console.example.evil.example", "gateway.example", 403),
    ],
)  # fmt: skip
async def test_pages_call_only_from_origins_we_know(world: EdgeWorld, origin: str, host: str, status: int) -> None:
    headers, body = modern_call("tools/list", None)
    answer = await asked(world, body, headers | {"origin": origin, "host": host})
    assert answer.status == status
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
async def test_forms_of_other_sites_call_nothing_though_they_name_no_origin(
    world: EdgeWorld, site: str, status: int
) -> None:
    headers, body = modern_call("tools/list", None)
    assert (await asked(world, body, headers | {"sec-fetch-site": site})).status == status


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods_are_not_allowed(world: EdgeWorld, method: str) -> None:
    answer = await asked(world, method=method)
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET, POST, DELETE", b"")


async def test_a_get_is_for_streams_of_sessions(world: EdgeWorld) -> None:
    assert (await asked(world, method="GET")).status == 406
    answer = await asked(world, b"", {"accept": "text/event-stream"}, method="GET")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("chunks", [[b"x" * 2000], [b"x" * 600, b"x" * 600]])
@pytest.mark.parametrize("declared", [{}, {"content-length": "2000"}])
async def test_a_body_is_bounded_however_it_comes(
    world: EdgeWorld, chunks: list[bytes], declared: dict[str, str]
) -> None:
    answer = await ask(world.endpoint(max_body=1024), chunks, declared, token=world.signer.token())
    assert (answer.status, answer.json()["error"]["data"]["code"]) == (413, "too_large")


async def test_a_body_of_several_chunks_is_one(world: EdgeWorld) -> None:
    headers, body = modern_call("tools/list", None)
    answer = await ask(world.endpoint(), [body[:10], b"", body[10:]], headers, token=world.signer.token())
    assert answer.json()["result"]["tools"] == []


async def test_a_body_that_ends_early_is_not_acted_upon(world: EdgeWorld) -> None:
    headers, body = modern_call("tools/list", None)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"},
    ]  # fmt: skip

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    answer = Answer()
    pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
    pairs.append((b"authorization", f"Bearer {world.signer.token()}".encode()))
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": pairs, "client": None}
    await world.endpoint()(scope, receive, answer.take, None)
    assert answer.status == 400


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/cancelled", "tools/call"])
async def test_a_notification_is_accepted_and_not_answered(world: EdgeWorld, method: str) -> None:
    answer = await asked(world, f'{{"jsonrpc":"2.0","method":"{method}"}}'.encode())
    assert (answer.status, answer.body, answer.headers["content-length"]) == (202, b"", "0")


async def test_an_answer_to_nothing_is_refused(world: EdgeWorld) -> None:
    answer = await asked(world, b'{"jsonrpc":"2.0","id":1,"result":{}}')
    assert (answer.status, answer.json()["error"]["code"]) == (400, -32600)


async def test_an_unknown_method_is_told_in_the_way_of_its_era(world: EdgeWorld) -> None:
    headers, body = modern_call("tools/unknown", None)
    answer = await asked(world, body, headers)
    assert (answer.status, answer.json()["error"]["code"]) == (404, -32601)
    headers, body = modern_call("m" * 5000, None)
    assert len((await asked(world, body, headers)).body) < 500


async def test_the_stateless_era_needs_no_handshake(world: EdgeWorld) -> None:
    headers, body = modern_call("server/discover", None)
    result = (await asked(world, body, headers)).json()["result"]
    assert result["supportedVersions"][0] == MODERN
    assert result["resultType"] == "complete"


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe"])
async def test_what_the_stateless_era_did_away_with_is_an_unknown_method(world: EdgeWorld, method: str) -> None:
    headers, body = modern_call(method, None)
    answer = await asked(world, body, headers)
    assert (answer.status, answer.json()["error"]["code"]) == (404, -32601)


async def test_the_handshake_era_needs_one(world: EdgeWorld) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    answer = await asked(world, body)
    assert answer.status == 400
    assert "Mcp-Session-Id is missing" in answer.json()["error"]["message"]
    assert (await asked(world, body, {"mcp-protocol-version": "2024-01-01"})).status == 400
    assert (await asked(world, body, {"mcp-session-id": "x"})).status == 503  # it cannot be looked up


@pytest.mark.parametrize("written", ["0", '""', "null", "1.5", str(2**70)])
async def test_every_answer_carries_the_id_of_its_request(world: EdgeWorld, written: str) -> None:
    for method in ("server/discover", "unknown"):
        headers, body = modern_call(method, None)
        answer = await asked(world, body.replace(b'"id":7', f'"id":{written}'.encode()), headers)
        assert f'"id":{written},'.encode() in answer.body


async def test_an_unexpected_failure_tells_nothing_of_itself(world: EdgeWorld) -> None:
    headers, body = modern_call("tools/list", None)
    world.catalog.offer(None).blocks["u1"] = "not a block"  # pyright: ignore[reportArgumentType]
    world.catalog.offer(None)._order.append(("notes", "u1"))  # pyright: ignore[reportPrivateUsage]
    answer = await asked(world, body, headers)
    assert answer.status == 500
    assert answer.json()["error"] == {"code": -32603, "message": "unexpected failure"}


async def test_a_server_for_api_keys_alone_does_not_tell_where_to_get_a_token(world: EdgeWorld) -> None:
    world.serve(VirtualServer("desk", "Desk", ROOT, api_key_only=True))
    answer = await ask(world.endpoint(), b"{}", server_id="desk")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
