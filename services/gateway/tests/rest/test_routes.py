import asyncio
import json
import re
import sys
from typing import Any

import httpx2
import msgspec
import pytest

from interlock_common.errors import NotFound
from interlock_common.messages import audit, auth, catalog, certs, common, plugins, subjects
from interlock_gateway.rest.testing import ACTOR, FakeWorld

SCHEMA = b'{ "type":"object", "$defs":{"a":{"x":1.10}} }'
TOOL = catalog.Definition(
    "add", msgspec.Raw(b'{"name":"add","description":"adds","inputSchema":' + SCHEMA + b"}"), "sha256:ab"
)
NOTES = catalog.Upstream(
    id="u1", name="Notes", slug="notes", url="https://notes.example.com/mcp", era="modern",
    protocol_version="2026-07-28", owner="ada@example.com", tools=(TOOL,),
)  # fmt: skip
DESK = catalog.VirtualServer("desk", "Desk", "ada@example.com", ("u1/add",), ("u2",), "always")
CHECKPOINT = audit.Checkpoint("note", "key")
STORED = audit.StoredRecord(0, "r1", "{}")
PAGE = common.Page(ACTOR)

ROUTES: list[tuple[str, str, Any, str, msgspec.Struct, msgspec.Struct, int]] = [
    ("POST", "/gateways", {"name": "Notes", "url": NOTES.url, "team_id": "red", "visibility": "team"},
     subjects.CATALOG_UPSTREAM_CREATE, NOTES,
     catalog.CreateUpstream(ACTOR, "Notes", NOTES.url, "team", "red"), 201),
    ("GET", "/gateways", None, subjects.CATALOG_UPSTREAM_LIST, catalog.UpstreamList((NOTES,)), PAGE, 200),
    ("GET", "/gateways/u1", None, subjects.CATALOG_UPSTREAM_GET, NOTES, common.ById(ACTOR, "u1"), 200),
    ("DELETE", "/gateways/u1", None, subjects.CATALOG_UPSTREAM_DELETE, common.Empty(), common.ById(ACTOR, "u1"), 200),
    ("POST", "/gateways/u1/refresh", None, subjects.CATALOG_UPSTREAM_REFRESH, NOTES, common.ById(ACTOR, "u1"), 200),
    ("POST", "/servers", {"name": "Desk", "associated_tools": ["u1/add"], "unknown": 1},
     subjects.CATALOG_SERVER_CREATE, DESK, catalog.CreateServer(ACTOR, "Desk", tools=("u1/add",)), 201),
    ("POST", "/servers", {"server": {"name": "Desk", "associated_upstreams": ["u2"]}, "visibility": "private"},
     subjects.CATALOG_SERVER_CREATE, DESK,
     catalog.CreateServer(ACTOR, "Desk", upstreams=("u2",), visibility="private"), 201),
    ("GET", "/servers", None, subjects.CATALOG_SERVER_LIST, catalog.ServerList((DESK,)), PAGE, 200),
    ("GET", "/servers/desk", None, subjects.CATALOG_SERVER_GET, DESK, common.ById(ACTOR, "desk"), 200),
    ("DELETE", "/servers/desk", None, subjects.CATALOG_SERVER_DELETE, common.Empty(), common.ById(ACTOR, "desk"), 200),
    ("POST", "/tokens", {"name": "ci", "expires_in_days": 2, "scopes": {"permissions": ["tools.read"]}, "teams": []},
     subjects.AUTH_TOKEN_CREATE, auth.IssuedToken("t", "secret", 9),
     auth.CreateToken(ACTOR, "ci", 2 * 86400, auth.Scopes(None, ("tools.read",)), ()), 201),
    ("GET", "/tokens?limit=5&cursor=c", None, subjects.AUTH_TOKEN_LIST, auth.TokenList(()),
     common.Page(ACTOR, "c", 5), 200),
    ("DELETE", "/tokens/t1", None, subjects.AUTH_TOKEN_REVOKE, auth.Revoked("t1", 7),
     auth.RevokeToken(ACTOR, "t1"), 200),
    ("GET", "/plugins", None, subjects.PLUGINS_PLUGIN_LIST, plugins.PluginList(()), PAGE, 200),
    ("GET", "/certificates", None, subjects.CERTS_LEAF_LIST, certs.LeafList(()), PAGE, 200),
    ("GET", "/audit/records?limit=3&after=9&principal=p&kind=action&trace_id=t", None,
     subjects.AUDIT_RECORD_LIST, audit.RecordList((STORED,), 1),
     audit.ListRecords(ACTOR, 3, None, 9, "p", "action", "t"), 200),
    ("GET", "/audit/records/r1", None, subjects.AUDIT_RECORD_GET, STORED, common.ById(ACTOR, "r1"), 200),
    ("GET", "/audit/records/r1/proof?tree_size=4", None, subjects.AUDIT_PROOF_INCLUSION,
     audit.InclusionProof(STORED, 4, ("aa",), CHECKPOINT), audit.AskInclusion(ACTOR, "r1", 4), 200),
    ("GET", "/audit/checkpoint", None, subjects.AUDIT_CHECKPOINT_GET, CHECKPOINT, PAGE, 200),
    ("GET", "/audit/consistency?old_size=1&new_size=2", None, subjects.AUDIT_PROOF_CONSISTENCY,
     audit.ConsistencyProof(1, 2, ("aa",)), audit.AskConsistency(ACTOR, 1, 2), 200),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "subject", "reply", "request_", "status"), ROUTES)
