from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest

from interlock_common.messages import catalog, common, subjects
from interlock_gateway.rest.testing import ACTOR, FakeWorld

SCHEMA = b'{ "type":"object", "$defs":{"a":{"x":1.10}} }'
TOOL = catalog.Definition(
    "add", msgspec.Raw(b'{"name":"add","description":"adds","inputSchema":' + SCHEMA + b"}"), "sha256:ab"
)
FILE = catalog.Definition(
    "file:///a", msgspec.Raw(b'{"uri":"file:///a","name":"a","mimeType":"text/plain"}'), "sha256:f"
)
FILES = catalog.Definition("file:///{p}", msgspec.Raw(b'{"uriTemplate":"file:///{p}","name":"all"}'), "sha256:t")
ASK = catalog.Definition("ask", msgspec.Raw(b'{"name":"ask","arguments":[{"name":"x"}]}'), "sha256:p", "quarantined")
NOTES = catalog.Upstream(
    id="u1", name="Notes", slug="notes", url="https://notes.example.com/mcp", era="modern",
    protocol_version="2026-07-28", owner="ada@example.com", tools=(TOOL,), resources=(FILE,), templates=(FILES,),
    prompts=(ASK,),
)  # fmt: skip
OTHER = msgspec.structs.replace(NOTES, id="u2", name="Other", slug="other", owner="bob@example.com")
BARE = catalog.Upstream("u1", "Notes", "notes", NOTES.url, "modern", "2026-07-28", "ada@example.com")


def tools_of(upstream: catalog.Upstream, *names: str) -> catalog.Upstream:
    made = (catalog.Definition(name, msgspec.Raw(b'{"name":"%s"}' % name.encode()), f"d-{name}") for name in names)
    return msgspec.structs.replace(upstream, tools=tuple(made))


async def test_a_gateway_shows_all_its_fields(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = NOTES
    assert (await client.get("/gateways/u1")).json() == {
        "id": "u1", "name": "Notes", "slug": "notes", "url": NOTES.url, "transport": "http", "description": "",
        "visibility": "public", "team_id": None, "owner": "ada@example.com", "era": "modern",
        "protocol_version": "2026-07-28", "reachable": True, "problem": "", "instructions": "", "capabilities": {},
        "tool_count": 1, "resource_count": 2, "prompt_count": 1, "consent_url": "",
        "configuration": {
            "credential": {"kind": "none", "public": {}, "has_secret": False}, "tls": None, "command": None,
            "rest": {}, "limits": {"concurrency": None, "idle_timeout": None, "call_timeout": None},
        },
    }  # fmt: skip


async def test_how_a_gateway_is_reached_is_shown_to_who_may_change_it(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = OTHER
    assert (await client.get("/gateways/u2")).json()["configuration"] is None
    world.actor = common.Actor("root@example.com", is_admin=True)
    assert (await client.get("/gateways/u2")).json()["configuration"] is not None


async def test_secrets_go_in_and_never_come_out(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    made = msgspec.structs.replace(
        NOTES,
        transport="stdio",
        credential=catalog.Credential("header", {"name": "X-Key"}, "SEALED"),
        command=catalog.Command(("run", "me"), {"A": "b"}, "SEALED"),
    )
    world.catalog.items = {"upstream.u1": made}
    world.bus.replies[subjects.CATALOG_UPSTREAM_GET] = made
    assert "SEALED" not in (shown := await client.get("/gateways/u1")).text
    assert shown.json()["configuration"]["credential"]["has_secret"] is True
    world.bus.asked.clear()
    world.bus.replies[subjects.CATALOG_UPSTREAM_CREATE] = made
    body = {
        "name": "Notes", "transport": "stdio", "command": {"argv": ["run", "me"], "environment": {"A": "b"}},
        "credential": {"kind": "header", "public": {"name": "X-Key"}},
        "secrets": {"credential": {"value": "hunter2"}, "environment": {"TOKEN": "hunter3"}},
    }  # fmt: skip
    answer = await client.post("/gateways", json=body)
    assert answer.status_code == 201, answer.text
    assert "SEALED" not in answer.text
    assert "hunter" not in answer.text
    configuration = answer.json()["configuration"]
    assert configuration["credential"] == {"kind": "header", "public": {"name": "X-Key"}, "has_secret": True}
    assert configuration["command"]["has_secret_environment"] is True
    ((_, request),) = world.bus.asked
    assert isinstance(request, catalog.CreateUpstream)
    assert request.secrets == catalog.Secrets({"value": "hunter2"}, {"TOKEN": "hunter3"})
    assert request.command == catalog.Command(("run", "me"), {"A": "b"})


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"credential": {"kind": "header", "sealed": "x"}}, "credential.sealed"),
        ({"command": {"argv": ["x"], "sealed_environment": "x"}}, "command.sealed_environment"),
        ({"command": {"argv": []}}, "command.argv"),
        ({"transport": "telepathy"}, "transport"),
        ({"rest": {"t": {"method": "TRACE", "path": "/"}}}, "rest.t.method"),
        ({"limits": {"concurrency": 0}}, "limits.concurrency"),
        ({"secrets": {"credential": {"value": ["hunter2"]}}}, "secrets.credential.value"),
    ],
)
async def test_a_registration_that_does_not_fit_is_refused_with_its_field(
    client: httpx2.AsyncClient, world: FakeWorld, extra: dict[str, Any], field: str
) -> None:
    answer = await client.post("/gateways", json={"name": "x", "url": "https://x"} | extra)
    assert answer.status_code == 400
    assert answer.json()["fields"]["errors"][0]["field"] == field
    assert "hunter2" not in answer.text
    assert world.bus.asked == []


