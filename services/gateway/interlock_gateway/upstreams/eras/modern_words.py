"""Responses of the handshake era in the words of the stateless one (MCP 2026-07-28, changelog)."""

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND,
    Envelope,
    ErrorObject,
)
from interlock_gateway.results import with_first_members
from interlock_gateway.upstreams.eras.declared import ELICIT, Required, lacking, names
from interlock_gateway.upstreams.transport import UpstreamRequest

URL_ELICITATION_REQUIRED = -32042
"""MCP 2025-11-25, elicitation: the request cannot be served before the user has been to these pages."""

_CACHEABLE = "resources/read"
_NOT_CACHED = {"ttlMs": 0, "cacheScope": "private"}
_MAX_PAGES = 32
_encode = msgspec.json.encode


class _Page(msgspec.Struct, frozen=True):
    url: str
    message: str = ""


class _Pages(msgspec.Struct, frozen=True):
    elicitations: list[_Page]


class _PagesNeeded(msgspec.Struct, frozen=True):
    data: _Pages


_pages = msgspec.json.Decoder(_PagesNeeded)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def modern_response(
    message: bytes, envelope: Envelope, request: UpstreamRequest, *, undeclared: Required, declined: bool
) -> bytes:
    """The response as a client of the stateless era is to have it.

    ``undeclared`` is what the upstream asked for in vain during the call: a call that fails then fails for want of it.
    ``declined`` says that the user was asked to open pages before, and did not want to.
    """
    if isinstance(envelope.error, msgspec.Raw):
        return _failed(message, envelope.error, request, undeclared, declined=declined)
    if request.method == _CACHEABLE and isinstance(envelope.result, msgspec.Raw):
        result = bytes(envelope.result)
        said = _members_of(result)
        missing: dict[str, object] = {key: value for key, value in _NOT_CACHED.items() if key not in said}
        if missing and result.startswith(b"{"):
            return jsonrpc.answer(None, with_first_members(result, missing))
    return message


def _failed(
    message: bytes, error: msgspec.Raw, request: UpstreamRequest, undeclared: Required, *, declined: bool
) -> bytes:
    if undeclared:
        return jsonrpc.failure(None, _missing(request, undeclared))
    code = jsonrpc.code_of(error)
    if code == RESOURCE_NOT_FOUND:
        return jsonrpc.failure(None, with_code(error, INVALID_PARAMS))
    if code == URL_ELICITATION_REQUIRED:
        return _pages_needed(error, request, declined=declined)
    return message


def _pages_needed(error: msgspec.Raw, request: UpstreamRequest, *, declined: bool) -> bytes:
    """The pages as requests for input; the retry is a new call, so there is no state to bring back."""
    try:
        pages = _pages.decode(error).data.elicitations[:_MAX_PAGES]
    except (msgspec.DecodeError, RecursionError):
        pages = []
    if declined or not pages:
        why = "the user declined" if declined else "the upstream did not say which"
        text = f"upstream {request.upstream.name} needs the user to open a page first: {why}"
        return jsonrpc.failure(None, ErrorObject(INTERNAL_ERROR, text))
    if missing := lacking(ELICIT, b'{"mode":"url"}', request.capabilities):
        return jsonrpc.failure(None, _missing(request, missing))
    requests = {
        f"elicitation-{number}": {
            "method": ELICIT, "params": {"mode": "url", "message": page.message, "url": page.url},
        }
        for number, page in enumerate(pages, 1)
    }  # fmt: skip
    return jsonrpc.answer(None, _encode({"resultType": "input_required", "inputRequests": requests}))


def _missing(request: UpstreamRequest, required: Required) -> ErrorObject:
    text = f"upstream {request.upstream.name} needs what the client did not declare: {names(required)}"
    return ErrorObject(MISSING_CAPABILITY, text, {"requiredCapabilities": required})


def with_code(error: msgspec.Raw, code: int) -> msgspec.Raw:
    """The error under another code; its other members as they were."""
    return msgspec.Raw(_encode(_members_of(error) | {"code": code}))


def _members_of(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _members.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return {}
