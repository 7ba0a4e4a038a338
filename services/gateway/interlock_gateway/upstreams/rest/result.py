"""From the answer of a REST endpoint to the result of a tool call (MCP 2025-11-25, server/tools, tool result)."""

import base64
import codecs
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from interlock_gateway.nesting import deeper_than
from interlock_gateway.upstreams.rest import json_path

MAX_DEPTH = 64
MAX_EXCERPT = 2000
"""Characters of an error's body that are passed on."""

_BYTE_ORDER_MARK = codecs.BOM_UTF8
_TEXT_TYPES = frozenset({
    "application/javascript", "application/sql", "application/toml", "application/x-www-form-urlencoded",
    "application/x-yaml", "application/xml", "application/yaml",
})  # fmt: skip
_CHARSETS = ("utf-8", "utf-16", "us-ascii", "iso-8859-", "windows-", "shift_jis", "euc-", "gb", "big5", "koi8-")

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a REST endpoint answered; ``content_type`` in lower case, without parameters."""

    status: int
    content_type: str
    charset: str
    body: bytes
    retry_after: str = ""
    challenge: str = ""
    """What ``WWW-Authenticate`` said."""


class _Problem(msgspec.Struct, frozen=True):
    """The members of a problem document that are for people (RFC 9457, section 3.1)."""

    title: str = ""
    detail: str = ""


_problem = msgspec.json.Decoder(_Problem)


def failed(text: str) -> bytes:
    """The result of a call that failed; the model reads the text and may try again."""
    return _encode({"content": [_text(text)], "isError": True})


def result_of(upstream: str, path: str, answer: HttpAnswer) -> bytes:
    """The result of a call; ``path`` selects from JSON. What cannot be a result is an error that says why."""
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - the class of success
        return failed(_refusal(upstream, answer))
    kind = answer.content_type
    if not answer.body:
        return _encode({"content": [_text(f"done: HTTP {answer.status} without content")]})
    if _is_json(kind):
        return _json_result(upstream, path, answer.body)
    if _is_text(kind):
        return _encode({"content": [_text(_decoded(answer))]})
    if kind.startswith(("image/", "audio/")):
        data = base64.b64encode(answer.body).decode()
        return _encode({"content": [{"type": kind.partition("/")[0], "data": data, "mimeType": kind}]})
    return failed(
        f"upstream {upstream} answered {len(answer.body)} bytes of {kind[:100]}, which no tool result carries"
    )


def _json_result(upstream: str, path: str, body: bytes) -> bytes:
    body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        body.decode()  # the decoder passes over the text of members that stay raw
        document = bytes(msgspec.json.decode(body, type=msgspec.Raw)).strip()
        too_deep = deeper_than(document, MAX_DEPTH)
    except RecursionError:
        document, too_deep = b"", True
    except (msgspec.DecodeError, UnicodeDecodeError):
        return failed(f"upstream {upstream} said that it answers JSON, and did not")
    if too_deep:
        return failed(f"upstream {upstream} answered JSON that nests over {MAX_DEPTH} levels deep")
    selected = json_path.select(document, json_path.parse(path))
    if selected is None:
        return failed(f"the answer of upstream {upstream} has nothing at {path}")
    result: dict[str, object] = {"content": [_text(selected.decode())]}
    if selected.startswith(b"{"):
        result["structuredContent"] = msgspec.Raw(selected)
    return _encode(result)


def _refusal(upstream: str, answer: HttpAnswer) -> str:
    try:
        phrase = f" {HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = ""
    said = f"upstream {upstream} answered HTTP {answer.status}{phrase}"
    if 300 <= answer.status < 400:  # noqa: PLR2004 - the class of redirects
        return f"{said}, a redirect that is not followed"
    if answer.retry_after:
        said += f" (retry after {answer.retry_after[:40]})"
    excerpt = _excerpt(answer)
    return f"{said}: {excerpt}" if excerpt else said


def _excerpt(answer: HttpAnswer) -> str:
    if answer.content_type == "application/problem+json":
        try:
            problem = _problem.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            problem = _Problem()
        if told := ": ".join(text for text in (problem.title, problem.detail) if text):
            return told[:MAX_EXCERPT]
    if _is_text(answer.content_type) or _is_json(answer.content_type):
        return _decoded(answer).strip()[:MAX_EXCERPT]
    return ""


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")


def _is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind.endswith("+xml") or kind in _TEXT_TYPES


def _decoded(answer: HttpAnswer) -> str:
    """The body as text; a charset that is not known is read as UTF-8."""
    charset = answer.charset if answer.charset.startswith(_CHARSETS) else "utf-8"
    try:
        return answer.body.decode(charset, errors="replace")
    except LookupError:
        return answer.body.decode(errors="replace")


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
