"""docs/rest-tools.md and the weather API of the examples do what they say."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import msgspec
from aiohttp.test_utils import TestServer

from interlock_common.messages.catalog import Definition, RestCall, Upstream
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.connections import Bounds, Ways
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.discovery.definitions import read_definition
from interlock_gateway.upstreams.rest.openapi import import_openapi
from interlock_gateway.upstreams.rest.request import check_call
from interlock_gateway.upstreams.rest.transport import RestTransport
from interlock_gateway.upstreams.transport import UpstreamRequest

ROOT = Path(__file__).resolve().parents[5]
DOCUMENT = (ROOT / "examples" / "weather_api.yaml").read_bytes()


def upstream(definitions: tuple[Definition, ...], calls: dict[str, RestCall]) -> Upstream:
    return upstream_at("", transport="rest", tools=definitions, rest=calls)


def registered() -> Upstream:
    """What the page registers by hand."""
    page = (ROOT / "docs" / "rest-tools.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    body = json.loads(found[1])
    definitions = tuple(read_definition("tool", json.dumps(tool).encode(), "here") for tool in body["definitions"])
    calls = {name: msgspec.convert(call, RestCall) for name, call in body["rest"].items()}
    for tool in body["definitions"]:
        check_call(calls[tool["name"]], tool["inputSchema"]["properties"])
    return upstream(definitions, calls)


def imported() -> Upstream:
    """What comes of the API's document."""
    found = import_openapi(DOCUMENT)
    assert found.notes == ()
    return upstream(tuple(read_definition("tool", each, "here") for each in found.definitions), found.rest)


async def call(api: Upstream, name: str, **arguments: Any) -> Any:
    """The result of a tool, asked of the example."""
    example: Any = runpy.run_path(str(ROOT / "examples" / "weather_api.py"))
    ways = Ways(Bounds(), AddressPolicy(allow_private=True))
    async with TestServer(example["WeatherApi"]().application()) as server:
        at = msgspec.structs.replace(api, url=str(server.make_url("/v1")))
        params = msgspec.json.encode({"name": name, "arguments": arguments})
        request = UpstreamRequest(at, "tools/call", name, params, "ada", "session")
        async with RestTransport(ways, Credentials({})).open(request) as exchange:
            (answer,) = [json.loads(message) async for message in exchange]
    await ways.stop()
    return answer["result"]


async def test_the_tools_written_by_hand_work() -> None:
    forecast = await call(registered(), "forecast", city="São Paulo", days=2)
    assert [day["day"] for day in json.loads(forecast["content"][0]["text"])] == [0, 1]
    report = await call(registered(), "report", city="Oslo", text="fog")
    assert report["structuredContent"] == {"number": 1}


async def test_the_tools_of_the_document_work() -> None:
    api = imported()
    assert list(api.rest) == ["list_cities", "get_forecast", "report_weather"]
    assert "Oslo" in (await call(api, "list_cities"))["structuredContent"]["cities"]
    forecast = await call(api, "get_forecast", city="Bergen")
    assert len(forecast["structuredContent"]["forecast"]) == 3
    assert (await call(api, "report_weather", city="Oslo", text="fog"))["structuredContent"] == {"number": 1}


async def test_what_goes_wrong_is_told() -> None:
    unknown = await call(imported(), "get_forecast", city="Atlantis")
    assert unknown == {
        "content": [{
            "type": "text",
            "text": "upstream notes answered HTTP 404 Not Found: No such city: There is no weather for Atlantis.",
        }],
        "isError": True,
    }  # fmt: skip
    assert "days" in (await call(imported(), "get_forecast", city="Oslo", days=99))["content"][0]["text"]
