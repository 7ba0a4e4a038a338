"""The requests that go to an upstream: what each names, what it needs, which hooks see it.

A tool call, a resource read, a prompt and a completion take the same ten steps (``tool_calls.py``) in other words.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from interlock_common.messages.plugins import Hook
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.jsonrpc import INVALID_PARAMS, RESOURCE_NOT_FOUND, RpcError
from interlock_gateway.offers import Offer, Route

type Params = dict[str, msgspec.Raw]

_encode = msgspec.json.encode
_NONE = msgspec.Raw(b"{}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method; ``find`` is how its target is looked up, ``original`` what that is called at the upstream.

    ``rename`` has the parameters say so.

    ``payload`` is the member that plugins see and may replace, and that is recorded as a digest; ``in_header`` says
    whether ``Mcp-Name`` repeats the target. ``result_member`` is the part of the result that plugins see, empty for
    all of it.
    """

    method: str
    target: Callable[[Params], str]
    find: Callable[[Offer, str, Caller], Route | None]
    original: Callable[[Route, str], str]
    rename: Callable[[Params, str], Params]
    permission: str
    unknown: Callable[[str, bool], RpcError]
    pre_hook: Hook | None
    post_hook: Hook | None
    payload: str = "arguments"
    result_member: str = ""
    in_header: bool = True


def _name(params: Params) -> str:
    return jsonrpc.string(params.get("name"), "params.name")


def _uri(params: Params) -> str:
    return jsonrpc.string(params.get("uri"), "params.uri")


def _reference(params: Params) -> str:
    """What a completion is for: ``ref/prompt`` has a name, ``ref/resource`` a URI or a template."""
    ref = jsonrpc.members(params.get("ref", msgspec.Raw(b"null")), "params.ref")
    if "uri" in ref:
        return jsonrpc.string(ref["uri"], "params.ref.uri")
    return jsonrpc.string(ref.get("name"), "params.ref.name")


def _tool(offer: Offer, name: str, _caller: Caller) -> Route | None:
    return offer.routes["tool"].get(name)


def _prompt(offer: Offer, name: str, _caller: Caller) -> Route | None:
    return offer.routes["prompt"].get(name)


def _resource(offer: Offer, uri: str, _caller: Caller) -> Route | None:
    return offer.resource(uri)


def _completed(offer: Offer, target: str, _caller: Caller) -> Route | None:
    return offer.routes["prompt"].get(target) or offer.routes["template"].get(target) or offer.resource(target)


def _same_name(route: Route, _target: str) -> str:
    return route.definition.name


def _same_reference(route: Route, target: str) -> str:
    return route.definition.name if route.kind == "prompt" else route.original_uri(target)


def _with_name(params: Params, original: str) -> Params:
    return params | {"name": msgspec.Raw(_encode(original))}


def _with_uri(params: Params, original: str) -> Params:
    return params | {"uri": msgspec.Raw(_encode(original))}


def _with_reference(params: Params, original: str) -> Params:
    ref = jsonrpc.members(params["ref"], "params.ref")
    ref["uri" if "uri" in ref else "name"] = msgspec.Raw(_encode(original))
    return params | {"ref": msgspec.Raw(_encode(ref))}


def _unknown_tool(name: str, _modern: bool) -> RpcError:  # noqa: FBT001 - one of a family
    return RpcError(INVALID_PARAMS, f"Unknown tool: {name}", data={"tool": name})


def _unknown_prompt(name: str, _modern: bool) -> RpcError:  # noqa: FBT001
    return RpcError(INVALID_PARAMS, f"Unknown prompt: {name}", data={"prompt": name})


def _unknown_resource(uri: str, modern: bool) -> RpcError:  # noqa: FBT001
    return RpcError(INVALID_PARAMS if modern else RESOURCE_NOT_FOUND, "Resource not found", data={"uri": uri})


CALL_TOOL = Operation(
    "tools/call", _name, _tool, _same_name, _with_name, "tools.execute", _unknown_tool, "tool_pre_invoke",
    "tool_post_invoke",
)  # fmt: skip
READ_RESOURCE = Operation(
    "resources/read", _uri, _resource, Route.original_uri, _with_uri, "resources.read", _unknown_resource,
    "resource_pre_fetch", "resource_post_fetch", payload="uri",
)  # fmt: skip
GET_PROMPT = Operation(
    "prompts/get", _name, _prompt, _same_name, _with_name, "prompts.read", _unknown_prompt, "prompt_pre_fetch",
    "prompt_post_fetch",
)  # fmt: skip
COMPLETE = Operation(
    "completion/complete", _reference, _completed, _same_reference, _with_reference, "prompts.read", _unknown_prompt,
    None, None, payload="argument", in_header=False,
)  # fmt: skip

OPERATIONS: dict[str, Operation] = {each.method: each for each in (CALL_TOOL, READ_RESOURCE, GET_PROMPT, COMPLETE)}


def payload_of(operation: Operation, params: Params) -> bytes:
    """The part of the parameters that inspection and the record are about, raw."""
    return bytes(params.get(operation.payload, _NONE))
