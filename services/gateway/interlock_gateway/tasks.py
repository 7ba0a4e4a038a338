"""Tasks: long-running calls that are asked about later (2025-11-25; the extension io.modelcontextprotocol/tasks since).

An upstream's task ids are its own, so what a client gets is a name sealed for its principal, which leads back to the
upstream and says nothing to anybody else. A handle never authenticates (MCP, security of tasks).
"""

from collections.abc import Mapping
from functools import partial

import msgspec

from interlock_common.messages.plugins import Hook
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.jsonrpc import INVALID_PARAMS, RpcError
from interlock_gateway.offers import Offer, Route
from interlock_gateway.operations import Operation, Params

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_handle = msgspec.json.Decoder(tuple[str, str, str])
_PURPOSE = "task"
_METHODS: Mapping[str, tuple[Hook | None, str]] = {
    "tasks/get": ("tool_post_invoke", "result"),
    "tasks/result": ("tool_post_invoke", ""),
    "tasks/update": (None, ""),
    "tasks/cancel": (None, ""),
}
"""Each with the hook that sees what the tool answered, and the member that has it: the task has it in the end."""
_ID = b'"taskId"'
_RELATED = "io.modelcontextprotocol/related-task"


class Tasks:
    """Names tasks to clients, and finds them again."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def operations(self) -> Mapping[str, Operation]:
        """The methods that are about a task, by name."""
        return {
            method: Operation(
                method, _task_id, self._find, _original, _with_task_id, "tools.execute", _unknown, None, hook,
                payload="taskId", result_member=member,
            )
            for method, (hook, member) in _METHODS.items()
        }  # fmt: skip

    def rewritten(self, result: bytes, route: Route, caller: Caller) -> bytes:
        """A result with its task named as the client is to know it."""
        if _ID not in result or not result.lstrip().startswith(b"{"):
            return result
        members = _members.decode(result)
        rename = partial(self._public, route, caller.principal)
        _renamed(members, rename)
        _within(members, "task", rename)
        said = bytes(members.get("_meta", b""))
        if _RELATED.encode() in said and said.startswith(b"{"):
            meta = _members.decode(members["_meta"])
            _within(meta, _RELATED, rename)
            members["_meta"] = msgspec.Raw(_encode(meta))
        return _encode(members)

    def rewritten_notification(self, message: bytes, route: Route, caller: Caller) -> bytes:
        """The same for a notification, whose params name the task."""
        if _ID not in message:
            return message
        members = _members.decode(message)
        if bytes(members.get("params", b"")).startswith(b"{"):
            members["params"] = msgspec.Raw(self.rewritten(bytes(members["params"]), route, caller))
        return _encode(members)

    def _public(self, route: Route, principal: str, task_id: str) -> str:
        handle = (route.upstream.id, task_id, route.tool or route.definition.name)
        return self._sealer.seal_name(_PURPOSE, _encode(handle), principal.encode())

    def _find(self, offer: Offer, target: str, caller: Caller) -> Route | None:
        try:
            upstream_id, task_id, tool = _handle.decode(
                self._sealer.open_name(_PURPOSE, target, caller.principal.encode())
            )
        except (SealBroken, msgspec.DecodeError):
            return None
        return offer.about(upstream_id, task_id, tool)


def _within(members: Params, name: str, rename: partial[str]) -> None:
    """Rename the task that a member is about, where it is an object."""
    if bytes(members.get(name, b"")).startswith(b"{"):
        inner = _members.decode(members[name])
        _renamed(inner, rename)
        members[name] = msgspec.Raw(_encode(inner))


def _renamed(members: Params, rename: partial[str]) -> None:
    if bytes(members.get("taskId", b"")).startswith(b'"'):
        members["taskId"] = msgspec.Raw(_encode(rename(_text.decode(members["taskId"]))))


def _task_id(params: Params) -> str:
    return jsonrpc.string(params.get("taskId"), "params.taskId")


def _original(route: Route, _target: str) -> str:
    return route.definition.name


def _with_task_id(params: Params, original: str) -> Params:
    return params | {"taskId": msgspec.Raw(_encode(original))}


def _unknown(task_id: str, _modern: bool) -> RpcError:  # noqa: FBT001 - one of a family
    return RpcError(INVALID_PARAMS, "Task not found", data={"taskId": task_id})
