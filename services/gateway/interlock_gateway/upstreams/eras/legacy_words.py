"""Responses of the stateless era in the words of the handshake era (MCP 2026-07-28, changelog)."""

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    Envelope,
    ErrorObject,
)
from interlock_gateway.revisions import META_SERVER
from interlock_gateway.upstreams.eras.modern_words import with_code

_CODES = {
    MISSING_CAPABILITY: INVALID_REQUEST,
    HEADER_MISMATCH: INTERNAL_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION: INTERNAL_ERROR,
}
"""What clients of the handshake era do not know; between us and the upstream, the last two are not their doing."""
_ONLY_STATELESS = ("resultType", "ttlMs", "cacheScope")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode


def legacy_response(response: Envelope, method: str) -> bytes:
    """The response without what only the stateless era has; its other members as they were."""
    request_id = None if isinstance(response.id, msgspec.UnsetType) else response.id
    if isinstance(response.error, msgspec.Raw):
        return jsonrpc.failure(request_id, _error(response.error, method))
    if not isinstance(response.result, msgspec.Raw):
        return jsonrpc.answer(request_id, b"{}")
    try:
        members = _members.decode(response.result)
    except (msgspec.DecodeError, RecursionError):
        return jsonrpc.answer(request_id, bytes(response.result))
    kind = bytes(members.get("resultType", b'"complete"'))
    if kind != b'"complete"':
        shown = kind[:64].decode(errors="replace")
        text = f"the result is of the type {shown}, which the protocol version of this session does not have"
        return jsonrpc.failure(request_id, ErrorObject(INTERNAL_ERROR, text))
    return jsonrpc.answer(request_id, _without(bytes(response.result), members))


def _without(result: bytes, members: dict[str, msgspec.Raw]) -> bytes:
    dropped = [name for name in _ONLY_STATELESS if members.pop(name, None) is not None]
    meta = members.get("_meta")
    if meta is not None and bytes(meta).startswith(b"{"):
        kept = _members.decode(meta)
        if kept.pop(META_SERVER, None) is not None:
            dropped.append("_meta")
            members["_meta"] = msgspec.Raw(_encode(kept))
            if not kept:
                del members["_meta"]
    return _encode(members) if dropped else result


def _error(error: msgspec.Raw, method: str) -> msgspec.Raw:
    code = jsonrpc.code_of(error)
    if code == INVALID_PARAMS and method == "resources/read":
        return with_code(error, RESOURCE_NOT_FOUND)
    return with_code(error, _CODES[code]) if code in _CODES else error
