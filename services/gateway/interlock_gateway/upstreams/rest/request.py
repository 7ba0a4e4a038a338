"""From the arguments of a tool to the HTTP request that its ``RestCall`` describes.

An argument stays where the call puts it. In a path it is expanded as RFC 6570 (section 3.2.2) says, so that only
unreserved characters and escapes of it arrive (RFC 3986, section 2.3), and refused where it would still be a segment
of its own: ``.`` or ``..``, or nothing. In a header it is one line of printable ASCII.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

import msgspec
from yarl import URL

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import RestCall
from interlock_gateway.upstreams.rest import json_path

WHOLE_BODY = ""
"""As the only key of ``RestCall.body``: the argument is the body itself (the JSON Pointer of a whole document)."""

FORBIDDEN_HEADERS = frozenset({
    "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie",
    "cookie2", "expect", "forwarded", "host", "http2-settings", "keep-alive", "proxy-authenticate",
    "proxy-authorization", "proxy-connection", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via",
})  # fmt: skip
"""Headers that say how a message travels, or who sends it: not for arguments to say (RFC 9110, section 7.6.1)."""

MAX_URL = 8192
_MAX_PATH = 2048
_MAX_HEADER = 8192
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_LITERAL_SAFE = "/:@!$&'()*+,;=~%?"
_PART = re.compile(r"\{([A-Za-z0-9_.-]{1,64})\}|([^{}]+)")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SEPARATOR = re.compile(r"[/\\]")

_array = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.encode

type Arguments = Mapping[str, msgspec.Raw]
type Template = tuple[tuple[bool, str], ...]


class CallInvalid(InvalidInput):
    """A ``RestCall`` that no arguments could make a request of."""

    code = "rest_call_invalid"


class ArgumentRefused(InvalidInput):
    """An argument that has no place in a request; the message names it, never its value."""

    code = "argument_refused"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent; ``url`` is complete and encoded, ``body`` is JSON or nothing."""

    method: str
    url: URL
    headers: dict[str, str]
    body: bytes | None


class _Given:
    """The arguments of one call, and which of them have found their place."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.used: set[str] = set()

    def take(self, name: str) -> msgspec.Raw | None:
        """The argument, None where it is absent or null."""
        self.used.add(name)
        value = self.arguments.get(name)
        return None if value is None or bytes(value) == b"null" else value


def check_call(call: RestCall, arguments: Iterable[str]) -> None:
    """Hold a call against the arguments its tool has, when it is registered; raises InvalidInput."""
    known = set(arguments)
    template = _parse_template(call.path)
    _check_segments("".join("x" if is_argument else part for is_argument, part in template).partition("?")[0])
    for is_argument, name in template:
        if is_argument and name not in known:
            raise CallInvalid(f"the path takes {name!r}, which is no argument of the tool", argument=name)
    for place in (call.query, call.headers, call.body or {}):
        for name in place.values():
            if name not in known:
                raise CallInvalid(f"{name!r} is no argument of the tool", argument=name)
    for header in call.headers:
        _check_header(header)
    if call.body and call.method == "GET":
        raise CallInvalid("a GET request has no body")
    if call.body is not None and WHOLE_BODY in call.body and len(call.body) > 1:
        raise CallInvalid("a body is either one argument or members, not both")
    json_path.parse(call.result)


def build(base: str, call: RestCall, arguments: Arguments) -> HttpRequest:
    """The request for ``arguments`` at the upstream's URL; raises ArgumentRefused and CallInvalid."""
    given = _Given(arguments)
    root = URL(base)
    path, _, fixed = _expand(_parse_template(call.path), given).partition("?")
    query = "&".join(part for part in (root.raw_query_string, fixed, _query(call, given)) if part)
    address = f"{root.origin()}{root.raw_path.rstrip('/')}{path}{'?' if query else ''}{query}"
    if len(address) > MAX_URL:
        raise ArgumentRefused(f"the arguments make an address of more than {MAX_URL} characters")
    headers = _headers(call, given)
    body = _body(call, given)
    if body is not None:
        headers["Content-Type"] = "application/json"
    return HttpRequest(call.method, URL(address, encoded=True), headers, body)


