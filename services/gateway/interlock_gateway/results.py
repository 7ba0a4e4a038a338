"""The last touch on a result: the id of the request, the id of its record, the member the stateless era asks for."""

from dataclasses import dataclass

import msgspec

from interlock_gateway import jsonrpc

RECORD_META = "dev.interlock/audit"

_encode = msgspec.json.encode


class _Peek(msgspec.Struct, frozen=True, rename="camel"):
    """The few members of a result that we look at."""

    is_error: bool = False
    result_type: str | None = None
    meta: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="_meta", default=msgspec.UNSET)


_peek = msgspec.json.Decoder(_Peek)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Result:
    """The message that answers the request."""

    message: bytes
    is_error: bool


def finish(result: bytes, request_id: jsonrpc.Id, record_id: str, *, modern: bool) -> Result:
    """The response around ``result``, whose own bytes stay as they are: what we add goes in front of them.

    Only a result that has a ``_meta`` of its own is taken apart, to add the record id there.
    """
    try:
        seen = _peek.decode(result)
    except msgspec.DecodeError:
        return Result(jsonrpc.answer(request_id, result), is_error=False)
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
    return Result(jsonrpc.answer(request_id, _with_first_members(result, added)), is_error=seen.is_error)


def _with_first_members(obj: bytes, added: dict[str, object]) -> bytes:
    """``obj`` with members in front of its own; its own bytes are not touched."""
    if not added:
        return obj
    start = obj.index(b"{") + 1
    separator = b"" if obj[start:].lstrip()[:1] == b"}" else b","
    return obj[:start] + _encode(added)[1:-1] + separator + obj[start:]
