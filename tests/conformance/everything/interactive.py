"""Tools that ask the client: a form, a page to open, a model, its roots. Each works in both eras."""

from typing import Any

from mcp_types import (
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequest,
    InputResponse,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

from everything.exchange import Exchange
from everything.registry import Registry, text

INTERACTIVE = Registry()

_CHOICES = [{"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"}]
_DEFAULTS: dict[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_ENUMS: dict[str, Any] = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {"type": "string", "oneOf": _CHOICES},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {"type": "array", "items": {"anyOf": _CHOICES}},
}
_PROMPT = {"prompt": {"type": "string", "description": "What to ask the model"}}
_MESSAGE = {"message": {"type": "string", "description": "What to tell the person"}}


def form(message: str, properties: dict[str, Any], *required: str) -> ElicitRequest:
    """A form for the person at the client."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _field(message: str, name: str, kind: str = "string") -> ElicitRequest:
    return form(message, {name: {"type": kind}}, name)


def _sampling(prompt: str, most_tokens: int = 100) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=most_tokens))


def said(answer: InputResponse) -> str:
    """An answer of any kind in one line."""
    match answer:
        case CreateMessageResult(content=TextContent(text=said_text)):
            return said_text
        case ListRootsResult(roots=roots):
            return ", ".join(str(root.uri) for root in roots)
        case ElicitResult(action=action, content=content):
            return f"action={action}, content={content}"
        case _:
            return answer.model_dump_json(by_alias=True, exclude_none=True)


def _value(answer: InputResponse, name: str) -> str:
    return str((answer.content or {}).get(name)) if isinstance(answer, ElicitResult) else said(answer)


@INTERACTIVE.tool("Asks the client's model", _PROMPT, ["prompt"])
async def test_sampling(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"sampling": _sampling(str(exchange.arguments.get("prompt", "")))})
    return text(f"LLM response: {said(answers['sampling'])}")


@INTERACTIVE.tool("Asks the person a form", _MESSAGE, ["message"])
async def test_elicitation(exchange: Exchange) -> CallToolResult:
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    request = form(str(exchange.arguments.get("message", "")), fields, "username", "email")
    answers = await exchange.ask({"user": request})
    return text(f"User response: {said(answers['user'])}")


@INTERACTIVE.tool("Asks a form whose fields have defaults (SEP-1034)")
async def test_elicitation_sep1034_defaults(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"defaults": form("Please review what is filled in", _DEFAULTS)})
    return text(f"Elicitation completed: {said(answers['defaults'])}")


@INTERACTIVE.tool("Asks the same form, for clients that fill in the defaults themselves")
async def test_client_elicitation_defaults(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"defaults": form("Please review what is filled in", _DEFAULTS)})
    return text(f"Elicitation completed: {said(answers['defaults'])}")


@INTERACTIVE.tool("Asks a form with every kind of choice (SEP-1330)")
async def test_elicitation_sep1330_enums(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"choices": form("Please choose", _ENUMS)})
    return text(f"Elicitation completed: {said(answers['choices'])}")


@INTERACTIVE.tool("Asks the person to open a page")
async def test_elicitation_url(exchange: Exchange) -> CallToolResult:
    params = ElicitRequestURLParams(
        message="Please sign in", url="https://example.com/sign-in", elicitation_id="sign-in-1"
    )
    answers = await exchange.ask({"page": ElicitRequest(params=params)})
    return text(f"Page: {said(answers['page'])}")


@INTERACTIVE.tool("Asks the client's model without a look at what the client declared")
async def test_missing_capability(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"sampling": _sampling("Hello?")}, trusting=True)
    return text(said(answers["sampling"]))


@INTERACTIVE.tool("Reports progress, then asks a form")
async def test_streaming_elicitation(exchange: Exchange) -> CallToolResult:
    await exchange.progress(1, 2, "about to ask")
    answers = await exchange.ask({"answer": _field("What next?", "answer")})
    return text(said(answers["answer"]))


@INTERACTIVE.tool("Asks for a name")
async def test_input_required_result_elicitation(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"user_name": _field("What is your name?", "name")})
    return text(f"Hello, {_value(answers['user_name'], 'name')}!")


@INTERACTIVE.tool("Asks the model for a capital")
async def test_input_required_result_sampling(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"capital_question": _sampling("What is the capital of France?")})
    return text(said(answers["capital_question"]))


@INTERACTIVE.tool("Asks for the client's roots")
async def test_input_required_result_list_roots(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"client_roots": ListRootsRequest()})
    return text(f"Roots: {said(answers['client_roots'])}")


@INTERACTIVE.tool("Asks for a confirmation, with a state")
async def test_input_required_result_request_state(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"confirm": _field("Please confirm", "ok", "boolean")}, stateful=True)
    return text(f"state-ok: {said(answers['confirm'])}")


@INTERACTIVE.tool("Asks for a confirmation, with a state that must come back unchanged")
async def test_input_required_result_tampered_state(exchange: Exchange) -> CallToolResult:
    answers = await exchange.ask({"confirm": _field("Please confirm", "ok", "boolean")}, stateful=True)
    return text(f"state-ok: {said(answers['confirm'])}")


@INTERACTIVE.tool("Asks a form, the model and the roots at once")
async def test_input_required_result_multiple_inputs(exchange: Exchange) -> CallToolResult:
    requests: dict[str, InputRequest] = {
        "user_name": _field("What is your name?", "name"),
        "greeting": _sampling("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    answers = await exchange.ask(requests, stateful=True)
    return text(*(f"{key}: {said(answers[key])}" for key in requests))


@INTERACTIVE.tool("Asks twice, one after the other")
async def test_input_required_result_multi_round(exchange: Exchange) -> CallToolResult:
    first = await exchange.ask({"step1": _field("Step 1: What is your name?", "name")}, stateful=True)
    second = await exchange.ask({"step2": _field("Step 2: What is your favorite color?", "color")}, stateful=True)
    return text(f"{_value(first['step1'], 'name')} likes {_value(second['step2'], 'color')}")


@INTERACTIVE.tool("Asks only what the client declared that it can answer")
async def test_input_required_result_capabilities(exchange: Exchange) -> CallToolResult:
    requests: dict[str, InputRequest] = {}
    if exchange.capabilities.sampling is not None:
        requests["greeting"] = _sampling("Generate a greeting", 50)
    if exchange.capabilities.elicitation is not None:
        requests["user_name"] = _field("What is your name?", "name")
    if not requests:
        return text("The client can answer nothing.")
    answers = await exchange.ask(requests)
    return text(*(f"{key}: {said(answers[key])}" for key in requests))
