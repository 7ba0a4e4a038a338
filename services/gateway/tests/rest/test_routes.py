import asyncio
import json
import re
import sys
from typing import Any

import httpx2
import msgspec
import pytest

from interlock_common.errors import NotFound
from interlock_common.messages import audit, auth, catalog, certs, common, plugins, revocation, subjects, token_usage
from interlock_gateway.rest.testing import ACTOR, FakeWorld

SCHEMA = b'{ "type":"object", "$defs":{"a":{"x":1.10}} }'
TOOL = catalog.Definition(
    "add", msgspec.Raw(b'{"name":"add","description":"adds","inputSchema":' + SCHEMA + b"}"), "sha256:ab"
)
NOTES = catalog.Upstream(
    id="u1", name="Notes", slug="notes", url="https://notes.example.com/mcp", era="modern",
    protocol_version="2026-07-28", owner="ada@example.com", tools=(TOOL,),
)  # fmt: skip
DESK = catalog.VirtualServer("desk", "Desk", "ada@example.com", tools=("u1/add",), upstreams=("u2",), prefix="always")
CHECKPOINT = audit.Checkpoint("note", "key")
STORED = audit.StoredRecord(0, "r1", "{}")
PAGE = common.Page(ACTOR)
TOKEN = auth.TokenSummary("t1", "ci", "ada@example.com", 1, 2, revoked=False)

