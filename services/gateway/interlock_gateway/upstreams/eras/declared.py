"""What a client declared that it can do, and what each request to a client needs of that.

MCP 2025-11-25 and 2026-07-28, client features: elicitation, sampling, roots.
"""

from typing import Any

import msgspec

ELICIT = "elicitation/create"
SAMPLE = "sampling/createMessage"
ROOTS = "roots/list"
ASKABLE = frozenset({ELICIT, SAMPLE, ROOTS})
"""The requests that can be put to a client, in either era."""

type Required = dict[str, dict[str, Any]]

_UNSAID = msgspec.UNSET


class _Elicitation(msgspec.Struct, frozen=True):
    form: msgspec.Raw | msgspec.UnsetType = _UNSAID
    url: msgspec.Raw | msgspec.UnsetType = _UNSAID


class _Sampling(msgspec.Struct, frozen=True):
    tools: msgspec.Raw | msgspec.UnsetType = _UNSAID


class _Capabilities(msgspec.Struct, frozen=True):
    elicitation: _Elicitation | None = None
    sampling: _Sampling | None = None
    roots: dict[str, msgspec.Raw] | None = None


class _Asked(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a request to a client that decide what it needs."""

    mode: str = "form"
    tools: msgspec.Raw | msgspec.UnsetType = _UNSAID
    tool_choice: msgspec.Raw | msgspec.UnsetType = _UNSAID


class _Response(msgspec.Struct, frozen=True):
    """The members by which a client's result is told from something else."""

    action: str = ""
    role: str = ""
    content: msgspec.Raw | msgspec.UnsetType = _UNSAID
    roots: list[msgspec.Raw] | None = None


_declared = msgspec.json.Decoder(_Capabilities)
_asked = msgspec.json.Decoder(_Asked)
_response = msgspec.json.Decoder(_Response)
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ACTIONS = frozenset({"accept", "decline", "cancel"})


def lacking(method: str, params: bytes, capabilities: bytes) -> Required:
    """What a request of ``ASKABLE`` needs and the client did not declare, as ``requiredCapabilities`` says it."""
    client = _read(capabilities)
    if method == ROOTS:
        return {} if client.roots is not None else {"roots": {}}
    asked = _needs(params)
    if method == ELICIT:
        return _lacking_of_elicitation(client.elicitation, asked.mode)
    if client.sampling is None:
        return {"sampling": {}}
    with_tools = isinstance(asked.tools, msgspec.Raw) or isinstance(asked.tool_choice, msgspec.Raw)
    return {"sampling": {"tools": {}}} if with_tools and client.sampling.tools is _UNSAID else {}


def _lacking_of_elicitation(declared: _Elicitation | None, mode: str) -> Required:
    """A client that names no mode can do forms (MCP 2025-11-25, elicitation, capabilities)."""
    kind = "url" if mode == "url" else "form"
    if declared is not None:
        can = {"url": declared.url is not _UNSAID, "form": declared.form is not _UNSAID or declared.url is _UNSAID}
        if can[kind]:
            return {}
    return {"elicitation": {kind: {}}}


def is_response(method: str, raw: bytes) -> bool:
    """Whether ``raw`` can be a client's result for a request of ``ASKABLE``."""
    try:
        said = _response.decode(raw)
    except _MALFORMED:
        return False
    if method == ELICIT:
        return said.action in _ACTIONS
    if method == SAMPLE:
        return bool(said.role) and isinstance(said.content, msgspec.Raw)
    return said.roots is not None


def declines(raw: bytes) -> bool:
    """Whether a client's result for an elicitation says that the user does not want to."""
    try:
        return _response.decode(raw).action in {"decline", "cancel"}
    except _MALFORMED:
        return False


def names(required: Required) -> str:
    """Capabilities in words: ``elicitation.url, sampling``."""
    return ", ".join(f"{name}.{'.'.join(parts)}" if parts else name for name, parts in required.items())


def _read(capabilities: bytes) -> _Capabilities:
    """What a client says in another form than the specification's counts as not said."""
    try:
        return _declared.decode(capabilities)
    except _MALFORMED:
        return _Capabilities()


def _needs(params: bytes) -> _Asked:
    try:
        return _asked.decode(params)
    except _MALFORMED:
        return _Asked()