def _parse_template(path: str) -> Template:
    """Pairs of (is an argument, its name or the literal); what comes first begins with ``/`` or ``?``."""
    if path and path[0] not in "/?":
        path = f"/{path}"
    if len(path) > _MAX_PATH:
        raise CallInvalid(f"a path is at most {_MAX_PATH} characters")
    parts: list[tuple[bool, str]] = []
    at = 0
    while at < len(path):
        found = _PART.match(path, at)
        if found is None:
            raise CallInvalid("a path has arguments as {name}, the name of A-Z a-z 0-9 _ . - and without operators")
        parts.append((True, found[1]) if found[1] else (False, found[2]))
        at = found.end()
    literal = "".join(part for is_argument, part in parts if not is_argument)
    if "#" in literal or _CONTROL.search(literal) or not literal.isprintable():
        raise CallInvalid("a path has no fragment and no control characters")
    return tuple(parts)


def _expand(template: Template, given: _Given) -> str:
    expanded: list[str] = []
    for is_argument, part in template:
        if not is_argument:
            expanded.append(quote(part, safe=_LITERAL_SAFE))
            continue
        value = given.take(part)
        if value is None:
            raise ArgumentRefused(f"the argument {part} is part of the address and must be given", argument=part)
        text = ",".join(quote(text, safe="") for text in _texts(part, value))
        if not text:
            raise ArgumentRefused(f"the argument {part} is part of the address and must not be empty", argument=part)
        expanded.append(text)
    address = "".join(expanded)
    _check_segments(address.partition("?")[0])
    return address


def _check_segments(path: str) -> None:
    """Refuse a path that some server would take for another one: with a segment that is ``.`` or ``..``.

    Servers that decode before they split see slashes and backslashes inside a value too, and some drop what
    follows a semicolon.
    """
    decoded = unquote(path)
    if _CONTROL.search(decoded):
        raise ArgumentRefused("control characters have no place in an address")
    if any(piece.partition(";")[0] in {".", ".."} for piece in _SEPARATOR.split(decoded)):
        raise ArgumentRefused("'.' and '..' have no place in an address")


def _query(call: RestCall, given: _Given) -> str:
    pairs: list[str] = []
    for name, argument in call.query.items():
        value = given.take(argument)
        if value is not None:
            pairs += [f"{quote(name, safe='')}={quote(text, safe='')}" for text in _texts(argument, value)]
    return "&".join(pairs)


def _headers(call: RestCall, given: _Given) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, argument in call.headers.items():
        _check_header(name)
        value = given.take(argument)
        if value is None:
            continue
        text = ", ".join(_texts(argument, value))
        if len(text) > _MAX_HEADER or _HEADER_VALUE.fullmatch(text) is None:
            raise ArgumentRefused(f"the argument {argument} is sent in a header: one line of printable ASCII, "
                                  f"at most {_MAX_HEADER} characters", argument=argument)  # fmt: skip
        headers[name] = text
    return headers


def _check_header(name: str) -> None:
    if _HEADER_NAME.fullmatch(name) is None:
        raise CallInvalid(f"{name[:64]!r} is no name of a header")
    if name.lower() in FORBIDDEN_HEADERS:
        raise CallInvalid(f"the header {name} is not for arguments to set")


def _body(call: RestCall, given: _Given) -> bytes | None:
    """The JSON body: the values as they were written, in the order the call or the caller names them."""
    if call.body is None:
        rest = {name: value for name, value in given.arguments.items() if name not in given.used}
        return _encode(rest) if rest and call.method in _WITH_BODY else None
    if not call.body:
        return None
    if WHOLE_BODY in call.body:
        whole = given.arguments.get(call.body[WHOLE_BODY])
        return None if whole is None else bytes(whole)
    return _encode({member: given.arguments[name] for member, name in call.body.items() if name in given.arguments})


def _texts(argument: str, value: msgspec.Raw) -> list[str]:
    """A value as texts: one for each element of an array; numbers as they were written, objects as JSON."""
    raw = bytes(value)
    try:
        return [_scalar(bytes(item)) for item in _array.decode(raw)] if raw.startswith(b"[") else [_scalar(raw)]
    except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError, RecursionError):
        raise ArgumentRefused(f"the argument {argument} is not JSON that can be sent", argument=argument) from None


def _scalar(raw: bytes) -> str:
    return _text.decode(raw) if raw.startswith(b'"') else raw.decode()