ROUTES: list[tuple[str, str, Any, str, msgspec.Struct, msgspec.Struct, int]] = [
    ("POST", "/gateways", {"name": "Notes", "url": NOTES.url, "team_id": "red", "visibility": "team"},
     subjects.CATALOG_UPSTREAM_CREATE, NOTES,
     catalog.CreateUpstream(ACTOR, "Notes", NOTES.url, visibility="team", team="red"), 201),
    ("PUT", "/gateways/u1", {"name": "Notes", "url": NOTES.url, "secrets": {"credential": {"value": "s"}}},
     subjects.CATALOG_UPSTREAM_UPDATE, NOTES,
     catalog.UpdateUpstream("u1", catalog.CreateUpstream(
         ACTOR, "Notes", NOTES.url, secrets=catalog.Secrets({"value": "s"}))), 200),
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
    ("PUT", "/servers/desk",
     {"name": "Desk", "associated_prompts": ["u1/p"], "prefix": "custom", "aliases": {"u1/p": "q"}},
     subjects.CATALOG_SERVER_UPDATE, DESK,
     catalog.UpdateServer("desk", catalog.CreateServer(
         ACTOR, "Desk", prompts=("u1/p",), prefix="custom", aliases={"u1/p": "q"})), 200),
    ("DELETE", "/servers/desk", None, subjects.CATALOG_SERVER_DELETE, common.Empty(), common.ById(ACTOR, "desk"), 200),
    ("POST", "/tokens", {"name": "ci", "expires_in_days": 2, "scopes": {"permissions": ["tools.read"]}, "teams": []},
     subjects.AUTH_TOKEN_CREATE, auth.IssuedToken("t", "secret", 9),
     auth.CreateToken(ACTOR, "ci", 2 * 86400, auth.Scopes(None, ("tools.read",)), ()), 201),
    ("POST", "/tokens",
     {"name": "ci", "lifetime": 60, "description": "nightly", "scopes": {
         "ip_restrictions": ["10.0.0.0/8"], "time_restrictions": {"days": ["mon"], "timezone": "Europe/Berlin"},
         "usage_limits": {"requests_per_day": 9}}},
     subjects.AUTH_TOKEN_CREATE, auth.IssuedToken("t", "secret", 9),
     auth.CreateToken(ACTOR, "ci", 60, auth.Scopes(
         None, (), ("10.0.0.0/8",), auth.TimeRestrictions(("mon",), timezone="Europe/Berlin"),
         auth.UsageLimits(requests_per_day=9)), description="nightly"), 201),
    ("GET", "/tokens?limit=5&cursor=c", None, subjects.AUTH_TOKEN_LIST, auth.TokenList(()),
     auth.ListTokens(ACTOR, "c", 5), 200),
    ("GET", "/tokens?principal=eve&name=ci&status=revoked", None, subjects.AUTH_TOKEN_LIST, auth.TokenList(()),
     auth.ListTokens(ACTOR, principal="eve", name="ci", status="revoked"), 200),
    ("GET", "/teams/red/tokens", None, subjects.AUTH_TOKEN_LIST, auth.TokenList(()),
     auth.ListTokens(ACTOR, team="red"), 200),
    ("GET", "/tokens/t1", None, subjects.AUTH_TOKEN_GET, TOKEN, common.ById(ACTOR, "t1"), 200),
    ("PUT", "/tokens/t1", {"name": "cd", "scopes": {"server_id": "desk"}}, subjects.AUTH_TOKEN_UPDATE, TOKEN,
     auth.UpdateToken(ACTOR, "t1", "cd", scopes=auth.Scopes("desk")), 200),
    ("GET", "/tokens/t1/usage", None, subjects.AUTH_TOKEN_USAGE, token_usage.TokenUsage("t1", 1, 2, 1, ()),
     common.ById(ACTOR, "t1"), 200),
    ("DELETE", "/tokens/t1", None, subjects.AUTH_TOKEN_REVOKE, revocation.Receipt("t1", 7, 2, 2, 3.5),
     auth.RevokeToken(ACTOR, "t1"), 200),
    ("POST", "/revocations", {"kind": "user", "id": "ada", "reason": "left"}, subjects.AUTH_REVOCATION_CREATE,
     revocation.Receipt("ada", 8, 1, 1, 2.0, (), "user", 9),
     revocation.Revoke(ACTOR, revocation.Selector("user", "ada"), None, "left"), 200),
    ("GET", "/plugins", None, subjects.PLUGINS_PLUGIN_LIST, plugins.PluginList(()), PAGE, 200),
    ("GET", "/certificates", None, subjects.CERTS_LEAF_LIST, certs.LeafList(()), PAGE, 200),
    ("POST", "/certificates/4F1D/revoke", {"reason": "superseded", "issuer": "ab"}, subjects.CERTS_LEAF_REVOKE,
     certs.CertificatesRevoked((), 1, 2.5), certs.RevokeLeaf(ACTOR, "4f1d", "superseded", "ab"), 200),
    ("POST", "/certificates/identities/auth/revoke", {"reason": "key_compromise"}, subjects.CERTS_IDENTITY_REVOKE,
     certs.CertificatesRevoked((), 1, 2.5), certs.RevokeIdentity(ACTOR, "auth", "key_compromise"), 200),
    ("POST", "/certificates/identities/auth/reinstate", None, subjects.CERTS_IDENTITY_REINSTATE, common.Empty(),
     certs.ReinstateIdentity(ACTOR, "auth"), 200),
    ("GET", "/certificates/authority", None, subjects.CERTS_AUTHORITY_STATUS,
     certs.AuthorityStatus((), 1, (), "prepare"), PAGE, 200),
    ("POST", "/certificates/authority/revoke", None, subjects.CERTS_AUTHORITY_ROTATE,
     certs.AuthorityStatus((), 4, (), "prepare"), certs.RotateAuthority(ACTOR, "revoke"), 200),
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
    body = {"name": "x", "url": "https://x"} if method in {"POST", "PUT"} else None
    answer = await client.request(method, path, json=body, headers={"Authorization": "Bearer bad"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert world.bus.asked == []


async def test_a_login_answers_a_bearer_token(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_LOGIN] = auth.IssuedToken("t", "secret", 2**40)
    answer = await client.post("/auth/login", json={"email": "a@b", "password": "p"}, headers={"Authorization": ""})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["access_token"], body["token_type"]) == ("secret", "bearer")
    assert body["expires_in"] > 0
    assert world.bus.asked == [(subjects.AUTH_LOGIN, auth.Login("a@b", "p"))]


async def test_a_reason_of_a_revocation_is_passed_on(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_TOKEN_REVOKE] = revocation.Receipt("t1", 7, 2, 2, 3.5)
    answer = await client.request("DELETE", "/tokens/t1", json={"reason": "lost"})
    assert answer.json() == {
        "id": "t1", "revision": 7, "applied": 2, "of": 2, "max_ms": 3.5, "late": [], "kind": "token", "before": 0,
    }  # fmt: skip
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
