"""Requests that two readers would read differently, or that cost more to read than to send, get no further."""

import gzip
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from stories.attack_table import Expected
from stories.attackers import OWN_SERVER, TOOL, Ground, bearer, marked
from stories.load import modern_call


def message(marker: str) -> tuple[str, bytes]:
    """The head, less what frames the body, and the body of a call that would leave ``marker`` behind."""
    headers, body = modern_call(TOOL, {"text": marker}, 1)
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()), json.dumps(body).encode()


def spoken(ground: Ground, request: bytes) -> bytes:
    """All that a server says to bytes on a connection of their own, until it closes it or has nothing more to say."""
    where = urlsplit(ground.url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=5) as connection:
        connection.sendall(request)
        said = b""
        try:
            while part := connection.recv(65536):
                said += part
        except TimeoutError:
            pytest.fail(f"the connection stays open after {said!r}")
        except ConnectionResetError:
            pass
    return said


def head(ground: Ground, marker: str, framing: str, target: str = "/mcp") -> bytes:
    said, _ = message(marker)
    host = urlsplit(ground.url).netloc
    return (
        f"POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {ground.stage.token}\r\n"
        f"Content-Type: application/json\r\n{said}{framing}\r\n"
    ).encode("latin-1")


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


type Raw = Callable[[Ground, str], bytes]


def framed(framing: str, *, chunks: bool = False) -> Raw:
    """A call whose body is framed in an odd way; ``{n}`` is its length."""

    def build(ground: Ground, marker: str) -> bytes:
        _, body = message(marker)
        framed_head = head(ground, marker, framing.format(n=len(body), less=len(body) - 1))
        return framed_head + (chunked(body) if chunks else body)

    return build


TOO_BIG = 431

FRAMINGS: dict[str, tuple[Raw, int]] = {
    "length and chunks": (framed("Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n", chunks=True), 400),
    "chunks and length": (framed("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunks=True), 400),
    "two lengths": (framed("Content-Length: {n}\r\nContent-Length: {less}\r\n"), 400),
    "two equal lengths": (framed("Content-Length: {n}\r\nContent-Length: {n}\r\n"), 400),
    "two lengths in one": (framed("Content-Length: {n}, {less}\r\n"), 400),
    "a length with a sign": (framed("Content-Length: +{n}\r\n"), 400),
    "a negative length": (framed("Content-Length: -1\r\n"), 400),
    "a length in hex": (framed("Content-Length: 0x10\r\n"), 400),
    "a length of many digits": (framed("Content-Length: 99999999999999999999999\r\n"), 400),
    "an unknown encoding": (framed("Transfer-Encoding: xchunked\r\n", chunks=True), 400),
    "chunked twice": (framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunks=True), 400),
    "a space before the colon": (framed("Content-Length : {n}\r\n"), 400),
    "a folded header": (framed("Content-Length: {n}\r\nX-Folded: a\r\n b\r\n"), 400),
    "a folded credential": (framed("Content-Length: {n}\r\nX-A: b\r\n\tAuthorization: Bearer x\r\n"), 400),
    "a NUL in a header": (framed("Content-Length: {n}\r\nX-A: a\x00b\r\n"), 400),
    "a bare CR in a header": (framed("Content-Length: {n}\r\nX-A: a\rAuthorization: x\r\n"), 400),
    "a space in a name": (framed("Content-Length: {n}\r\nX A: b\r\n"), 400),
    "a header without a name": (framed("Content-Length: {n}\r\n: b\r\n"), 400),
    "a huge header": (framed("Content-Length: {n}\r\nX-A: " + "a" * 70_000 + "\r\n"), TOO_BIG),
    "many headers": (framed("Content-Length: {n}\r\n" + "".join(f"X-{i}: b\r\n" for i in range(300))), TOO_BIG),
    "two hosts": (framed("Content-Length: {n}\r\nHost: attacker.example\r\n"), 400),
    "two methods": (framed("Content-Length: {n}\r\nMcp-Method: tools/list\r\n"), 400),
    "two names": (framed("Content-Length: {n}\r\nMcp-Name: notes-search_notes\r\n"), 400),
    "two credentials": (framed("Content-Length: {n}\r\nAuthorization: Bearer x\r\n"), 400),
}


@pytest.mark.attack("a call that is framed oddly (smuggling)")
@pytest.mark.parametrize(("build", "status"), FRAMINGS.values(), ids=FRAMINGS)
def test_what_can_be_read_in_two_ways_is_not_read(ground: Ground, build: Raw, status: int) -> None:
    marker = marked()
    said = spoken(ground, build(ground, marker))
    reset = not said and status == TOO_BIG  # what was sent on may swallow the answer
    assert reset or int(said.split(b" ", 2)[1]) == status, said[:300]
    assert not ground.left(marker)


@pytest.mark.attack("a request in the body of another, framed by length and by chunks", 400)
def test_no_request_hides_in_the_body_of_another(ground: Ground, expected: Expected) -> None:
    """Content-Length says that the body ends before the second request; a reader of chunks would see it."""
    marker = marked()
    _, body = message(marker)
    hidden = head(ground, marker, f"Content-Length: {len(body)}\r\n") + body
    outer = (
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    said = spoken(ground, outer + hidden)
    assert said.count(b"HTTP/1.1") == 1
    expected.check_status(int(said.split(b" ", 2)[1]))
    assert not ground.left(marker)


@pytest.mark.attack("a header that says something else than the body", 400, "-32020")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Mcp-Method", "tools/list"),
        ("Mcp-Method", "TOOLS/CALL"),
        ("Mcp-Method", ""),
        ("Mcp-Name", "notes-search_notes"),
        ("Mcp-Name", "=?base64?bm90ZXMtc2VhcmNoX25vdGVz?="),
        ("Mcp-Name", "=?base64?!!!?="),
        ("MCP-Protocol-Version", "2025-11-25"),
        ("MCP-Protocol-Version", "2026-07-29"),
    ],
)
def test_headers_that_contradict_the_body_are_refused(
    ground: Ground, expected: Expected, name: str, value: str
) -> None:
    marker = marked()
    headers, body = modern_call(TOOL, {"text": marker}, 1)
    with ground.as_(ground.stage.token) as client:
        answer = client.post("/mcp", headers=headers | {name: value}, json=body)
    expected.check(answer)
    assert not ground.left(marker)


BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "oversized": (b'{"a":"' + b"x" * (5 * 1024 * 1024) + b'"}', {}, 413),
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, {}, 400),
    "deep objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, {}, 400),
    "deep parameters": (b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b"[" * 500 + b"]" * 500 + b"}", {}, 400),
    "bad UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"tools/\xff\xfe"}', {}, 400),
    "overlong UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"tools\xc0\xafcall"}', {}, 400),
    "UTF-16": ('{"jsonrpc":"2.0","id":1,"method":"tools/call"}'.encode("utf-16"), {}, 400),
    "nothing": (b"", {}, 400),
    "no JSON": (b"<xml/>", {}, 400),
    "NaN": (b'{"jsonrpc":"2.0","id":NaN,"method":"tools/call"}', {}, 400),
    "an id that is an object": (b'{"jsonrpc":"2.0","id":{},"method":"tools/call"}', {}, 400),
    "JSON-RPC 1.0": (b'{"jsonrpc":"1.0","id":1,"method":"tools/call"}', {}, 400),
    "two messages": (b'{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}', {}, 400),
    "a batch": (b'[{"jsonrpc":"2.0","id":1,"method":"tools/call"}]', {}, 400),
    "a bomb": (gzip.compress(b" " * 10_000_000), {"Content-Encoding": "gzip"}, 400),
    "deflate": (b"x\x9c", {"Content-Encoding": "deflate"}, 400),
}  # fmt: skip


@pytest.mark.attack("a body")
@pytest.mark.parametrize(("body", "headers", "status"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/mcp", "/rpc"])
def test_a_body_that_harms_is_refused(
    ground: Ground, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    said = bearer(ground.bob.token) | {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    with ground.as_(None) as client:
        answer = client.post(path, headers=said | headers, content=body)
    assert answer.status_code == status, answer.text
    assert "error" in answer.json()


@pytest.mark.attack("a body to REST")
@pytest.mark.parametrize("path", ["/tokens", "/gateways", "/servers"])
@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"name":"' + b"x" * 2_000_000 + b'"}', 413), (b"[" * 100_000, 400), (b'{"name":"\xff"}', 400), (b"{", 400)],
    ids=["oversized", "deep", "bad UTF-8", "cut"],
)
def test_a_body_that_harms_is_refused_by_rest(ground: Ground, path: str, body: bytes, status: int) -> None:
    with ground.as_(ground.bob.token) as client:
        answer = client.post(path, headers={"Content-Type": "application/json"}, content=body)
    assert answer.status_code == status, answer.text


PATHS = {
    "up": f"/servers/../servers/{OWN_SERVER}/mcp",
    "up encoded": f"/servers/%2e%2e%2fservers%2f{OWN_SERVER}/mcp",
    "up encoded twice": f"/servers/%252e%252e/{OWN_SERVER}/mcp",
    "backslash": f"/servers/..%5c{OWN_SERVER}/mcp",
    "wildcard": "/servers/>/mcp",
    "star": "/servers/*/mcp",
    "NUL": f"/servers/{OWN_SERVER}%00/mcp",
    "newline": f"/servers/{OWN_SERVER}%0a/mcp",
    "semicolon": f"/servers/{OWN_SERVER};x/mcp",
    "case": f"/servers/{OWN_SERVER.upper()}/mcp",
    "two slashes": f"/servers//{OWN_SERVER}/mcp",
    "long": f"/servers/{'a' * 500}/mcp",
    "dots": "/servers/../mcp",
    "dot": "/servers/./mcp",
    "file": "/servers/..%2f..%2f..%2fetc%2fpasswd/mcp",
}


@pytest.mark.attack("a call with an odd path to a server of others", 404)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_no_path_leads_to_a_server_of_others(ground: Ground, expected: Expected, path: str) -> None:
    marker = marked()
    _, body = message(marker)
    request = head(ground, marker, f"Content-Length: {len(body)}\r\n", path) + body
    request = request.replace(ground.stage.token.encode(), ground.bob.token.encode())
    said = spoken(ground, request)
    expected.check_status(int(said.split(b" ", 2)[1]))
    assert b"root:" not in said
    assert not ground.left(marker)


def test_the_gateway_still_serves(ground: Ground) -> None:
    marker: str = marked()
    answer: httpx.Response = ground.call(bearer(ground.bob.token), marker)
    result: dict[str, Any] = answer.raise_for_status().json()
    assert "result" in result
    assert ground.left(marker)
