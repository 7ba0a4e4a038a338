"""Export and import: what was written down can be brought back, and a second time changes nothing."""

from dataclasses import dataclass, field
from typing import Any

import httpx2
import msgspec
import pytest

from interlock_common.errors import UpstreamFailed
from interlock_common.messages import catalog, common, subjects
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.configuration_document import render
from interlock_gateway.rest.testing import TOKEN, FakeBus, FakeWorld
from interlock_gateway.upstreams.rest.openapi_document import read

YAML = {"Content-Type": "application/yaml"}
TOOL = catalog.Definition("add", msgspec.Raw(b'{"name":"add","inputSchema":{}}'), "sha256:ab")
FILE = catalog.Definition("file:///a/b", msgspec.Raw(b'{"uri":"file:///a/b","name":"b"}'), "sha256:f")
NOTES = catalog.Upstream(
    id="u1", name="Notes/1", slug="notes-1", url="https://notes.example.com/mcp", era="modern", wanted_era="modern",
    protocol_version="2026-07-28", owner="ada@example.com", tools=(TOOL,), resources=(FILE,), visibility="team",
    team="red", credential=catalog.Credential("header", {"name": "X-Key"}, "SEALED"), limits=catalog.Limits(3),
)  # fmt: skip
SHOP = catalog.Upstream(
    id="u2", name="shop", slug="shop", url="https://shop.example.com", era="modern", protocol_version="",
    owner="ada@example.com", transport="rest", rest={"add": catalog.RestCall("GET", "/o/{id}")}, tools=(TOOL,),
)  # fmt: skip
DESK = catalog.VirtualServer(
    "desk", "Desk", "ada@example.com", tools=("u1/add", "gone/x"), resources=("u1/file:///a/b",), upstreams=("u2",),
    prefix="custom", aliases={"u1/add": "plus"}, instructions="ask first\nthen act", api_key_only=True,
)  # fmt: skip
ITEMS: dict[str, catalog.CatalogItem] = {"upstream.u1": NOTES, "upstream.u2": SHOP, "server.desk": DESK}


@dataclass
class FakeCatalog(FakeBus):
    """Does what the catalog would, to the mirror; ``away`` are names of gateways that do not answer."""

    items: dict[str, catalog.CatalogItem] = field(default_factory=dict[str, catalog.CatalogItem])
    away: set[str] = field(default_factory=set[str])

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T:
        del timeout
        self.asked.append((subject, message))
        made: catalog.CatalogItem
        match message:
            case catalog.CreateUpstream():
                if message.name in self.away:
                    raise UpstreamFailed("nothing listens there")
                made = self._upstream(f"n{len(self.asked)}", message)
            case catalog.UpdateUpstream():
                made = self._upstream(message.id, message.registration)
            case catalog.CreateServer():
                made = _server(message.id or f"n{len(self.asked)}", message)
            case catalog.UpdateServer():
                made = _server(message.id, message.composition)
            case _:
                raise AssertionError(subject)
        kind = "upstream" if isinstance(made, catalog.Upstream) else "server"
        self.items[f"{kind}.{made.id}"] = made
        assert isinstance(made, reply)
        return made

    def _upstream(self, upstream_id: str, wanted: catalog.CreateUpstream) -> catalog.Upstream:
        shared = {
            name: getattr(wanted, name)
            for name in ("name", "url", "transport", "visibility", "team", "description", "credential", "tls", "rest")
        }
        tools = tuple(
            catalog.Definition(msgspec.json.decode(each)["name"], each, "sha256:x") for each in wanted.definitions
        )
        return catalog.Upstream(
            id=upstream_id, slug=wanted.name.lower().replace("/", "-"), era="modern", protocol_version="",
            owner=wanted.actor.principal, tools=tools or (TOOL,), resources=(FILE,), wanted_era=wanted.era,
            command=wanted.command, limits=wanted.limits, **shared,
        )  # fmt: skip


def _server(server_id: str, wanted: catalog.CreateServer) -> catalog.VirtualServer:
    members = {name: getattr(wanted, name) for name in wanted.__struct_fields__ if name not in {"actor", "id"}}
    return catalog.VirtualServer(server_id, owner=wanted.actor.principal, **members)


@pytest.fixture
def world() -> FakeWorld:
    world = FakeWorld(bus=FakeCatalog())
    world.catalog.items = catalog_of(world).items
    return world


def catalog_of(world: FakeWorld) -> FakeCatalog:
    assert isinstance(world.bus, FakeCatalog)
    return world.bus


def outcomes(answer: httpx2.Response) -> list[tuple[str, str, str]]:
    assert answer.status_code == 200, answer.text
    return [(item["kind"], item["name"], item["outcome"]) for item in answer.json()["items"]]


