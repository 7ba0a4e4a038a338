"""Which running request a message belongs to that comes beside their answers, on a stream that they share.

Progress says so by its token. What an upstream asks, and other notifications, do not: they go to the request that was
begun last, which is the right one where one runs.
"""

import contextlib
from collections.abc import Iterable, Reversible
from typing import Protocol

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import ErrorObject
from interlock_gateway.upstreams.http.incoming import Head

_PROGRESS = "notifications/progress"
CHANGES = frozenset({
    "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed",
    "notifications/resources/updated",
})  # fmt: skip
"""The notifications that belong to no request."""
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Token(msgspec.Struct, frozen=True, rename="camel"):
    progress_token: msgspec.Raw = msgspec.Raw(b"")


class _ProgressParams(msgspec.Struct, frozen=True):
    params: _Token = _Token()


class _RequestMeta(msgspec.Struct, frozen=True):
    meta: _Token = msgspec.field(default=_Token(), name="_meta")


_progress = msgspec.json.Decoder(_ProgressParams)
_request_meta = msgspec.json.Decoder(_RequestMeta)


class Addressable(Protocol):
    """A running request; ``token`` is what its progress is told under, as JSON, empty where it wants none."""

    @property
    def token(self) -> bytes: ...


def token_of(params: bytes) -> bytes:
    """The progress token among the parameters of a request."""
    try:
        return bytes(_request_meta.decode(params).meta.progress_token)
    except _MALFORMED:
        return b""


def addressee[A: Addressable](running: Reversible[A], message: bytes, head: Head) -> A | None:
    """Whom of ``running``, in the order in which they began, a request or notification is for."""
    if head.method == _PROGRESS:
        with contextlib.suppress(*_MALFORMED):
            token = bytes(_progress.decode(message).params.progress_token)
            if (named := _with_token(reversed(running), token)) is not None:
                return named
    return next(iter(reversed(running)), None)


def answer_for_nobody(request_id: jsonrpc.Id, method: str) -> bytes:
    """What a question gets while nothing runs: nobody is there who could answer more than a ping."""
    if method == "ping":
        return jsonrpc.answer(request_id, b"{}")
    return jsonrpc.failure(request_id, ErrorObject(jsonrpc.METHOD_NOT_FOUND, "no client is there to answer"))


def _with_token[A: Addressable](running: Iterable[A], token: bytes) -> A | None:
    return next((each for each in running if token and each.token == token), None)
