"""JSON-RPC 2.0 as MCP uses it: the envelope is parsed, parameters and results stay raw bytes.

Error codes: JSON-RPC 2.0, section 5.1; MCP 2026-07-28 adds -32020 to -32022; -32003 is ours.
"""

from typing import Any

import msgspec

from interlock_gateway.nesting import deeper_than

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
DENIED = -32003
"""A policy of the gateway refused the call; ``data`` has its code and reason."""
RESOURCE_NOT_FOUND = -32002
"""In the handshake era; the stateless one says INVALID_PARAMS."""
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_PROTOCOL_VERSION = -32022

STATUS = {
    PARSE_ERROR: 400, INVALID_REQUEST: 400, INVALID_PARAMS: 400, METHOD_NOT_FOUND: 404, HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400, UNSUPPORTED_PROTOCOL_VERSION: 400,
}  # fmt: skip
"""The HTTP status that goes with an error in the stateless era (MCP 2026-07-28, transports); 200 with others."""

MAX_DEPTH = 128

type Id = int | str | float | None

_EMPTY = msgspec.Raw(b"{}")


class Envelope(msgspec.Struct, frozen=True):
    """One message; a request has ``method`` and ``id``, a notification no ``id``, an answer no ``method``."""

    jsonrpc: str
    method: str | None = None
    id: int | str | float | msgspec.UnsetType | None = msgspec.UNSET
    params: msgspec.Raw = _EMPTY
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class ErrorObject(msgspec.Struct, frozen=True, omit_defaults=True):
    code: int
    message: str
    data: dict[str, Any] | None = None


class _Answer(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: Id
    result: msgspec.Raw


class _Failure(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: Id
    error: ErrorObject | msgspec.Raw


class _Request(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: Id
    method: str
    params: msgspec.Raw


class _Notification(msgspec.Struct, frozen=True):
    jsonrpc: str
    method: str
    params: msgspec.Raw


class _Code(msgspec.Struct, frozen=True):
    code: int = 0


class RpcError(Exception):
    """A refusal in the words of JSON-RPC; ``status`` is the HTTP status that goes with it."""

    def __init__(self, code: int, message: str, *, status: int = 200, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error = ErrorObject(code, message, data)
        self.status = status


_envelope = msgspec.json.Decoder(Envelope)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_code = msgspec.json.Decoder(_Code)
_encode = msgspec.json.encode


def parse(body: bytes) -> Envelope:
    """The envelope of one message; raises RpcError with -32700 or -32600."""
    try:
        if not body.isascii():
            body.decode()  # the decoder passes over the text of members that stay raw
        envelope = _envelope.decode(body)
    except msgspec.ValidationError as error:
        raise RpcError(INVALID_REQUEST, f"not a JSON-RPC message: {error}", status=400) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RpcError(PARSE_ERROR, "the body is not JSON", status=400) from None
    if envelope.jsonrpc != "2.0":
        raise RpcError(INVALID_REQUEST, 'jsonrpc must be "2.0"', status=400)
    return envelope


def parse_request(body: bytes) -> Envelope:
    """The envelope of what a client sent; one that nests deeper than 128 levels is refused with -32600."""
    check_depth(body)
    return parse(body)


def check_depth(body: bytes) -> None:
    """Raise RpcError with -32600 for what nests so deep that decoders would be strained."""
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and deeper_than(body, MAX_DEPTH):
        raise RpcError(INVALID_REQUEST, f"the body nests deeper than {MAX_DEPTH} levels", status=400)


def members(params: msgspec.Raw, what: str = "params") -> dict[str, msgspec.Raw]:
    """The members of a JSON object, each still raw; raises RpcError with -32602 for anything else."""
    try:
        return _members.decode(params)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RpcError(INVALID_PARAMS, f"{what} must be a JSON object", status=400) from None


def params_and_meta(envelope: Envelope) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    """The members of the parameters, and of the ``_meta`` among them; raises RpcError with -32602."""
    params = members(envelope.params)
    return params, members(params["_meta"], "_meta") if "_meta" in params else {}


def string(raw: msgspec.Raw | None, what: str) -> str:
    """A member that must be a string; raises RpcError with -32602."""
    try:
        return _text.decode(raw if raw is not None else b"null")
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RpcError(INVALID_PARAMS, f"{what} must be a string", status=400) from None


def request(request_id: Id, method: str, params: bytes) -> bytes:
    return _encode(_Request("2.0", request_id, method, msgspec.Raw(params)))


def notification(method: str, params: bytes) -> bytes:
    return _encode(_Notification("2.0", method, msgspec.Raw(params)))


def answer(request_id: Id, result: bytes) -> bytes:
    return _encode(_Answer("2.0", request_id, msgspec.Raw(result)))


def failure(request_id: Id, error: ErrorObject | msgspec.Raw) -> bytes:
    return _encode(_Failure("2.0", request_id, error))


def code_of(error: msgspec.Raw) -> int:
    """The code of an error object that somebody else wrote; 0 where it has none."""
    try:
        return _code.decode(error).code
    except (msgspec.DecodeError, RecursionError):
        return 0
