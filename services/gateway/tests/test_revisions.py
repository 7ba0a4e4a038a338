import base64

import msgspec
import pytest

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.revisions import (
    META_CAPABILITIES,
    META_VERSION,
    MODERN,
    SUPPORTED,
    check_modern,
    decode_header,
    encode_header,
    is_modern,
)

VERSION = b"mcp-protocol-version"


def meta(version: str = MODERN) -> dict[str, msgspec.Raw]:
    return {META_VERSION: msgspec.Raw(msgspec.json.encode(version)), META_CAPABILITIES: msgspec.Raw(b"{}")}


def headers(version: str = MODERN, method: str = "tools/call", name: str | None = "echo") -> dict[bytes, bytes]:
    said = {VERSION: version.encode(), b"mcp-method": method.encode()}
    return said if name is None else said | {b"mcp-name": name.encode()}


@pytest.mark.parametrize(
    ("version", "in_meta", "modern"),
    [
        (None, False, False), (MODERN, False, True), (None, True, True), ("2025-11-25", True, True),
        ("2025-11-25", False, False), ("2024-11-05", False, False), ("2099-01-01", False, True),
    ],
)  # fmt: skip
def test_the_envelope_or_the_header_says_the_era(version: str | None, *, in_meta: bool, modern: bool) -> None:
    said = {VERSION: version.encode()} if version else {}
    assert is_modern(said, meta() if in_meta else {}) is modern


def test_headers_that_say_what_the_body_says_pass() -> None:
    check_modern(headers(), meta(), "tools/call", "echo")
    check_modern(headers(name=None, method="tools/list"), meta(), "tools/list", None)


@pytest.mark.parametrize(
    "said",
    [
        headers("2025-11-25"), headers(method="tools/list"), headers(name="other"), headers(name=None),
        headers(name="Echo"), {VERSION: MODERN.encode()}, headers() | {b"mcp-name": b"=?base64?!!?="},
        headers() | {b"mcp-name": b"=?base64?/w==?="},
    ],
)  # fmt: skip
def test_headers_that_differ_from_the_body_are_refused(said: dict[bytes, bytes]) -> None:
    with pytest.raises(RpcError, match="does not match") as refused:
        check_modern(said, meta(), "tools/call", "echo")
    assert (refused.value.error.code, refused.value.status) == (jsonrpc.HEADER_MISMATCH, 400)


@pytest.mark.parametrize("lacking", [META_VERSION, META_CAPABILITIES])
def test_an_incomplete_envelope_is_named(lacking: str) -> None:
    said = {key: value for key, value in meta().items() if key != lacking}
    with pytest.raises(RpcError, match=lacking) as refused:
        check_modern(headers(), said, "tools/call", "echo")
    assert (refused.value.error.code, refused.value.status) == (jsonrpc.INVALID_PARAMS, 400)


def test_an_unsupported_version_is_told_what_is_supported() -> None:
    with pytest.raises(RpcError) as refused:
        check_modern(headers("2099-01-01"), meta("2099-01-01"), "tools/call", "echo")
    assert (refused.value.error.code, refused.value.status) == (-32022, 400)
    assert refused.value.error.data == {"supported": list(SUPPORTED), "requested": "2099-01-01"}


def test_a_version_that_is_no_text_is_refused() -> None:
    with pytest.raises(RpcError) as refused:
        check_modern(headers(), meta() | {META_VERSION: msgspec.Raw(b"1")}, "tools/call", "echo")
    assert refused.value.error.code == jsonrpc.INVALID_PARAMS


@pytest.mark.parametrize("text", ["echo", "café", " padded ", "line\nbreak", "=?base64?x?=", "", "日本", "a b"])
def test_a_header_survives_the_trip(text: str) -> None:
    written = encode_header(text)
    assert written.isascii()
    assert "\n" not in written
    assert decode_header(written.encode()) == text


def test_base64_headers_are_compared_decoded() -> None:
    name = b"=?base64?" + base64.b64encode("café".encode()) + b"?="
    check_modern(headers(name=None) | {b"mcp-name": name}, meta(), "tools/call", "café")