async def exported(client: httpx2.AsyncClient) -> dict[str, Any]:
    return (await client.get("/export", headers={"Accept": "application/json"})).json()


async def test_an_export_says_everything_but_secrets(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    catalog_of(world).items.update(ITEMS)
    answer = await client.get("/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/yaml")
    assert "SEALED" not in answer.text
    document = read(answer.content)
    assert document == await exported(client)
    assert document["gateways"] == [
        {
            "name": "Notes/1", "transport": "http", "url": NOTES.url, "visibility": "team", "team_id": "red",
            "era": "modern", "credential": {"kind": "header", "public": {"name": "X-Key"}},
            "secrets_needed": ["credential.value"], "limits": {"concurrency": 3},
        },
        {
            "name": "shop", "transport": "rest", "url": SHOP.url, "visibility": "public",
            "rest": {"add": {"method": "GET", "path": "/o/{id}"}},
            "definitions": [{"name": "add", "inputSchema": {}}],
        },
    ]  # fmt: skip
    assert document["servers"] == [{
        "name": "Desk", "id": "desk", "visibility": "public", "associated_tools": ["Notes/1/add"],
        "associated_resources": ["Notes/1/file:///a/b"], "associated_upstreams": ["shop"], "prefix": "custom",
        "aliases": {"Notes/1/add": "plus"}, "instructions": "ask first\nthen act", "api_key_only": True,
    }]  # fmt: skip


async def test_an_export_holds_what_is_the_caller_s_to_configure(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    catalog_of(world).items.update(ITEMS)
    world.actor = common.Actor("bob@example.com", teams=("red",))
    assert await exported(client) == {"version": 1, "gateways": [], "servers": []}
    world.actor = common.Actor("root@example.com", is_admin=True)
    assert len((await exported(client))["gateways"]) == 2


async def test_what_was_exported_comes_back_elsewhere_and_a_second_time_changes_nothing(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    catalog_of(world).items.update(ITEMS)
    text = (await client.get("/export")).text
    text = text.replace(
        "  secrets_needed:\n  - credential.value\n", "  secrets:\n    credential:\n      value: hunter2\n"
    )
    elsewhere = FakeWorld(bus=FakeCatalog())
    elsewhere.catalog.items = catalog_of(elsewhere).items
    transport = httpx2.ASGITransport(create_rest_app(elsewhere.dependencies()))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://elsewhere.test", headers={"Authorization": TOKEN} | YAML
    ) as there:
        dry = await there.post("/import?dry_run=true", content=text)
        assert elsewhere.bus.asked == []
        first = await there.post("/import", content=text)
        asked = len(elsewhere.bus.asked)
        second = await there.post("/import", content=text)
        names = [("gateway", "Notes/1"), ("gateway", "shop"), ("server", "Desk")]
        assert outcomes(dry) == outcomes(first) == [(*each, "created") for each in names]
        assert outcomes(second) == [(*each, "unchanged") for each in names]
        assert len(elsewhere.bus.asked) == asked
        assert "hunter2" not in first.text + dry.text + second.text
        desk = elsewhere.catalog.items["server.desk"]
        assert isinstance(desk, catalog.VirtualServer)
        notes = next(item for item in elsewhere.catalog.items.values() if item.name == "Notes/1")
        assert desk.tools == (f"{notes.id}/add",)
        rotated = await there.post("/import?replace_secrets=true", content=text)
        assert outcomes(rotated)[0] == ("gateway", "Notes/1", "updated")


async def test_what_differs_is_updated_and_the_rest_is_left_alone(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    catalog_of(world).items.update(ITEMS)
    document = await exported(client)
    document["gateways"][1]["url"] = "https://new.example.com"
    document["servers"][0]["associated_tools"] = []
    document["servers"][0].pop("aliases")
    dry = await client.post("/import?dry_run=true", json=document)
    assert world.bus.asked == []
    real = await client.post("/import", json=document)
    assert outcomes(dry) == outcomes(real) == [
        ("gateway", "Notes/1", "unchanged"), ("gateway", "shop", "updated"), ("server", "Desk", "updated"),
    ]  # fmt: skip
    assert [subject for subject, _ in world.bus.asked] == [
        subjects.CATALOG_UPSTREAM_UPDATE, subjects.CATALOG_SERVER_UPDATE,
    ]  # fmt: skip
    report = real.json()
    assert (report["created"], report["updated"], report["unchanged"], report["failed"]) == (0, 2, 1, 0)


async def test_secrets_that_are_missing_are_named(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    gateways = [
        {"name": "a", "url": "https://a", "credential": {"kind": "basic", "public": {"user": "u"}}},
        {"name": "b", "transport": "stdio", "command": {"argv": ["x"]}, "secrets_needed": ["environment"]},
    ]
    report = (await client.post("/import", json={"gateways": gateways})).json()
    assert [(item["outcome"], item["missing_secrets"]) for item in report["items"]] == [
        ("failed", ["credential.password"]), ("failed", ["environment"]),
    ]  # fmt: skip
    assert world.bus.asked == []


async def test_what_fails_takes_nothing_along(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    catalog_of(world).away = {"away"}
    document = {
        "gateways": [
            {"name": "away", "url": "https://away"},
            {"name": "here", "url": "https://here"},
            {"name": "here", "url": "https://twice"},
            {"url": "https://nameless"},
            {"name": "odd", "url": "https://odd", "colour": "red"},
            {"name": "odder", "url": "https://odd", "secrets": {"credential": {"value": ["hunter2"]}}},
            7,
        ],
        "servers": [
            {"name": "one", "associated_tools": ["here/add"]},
            {"name": "two", "associated_tools": ["away/add"]},
            {"name": "three", "associated_upstreams": ["nowhere"]},
        ],
    }
    answer = await client.post("/import", json=document)
    assert [outcome for _, _, outcome in outcomes(answer)] == [
        "failed", "created", "failed", "failed", "failed", "failed", "failed", "created", "failed", "failed",
    ]  # fmt: skip
    reasons = [item["reason"] for item in answer.json()["items"]]
    assert reasons[0] == "nothing listens there"
    assert "twice" in reasons[2]
    assert reasons[4].startswith("colour: ")
    assert "away/add" in reasons[8]
    assert "hunter2" not in answer.text


async def test_a_dry_run_finds_what_is_not_there(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    catalog_of(world).items.update(ITEMS)
    servers = [{"name": "x", "associated_tools": ["shop/nothing"]}, {"name": "y", "associated_tools": ["shop/add"]}]
    answer = await client.post("/import?dry_run=true", json={"servers": servers})
    assert outcomes(answer) == [("server", "x", "failed"), ("server", "y", "created")]
    assert "nothing" in answer.json()["items"][0]["reason"]


async def test_what_is_somebody_else_s_is_left_alone(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    theirs = msgspec.structs.replace(SHOP, owner="bob@example.com")
    server = msgspec.structs.replace(DESK, owner="bob@example.com")
    catalog_of(world).items.update({"upstream.u2": theirs, "server.desk": server})
    document = {"gateways": [{"name": "shop", "url": "https://mine"}], "servers": [{"name": "Desk"}]}
    answer = await client.post("/import", json=document)
    assert [item["reason"] for item in answer.json()["items"]] == ["it exists, and is not yours to change"] * 2
    assert world.bus.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"- 1", b"gateways: 7", b"version: 2", b"gatways: []", b"{", b"\xff", b"a: &a [*a]",
        b"gateways: " + b"[" * 5000, b'{"gateways":' + b"[" * 5000, b"gateways: [" + b"1," * 2001 + b"1]",
        b"a0: &a0 x\n" + b"".join(b"a%d: &a%d [*a%d,*a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 30)),
        b"gateways: !!python/object/apply:os.system ['true']",
    ],
)  # fmt: skip
async def test_a_document_that_is_none_is_refused(client: httpx2.AsyncClient, world: FakeWorld, body: bytes) -> None:
    answer = await client.post("/import", content=body, headers=YAML)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), answer.text
    assert world.bus.asked == []


async def test_a_document_may_be_larger_than_other_bodies_and_is_bounded(client: httpx2.AsyncClient) -> None:
    padding = b"# " + b"x" * (2 * 1024 * 1024)
    assert (await client.post("/import", content=b"gateways: []\n" + padding, headers=YAML)).status_code == 200
    assert (await client.post("/import", content=padding * 4, headers=YAML)).status_code == 413


@pytest.mark.parametrize(
    "text", ["no", "on", "1e3", "0o17", "0x1f", "12:30:00", "2026-01-01", "null", "~", "+1", ".5", "- x", "a: b", "#",
             "", " x ", "é\u2028", "line\nbreak", "'", '"', "true", "1_000", "<<", "=", "%", "@", "`", "!x", "&x", "*x"]
)  # fmt: skip
def test_every_text_is_read_back_as_it_was(text: str) -> None:
    assert read(render({"x": [text], text or "k": "v"})) == {"x": [text], text or "k": "v"}


async def test_without_a_credential_nothing_is_exported_or_imported(
    client: httpx2.AsyncClient, world: FakeWorld
) -> None:
    client.headers["Authorization"] = "Bearer bad"
    assert (await client.get("/export")).status_code == 401
    assert (await client.post("/import", content=b"{}")).status_code == 401
    assert world.bus.asked == []