async def test_a_rest_gateway_takes_its_calls_and_definitions(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_CREATE] = NOTES
    call = {"method": "GET", "path": "/o/{id}", "query": {"q": "term"}, "result": "$.items"}
    body: dict[str, Any] = {
        "name": "x", "url": "https://x", "transport": "rest", "rest": {"find": call},
        "definitions": [{"name": "find", "inputSchema": {}}],
    }  # fmt: skip
    assert (await client.post("/gateways", json=body)).status_code == 201
    request = world.bus.asked[0][1]
    assert isinstance(request, catalog.CreateUpstream)
    assert request.rest == {"find": catalog.RestCall("GET", "/o/{id}", {"q": "term"}, result="$.items")}
    assert [msgspec.json.decode(each) for each in request.definitions] == [{"name": "find", "inputSchema": {}}]


@pytest.mark.parametrize(("given", "kind"), [("STREAMABLEHTTP", "http"), ("SSE", "sse"), ("worker", "worker")])
async def test_transports_are_known_by_their_other_names(
    client: httpx2.AsyncClient, world: FakeWorld, given: str, kind: str
) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_CREATE] = NOTES
    await client.post("/gateways", json={"name": "x", "url": "https://x", "transport": given})
    request = world.bus.asked[0][1]
    assert isinstance(request, catalog.CreateUpstream)
    assert request.transport == kind