async def test_a_route_asks_the_owner_on_behalf_of_the_caller(
    client: httpx2.AsyncClient, world: FakeWorld, method: str, path: str, body: Any, subject: str,
    reply: msgspec.Struct, request_: msgspec.Struct, status: int,
) -> None:  # fmt: skip
    world.bus.replies[subject] = reply
    answer = await client.request(method, path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    assert world.bus.asked == [(subject, request_)]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path"), [(r[0], r[1]) for r in ROUTES] + [("GET", "/tools"), ("GET", "/openapi.json")]
)
async def test_without_a_credential_nobody_is_asked(
    client: httpx2.AsyncClient, world: FakeWorld, method: str, path: str
) -> None:
    body = {"name": "x", "url": "https://x"} if method == "POST" else None
    answer = await client.request(method, path, json=body, headers={"Authorization": "Bearer bad"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert world.bus.asked == []


async def test_a_gateway_shows_all_its_fields(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = NOTES
    assert (await client.get("/gateways/u1")).json() == {
        "id": "u1", "name": "Notes", "slug": "notes", "url": NOTES.url, "description": "", "visibility": "public",
        "team_id": None, "owner": "ada@example.com", "era": "modern", "protocol_version": "2026-07-28",
        "reachable": True, "problem": "", "tool_count": 1,
    }  # fmt: skip


async def test_a_list_counts_tools_by_the_mirror_and_leads_to_its_next_page(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    world.catalog.items = {"upstream.u1": NOTES}
    bare = msgspec.structs.replace(NOTES, tools=())
    world.bus.replies[subjects.CATALOG_UPSTREAM_LIST] = catalog.UpstreamList((bare,), "u1")
    answer = await client.get("/gateways?limit=1")
    assert answer.json()[0]["tool_count"] == 1
    assert answer.headers["link"] == '</gateways?cursor=u1>; rel="next"'


async def test_tools_are_those_that_the_caller_sees(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    others = msgspec.structs.replace(NOTES, id="u2", slug="a", owner="bob@example.com")
    world.catalog.items = {
        "server.desk": DESK,
        "upstream.u1": NOTES,
        "upstream.u2": msgspec.structs.replace(others, visibility="private"),
        "upstream.u3": msgspec.structs.replace(others, id="u3", visibility="team", team="red"),
        "upstream.u4": msgspec.structs.replace(others, id="u4", visibility="team", team="blue"),
    }
    answer = await client.get("/tools")
    assert [tool["id"] for tool in answer.json()] == ["u3/add", "u1/add"]
    assert answer.json()[1] == {
        "id": "u1/add", "name": "notes-add", "original_name": "add", "description": "adds", "upstream_id": "u1",
        "upstream_name": "Notes", "digest": "sha256:ab", "input_schema": {"type": "object", "$defs": {"a": {"x": 1.1}}},
    }  # fmt: skip
    assert SCHEMA in answer.content
    assert world.bus.asked == []


@pytest.mark.parametrize("description", [b"5", b"null", b'{"a":1}'])
async def test_a_tool_with_an_odd_description_hides_no_other(
    client: httpx2.AsyncClient, world: FakeWorld, description: bytes
) -> None:
    odd = catalog.Definition("odd", msgspec.Raw(b'{"inputSchema":{},"description":' + description + b"}"), "sha256:cd")
    world.catalog.items = {"upstream.u1": msgspec.structs.replace(NOTES, tools=(odd, TOOL))}
    assert [tool["description"] for tool in (await client.get("/tools")).json()] == ["", "adds"]


async def test_a_login_answers_a_bearer_token(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_LOGIN] = auth.IssuedToken("t", "secret", 2**40)
    answer = await client.post("/auth/login", json={"email": "a@b", "password": "p"}, headers={"Authorization": ""})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["access_token"], body["token_type"]) == ("secret", "bearer")
    assert body["expires_in"] > 0
    assert world.bus.asked == [(subjects.AUTH_LOGIN, auth.Login("a@b", "p"))]


async def test_a_reason_of_a_revocation_is_passed_on(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_TOKEN_REVOKE] = auth.Revoked("t1", 7)
    answer = await client.request("DELETE", "/tokens/t1", json={"reason": "lost"})
    assert answer.json() == {"id": "t1", "revision": 7}
    assert world.bus.asked == [(subjects.AUTH_TOKEN_REVOKE, auth.RevokeToken(ACTOR, "t1", "lost"))]


async def test_health_and_readiness_ask_nobody(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    client.headers.pop("Authorization")
    assert (await client.get("/health")).json() == {"status": "healthy"}
    assert (await client.get("/ready")).status_code == 200
    world.reasons = ["mirror catalog: not read yet"]
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, world.reasons)


async def test_keys_are_shown_without_what_signs(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    def key(kid: str, jwk: bytes) -> auth.SigningKey:
        return auth.SigningKey(kid, "EdDSA", msgspec.Raw(jwk), 0)

    world.signing_keys.items = {
        "b": key("b", b'{"kty":"OKP","crv":"Ed25519","x":"pub","d":"PRIVATE"}'),
        "a": key("a", b'{"kty":"oct","k":"PRIVATE"}'),
    }
    answer = await client.get("/.well-known/jwks.json", headers={"Authorization": ""})
    assert answer.json() == {
        "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "pub", "kid": "b", "alg": "EdDSA", "use": "sig"}]
    }
    assert "PRIVATE" not in answer.text


@pytest.mark.parametrize(
    ("path", "resource"), [("", "/mcp"), ("/mcp", "/mcp"), ("/servers/desk/mcp", "/servers/desk/mcp")]
)
async def test_the_protected_resource_is_named_exactly(client: httpx2.AsyncClient, path: str, resource: str) -> None:
    answer = await client.get(f"/.well-known/oauth-protected-resource{path}", headers={"Authorization": ""})
    assert answer.json() == {
        "resource": f"http://gateway.test{resource}", "bearer_methods_supported": ["header"],
    }  # fmt: skip


async def test_the_openapi_document_describes_every_route(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert {"/gateways", "/servers/{server_id}", "/audit/records/{record_id}/proof"} <= document["paths"].keys()
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references
    assert references <= document["components"]["schemas"].keys()
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    assert all(operation.get("summary") for operation in operations)


async def test_an_id_with_a_slash_is_no_other_route(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = NotFound("no such upstream")
    assert (await client.get("/gateways/..%2f..%2ftokens")).status_code == 404


async def test_rest_needs_no_database_library() -> None:
    check = "import sys, interlock_gateway.rest.app; sys.exit('sqlalchemy' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", check)
    assert await process.wait() == 0
