"""The last touch on a result: the id of the request, the id of its record, the member the stateless era asks for."""

from dataclasses import dataclass
from typing import Literal, Self

import msgspec

from interlock_gateway import jsonrpc

RECORD_META = "dev.interlock/audit"

_encode = msgspec.json.encode


class _Peek(msgspec.Struct, frozen=True, rename="camel"):
    """The few members of a result that we look at."""

    is_error: bool = False
    result_type: str | None = None
    meta: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="_meta", default=msgspec.UNSET)

    @property
    def outcome(self) -> Literal["ok", "tool_error", "input_required"]:
        if self.result_type == "input_required":
            return "input_required"
        return "tool_error" if self.is_error else "ok"


_peek = msgspec.json.Decoder(_Peek)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Result:
    """The message that answers the request, and what that comes to; ``status`` is HTTP's in the stateless era."""

    message: bytes
    outcome: Literal["ok", "tool_error", "input_required"]
    status: int = 200

    @classmethod
    def failed(cls, request_id: jsonrpc.Id, error: msgspec.Raw) -> Self:
        """The error that an upstream answered, as it was."""
        return cls(jsonrpc.failure(request_id, error), "tool_error", jsonrpc.STATUS.get(jsonrpc.code_of(error), 200))


def finish(result: bytes, request_id: jsonrpc.Id, record_id: str, *, modern: bool) -> Result:
    """The response around ``result``, whose own bytes stay as they are: what we add goes in front of them.

    Only a result that has a ``_meta`` of its own is taken apart, to add the record id there.
    """
    try:
        seen = _peek.decode(result)
    except msgspec.DecodeError:
        return Result(jsonrpc.answer(request_id, result), "ok")
    added: dict[str, object] = {}
    if modern and seen.result_type is None:
        added["resultType"] = "complete"
    if isinstance(seen.meta, msgspec.Raw):
        members = _members.decode(result)
        own = _members.decode(seen.meta) if bytes(seen.meta).startswith(b"{") else {}
        members["_meta"] = msgspec.Raw(_encode(own | {RECORD_META: msgspec.Raw(_encode(record_id))}))
        result = _encode(members)
    else:
        added["_meta"] = {RECORD_META: record_id}
    return Result(jsonrpc.answer(request_id, with_first_members(result, added)), seen.outcome)


def with_first_members(obj: bytes, added: dict[str, object]) -> bytes:
    """``obj`` with members in front of its own; its own bytes are not touched."""
    if not added:
        return obj
    start = obj.index(b"{") + 1
    separator = b"" if obj[start:].lstrip()[:1] == b"}" else b","
    return obj[:start] + _encode(added)[1:-1] + separator + obj[start:]
