"""Tools that answer content of every kind, and definitions with everything a definition can carry."""

from typing import Any

from mcp_types import (
    Annotations,
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

from everything.exchange import Exchange
from everything.registry import Registry, text
from everything.samples import ICON, PNG, WAV

CONTENT = Registry()

_WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "celsius": {"type": "number"},
        "wind": {"type": "object", "properties": {"from": {"type": "string"}, "knots": {"type": "integer"}}},
    },
    "required": ["city", "celsius"],
}

_SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _embedded(uri: str, mime_type: str, content: str) -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=content))


@CONTENT.tool("Answers one line of text")
async def test_simple_text(exchange: Exchange) -> CallToolResult:
    del exchange
    return text("This is a simple text response for testing.")


@CONTENT.tool("Answers a picture")
async def test_image_content(exchange: Exchange) -> CallToolResult:
    del exchange
    return CallToolResult(content=[ImageContent(data=PNG, mime_type="image/png")])


@CONTENT.tool("Answers a sound")
async def test_audio_content(exchange: Exchange) -> CallToolResult:
    del exchange
    return CallToolResult(content=[AudioContent(data=WAV, mime_type="audio/wav")])


@CONTENT.tool("Answers a resource with its content")
async def test_embedded_resource(exchange: Exchange) -> CallToolResult:
    del exchange
    embedded = _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    return CallToolResult(content=[embedded])


@CONTENT.tool("Answers text, a picture and a resource at once")
async def test_multiple_content_types(exchange: Exchange) -> CallToolResult:
    del exchange
    return CallToolResult(
        content=[
            TextContent(text="Multiple content types test:"),
            ImageContent(data=PNG, mime_type="image/png"),
            _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        ]
    )


@CONTENT.tool("Always fails")
async def test_error_handling(exchange: Exchange) -> CallToolResult:
    del exchange
    return text("This tool intentionally returns an error for testing", is_error=True)


@CONTENT.tool("Tool with JSON Schema 2020-12 features", input_schema=_SCHEMA_2020_12)
async def json_schema_2020_12_tool(exchange: Exchange) -> CallToolResult:
    return text(f"called with {', '.join(sorted(exchange.arguments))}")


@CONTENT.tool(
    "Answers structured content as its output schema says",
    {"city": {"type": "string", "title": "City", "examples": ["Oslo"], "x-vendor": {"hint": "kept"}}},
    ["city"],
    title="Weather of a city",
    output_schema=_WEATHER,
    icons=[ICON],
    annotations=ToolAnnotations(title="Weather", read_only_hint=True, idempotent_hint=True, open_world_hint=False),
    _meta={"example.com/category": "weather", "example.com/nested": {"list": [1, 2.5, None, "é"]}},
)
async def structured_weather(exchange: Exchange) -> CallToolResult:
    city = str(exchange.arguments.get("city", ""))
    return CallToolResult(
        content=[TextContent(text=f"{city}: 4.5 degrees", annotations=Annotations(audience=["user"], priority=0.5))],
        structured_content={"city": city, "celsius": 4.5, "wind": {"from": "north", "knots": 12}},
        _meta={"example.com/station": "18700"},
    )


@CONTENT.tool("Answers links to resources and a resource with its content")
async def link_resources(exchange: Exchange) -> CallToolResult:
    del exchange
    return CallToolResult(
        content=[
            ResourceLink(name="static text", uri="test://static-text", mime_type="text/plain", icons=[ICON]),
            ResourceLink(name="data of 7", uri="test://template/7/data", mime_type="application/json"),
            _embedded("test://static-text", "text/plain", "This is the content of the static text resource."),
        ]
    )
