"""Prompts: plain, with arguments, with content of other kinds, and one that asks first; and what completes them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp_types import (
    CompleteRequestParams,
    Completion,
    ContentBlock,
    EmbeddedResource,
    GetPromptResult,
    ImageContent,
    Prompt,
    PromptArgument,
    PromptMessage,
    PromptReference,
    TextContent,
    TextResourceContents,
)

from everything.exchange import Exchange
from everything.interactive import form, said
from everything.paging import filled
from everything.samples import ICON, PNG
from everything.world import World

_WORDS = ("paris", "park", "party", "testing")
_IDS = ("123", "124", "200")


@dataclass(frozen=True)
class _Entry:
    prompt: Prompt
    messages: Callable[[Exchange], Awaitable[list[ContentBlock]]]


async def _simple(exchange: Exchange) -> list[ContentBlock]:
    del exchange
    return [TextContent(text="This is a simple prompt for testing.")]


async def _with_arguments(exchange: Exchange) -> list[ContentBlock]:
    first, second = (exchange.arguments.get(name, "") for name in ("arg1", "arg2"))
    return [TextContent(text=f"Prompt with arguments: arg1='{first}', arg2='{second}'")]


async def _with_resource(exchange: Exchange) -> list[ContentBlock]:
    uri = str(exchange.arguments.get("resourceUri", "test://example-resource"))
    content = TextResourceContents(uri=uri, mime_type="text/plain", text="Embedded resource content for testing.")
    return [EmbeddedResource(resource=content), TextContent(text="Please process the embedded resource above.")]


async def _with_image(exchange: Exchange) -> list[ContentBlock]:
    del exchange
    return [ImageContent(data=PNG, mime_type="image/png"), TextContent(text="Please analyze the image above.")]


async def _asking(exchange: Exchange) -> list[ContentBlock]:
    request = form("What context should the prompt use?", {"context": {"type": "string"}}, "context")
    answers = await exchange.ask({"user_context": request})
    return [TextContent(text=f"Use this context: {said(answers['user_context'])}")]


_ENTRIES = (
    _Entry(
        Prompt(
            name="test_simple_prompt",
            title="Simple prompt",
            description="A prompt without arguments",
            icons=[ICON],
            _meta={"example.com/origin": "fixture"},
        ),
        _simple,
    ),
    _Entry(
        Prompt(
            name="test_prompt_with_arguments",
            description="A prompt with two arguments",
            arguments=[
                PromptArgument(name="arg1", description="First test argument", required=True),
                PromptArgument(name="arg2", description="Second test argument", required=True),
            ],
        ),
        _with_arguments,
    ),
    _Entry(
        Prompt(
            name="test_prompt_with_embedded_resource",
            description="A prompt that embeds a resource",
            arguments=[PromptArgument(name="resourceUri", description="URI of the resource", required=True)],
        ),
        _with_resource,
    ),
    _Entry(Prompt(name="test_prompt_with_image", description="A prompt with a picture"), _with_image),
    _Entry(Prompt(name="test_input_required_result_prompt", description="A prompt that asks first"), _asking),
)
_EXTRA = _Entry(Prompt(name="extra_prompt", description="A prompt that comes and goes"), _simple)


def _filler(number: int) -> _Entry:
    return _Entry(Prompt(name=f"filler_{number:03}", description="A prompt to fill pages"), _simple)


def _entries(world: World) -> list[_Entry]:
    return filled([*_ENTRIES, *([_EXTRA] if world.extra_prompt else [])], world.pages, _filler)


def prompts(world: World) -> list[Prompt]:
    """What prompts/list has at this moment."""
    return [entry.prompt for entry in _entries(world)]


async def get(exchange: Exchange, name: str) -> GetPromptResult | None:
    """A prompt with its arguments filled in; None for a name that is not there."""
    for entry in _entries(exchange.world):
        if entry.prompt.name == name:
            content = await entry.messages(exchange)
            messages = [PromptMessage(role="user", content=block) for block in content]
            return GetPromptResult(description=entry.prompt.description, messages=messages)
    return None


def complete(params: CompleteRequestParams) -> Completion:
    """Words for the arguments of prompts, ids for the template of resources; by what was typed so far."""
    known = _WORDS if isinstance(params.ref, PromptReference) else _IDS
    values = [word for word in known if word.startswith(params.argument.value)]
    return Completion(values=values, total=len(values), has_more=False)