async def test_a_list_counts_by_the_mirror_and_leads_to_its_next_page(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    world.catalog.items = {"upstream.u1": NOTES}
    world.bus.replies[subjects.CATALOG_UPSTREAM_LIST] = catalog.UpstreamList((BARE,), "u1")
    answer = await client.get("/gateways?limit=1&reachable=true")
    assert answer.json()[0]["tool_count"] == 1
    assert answer.headers["link"] == '</gateways?limit=1&reachable=true&cursor=u1>; rel="next"'
    assert (await client.get("/gateways?transport=stdio")).json() == []


async def test_tools_are_those_that_the_caller_sees(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    others = msgspec.structs.replace(NOTES, id="u2", slug="a", owner="bob@example.com")
    world.catalog.items = {
        "server.desk": catalog.VirtualServer("desk", "Desk", "ada@example.com"),
        "upstream.u1": NOTES,
        "upstream.u2": msgspec.structs.replace(others, visibility="private"),
        "upstream.u3": msgspec.structs.replace(others, id="u3", visibility="team", team="red"),
        "upstream.u4": msgspec.structs.replace(others, id="u4", visibility="team", team="blue"),
    }
    answer = await client.get("/tools")
    assert [tool["id"] for tool in answer.json()] == ["u3/add", "u1/add"]
    assert answer.json()[1] == {
        "id": "u1/add", "name": "notes-add", "original_name": "add", "title": "", "description": "adds",
        "upstream_id": "u1", "upstream_name": "Notes", "reachable": True, "digest": "sha256:ab",
        "standing": "accepted", "reason": "", "input_schema": {"type": "object", "$defs": {"a": {"x": 1.1}}},
    }  # fmt: skip
    assert SCHEMA in answer.content
    assert world.bus.asked == []


async def test_a_credential_without_teams_sees_public_things_only(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.catalog.items = {"upstream.u1": msgspec.structs.replace(NOTES, visibility="private"), "upstream.u2": OTHER}
    assert [tool["id"] for tool in (await client.get("/tools")).json()] == ["u1/add", "u2/add"]
    world.actor = common.Actor(ACTOR.principal)
    assert [tool["id"] for tool in (await client.get("/tools")).json()] == ["u2/add"]
    assert (await client.get("/tools/u1/add")).status_code == 404


async def test_pages_of_tools_hold_each_tool_once(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.catalog.items = {
        "upstream.u2": tools_of(OTHER, "b", "a", "c"),
        "upstream.u1": tools_of(NOTES, "y", "x"),
    }
    found: list[str] = []
    path: str | None = "/tools?limit=2"
    while path is not None:
        answer = await client.get(path)
        found += [tool["name"] for tool in answer.json()]
        link = answer.headers.get("link")
        path = None if link is None else link[1 : link.index(">")]
    assert found == ["notes-x", "notes-y", "other-a", "other-b", "other-c"]


@pytest.mark.parametrize("cursor", ["", "x", "%00", "WyJhIl0", "W10", "eyJhIjoxfQ"])
async def test_a_cursor_that_is_none_of_ours_is_refused(client: httpx2.AsyncClient, cursor: str) -> None:
    answer = await client.get(f"/tools?cursor={cursor}")
    assert (answer.status_code, answer.json()["fields"]) == (400, {"field": "cursor"})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("gateway=u1", ["notes-x", "notes-y"]),
        ("gateway=other", ["other-a"]),
        ("gateway=Other&name=A", ["other-a"]),
        ("name=X", ["notes-x"]),
        ("gateway=nobody", []),
        ("standing=quarantined", []),
    ],
)
async def test_tools_are_filtered(client: httpx2.AsyncClient, world: FakeWorld, query: str, found: list[str]) -> None:
    world.catalog.items = {"upstream.u1": tools_of(NOTES, "x", "y"), "upstream.u2": tools_of(OTHER, "a")}
    assert [tool["name"] for tool in (await client.get(f"/tools?{query}")).json()] == found


async def test_resources_and_templates_are_listed_by_their_public_uri(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    world.catalog.items = {"upstream.u1": NOTES}
    found = (await client.get("/resources")).json()
    assert [(each["name"], each["template"], each["label"], each["mime_type"]) for each in found] == [
        ("notes+file:///a", False, "a", "text/plain"),
        ("notes+file:///{p}", True, "all", ""),
    ]
    for each in found:
        shown = await client.get(f"/resources/{quote(each['id'], safe='')}")
        assert shown.json()["original_name"] == each["original_name"]


async def test_a_quarantined_prompt_is_listed_with_its_standing(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.catalog.items = {"upstream.u1": NOTES}
    (found,) = (await client.get("/prompts?standing=quarantined")).json()
    assert (found["id"], found["standing"], found["arguments"]) == ("u1/ask", "quarantined", [{"name": "x"}])


async def test_one_thing_is_shown_with_its_definition_byte_for_byte(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    world.catalog.items = {"upstream.u1": NOTES}
    answer = await client.get("/tools/u1/add")
    assert answer.json()["id"] == "u1/add"
    assert b'"definition":' + bytes(TOOL.definition) in answer.content
    for unknown in ("u1/gone", "u9/add", "add"):
        assert (await client.get(f"/tools/{unknown}")).status_code == 404


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("/tools/u1/add", "tool", "add"),
        ("/prompts/u1/ask", "prompt", "ask"),
        ("/resources/u1%2Ffile%3A%2F%2F%2Fa", "resource", "file:///a"),
        ("/resources/u1%2Ffile%3A%2F%2F%2F%7Bp%7D", "template", "file:///{p}"),
    ],
)
async def test_accepting_names_the_digest_that_was_looked_at(
    client: httpx2.AsyncClient, world: FakeWorld, path: str, kind: Any, name: str
) -> None:
    world.catalog.items = {"upstream.u1": NOTES}
    world.bus.replies[subjects.CATALOG_DEFINITION_ACCEPT] = NOTES
    answer = await client.post(f"{path}/accept", json={"digest": "sha256:x"})
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    wanted = catalog.AcceptDefinition(ACTOR, "u1", kind, name, "sha256:x")
    assert world.bus.asked == [(subjects.CATALOG_DEFINITION_ACCEPT, wanted)]
    assert (await client.post(f"{path}/accept", json={})).status_code == 400


@pytest.mark.parametrize("description", [b"5", b"null", b'{"a":1}'])
async def test_a_tool_with_an_odd_description_hides_no_other(
    client: httpx2.AsyncClient, world: FakeWorld, description: bytes
) -> None:
    odd = catalog.Definition("odd", msgspec.Raw(b'{"description":' + description + b"}"), "sha256:cd")
    world.catalog.items = {"upstream.u1": msgspec.structs.replace(NOTES, tools=(odd, TOOL))}
    assert [tool["description"] for tool in (await client.get("/tools")).json()] == ["adds", ""]


async def test_a_virtual_server_lists_what_it_offers_under_its_own_names(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    hidden = tools_of(msgspec.structs.replace(OTHER, id="u3", slug="hidden", visibility="private"), "secret")
    desk = catalog.VirtualServer(
        "desk", "Desk", "ada@example.com", tools=("u2/add", "u3/secret"), upstreams=("u1",), prefix="custom",
        aliases={"u2/add": "plus"},
    )  # fmt: skip
    world.catalog.items = {"server.desk": desk, "upstream.u1": NOTES, "upstream.u2": OTHER, "upstream.u3": hidden}
    tools = (await client.get("/servers/desk/tools")).json()
    assert [(each["id"], each["name"]) for each in tools] == [("u1/add", "add"), ("u2/add", "plus")]
    resources = (await client.get("/servers/desk/resources")).json()
    assert [each["name"] for each in resources] == ["file:///a", "file:///{p}"]
    assert (await client.get("/servers/desk/prompts")).json() == []  # the one there is is quarantined
    assert (await client.get("/servers/none/tools")).status_code == 404


async def test_what_a_virtual_server_offers_comes_in_pages(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    desk = catalog.VirtualServer("desk", "Desk", "ada@example.com", upstreams=("u1", "u2"), prefix="collision")
    world.catalog.items = {
        "server.desk": desk, "upstream.u1": tools_of(NOTES, "y", "x"), "upstream.u2": tools_of(OTHER, "x", "z"),
    }  # fmt: skip
    found: list[str] = []
    path: str | None = "/servers/desk/tools?limit=1"
    while path is not None:
        answer = await client.get(path)
        found += [tool["name"] for tool in answer.json()]
        link = answer.headers.get("link")
        path = None if link is None else link[1 : link.index(">")]
    assert found == ["notes-x", "y", "other-x", "z"]


async def test_a_virtual_server_one_may_not_see_offers_nothing(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    private = catalog.VirtualServer("desk", "Desk", "bob@example.com", upstreams=("u1",), visibility="private")
    world.catalog.items = {"server.desk": private, "upstream.u1": NOTES}
    for what in ("tools", "resources", "prompts"):
        assert (await client.get(f"/servers/desk/{what}")).status_code == 404


async def test_a_server_does_not_tell_of_gateways_that_the_caller_does_not_see(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    hidden = msgspec.structs.replace(OTHER, visibility="private")
    desk = catalog.VirtualServer(
        "desk", "Desk", "bob@example.com", tools=("u1/add", "u2/secret"), upstreams=("u2",), prefix="custom",
        aliases={"u2/secret": "x", "u1/add": "plus"},
    )  # fmt: skip
    world.catalog.items = {"upstream.u1": NOTES, "upstream.u2": hidden}
    world.bus.replies[subjects.CATALOG_SERVER_GET] = desk
    world.bus.replies[subjects.CATALOG_SERVER_LIST] = catalog.ServerList((desk,))
    shown = (await client.get("/servers/desk")).json()
    assert (shown["associated_tools"], shown["associated_upstreams"], shown["aliases"]) == (
        ["u1/add"], [], {"u1/add": "plus"},
    )  # fmt: skip
    assert (await client.get("/servers")).json() == [shown]
    world.actor = common.Actor("bob@example.com", teams=("red",))
    assert (await client.get("/servers/desk")).json()["associated_upstreams"] == ["u2"]


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("", "http://gateway.test/mcp"),
        ("/mcp", "http://gateway.test/mcp"),
        ("/servers/desk/mcp", "http://gateway.test/servers/desk/mcp"),
        ("/servers/unknown/mcp", "http://gateway.test/servers/unknown/mcp"),
        ("/servers/own/mcp", "https://own.example.com/mcp"),
    ],
)
async def test_the_protected_resource_is_named_exactly(
    client: httpx2.AsyncClient, world: FakeWorld, path: str, resource: str
) -> None:
    world.catalog.items = {
        "server.desk": catalog.VirtualServer("desk", "Desk", "ada@example.com", visibility="private"),
        "server.own": catalog.VirtualServer("own", "Own", "ada@example.com", resource="https://own.example.com/mcp"),
    }
    answer = await client.get(f"/.well-known/oauth-protected-resource{path}", headers={"Authorization": ""})
    assert answer.json() == {
        "resource": resource, "authorization_servers": ["http://gateway.test"], "bearer_methods_supported": ["header"],
        "scopes_supported": ["tools.read", "tools.execute", "resources.read", "prompts.read", "servers.read"],
    }  # fmt: skip


async def test_a_server_for_api_keys_only_does_not_advertise_oauth(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    keyed = catalog.VirtualServer("keyed", "Keyed", "ada@example.com", api_key_only=True)
    world.catalog.items = {"server.keyed": keyed}
    answer = await client.get("/.well-known/oauth-protected-resource/servers/keyed/mcp", headers={"Authorization": ""})
    assert answer.status_code == 404
