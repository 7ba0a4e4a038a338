"""Protocol revisions and what distinguishes the eras on the wire (MCP 2026-07-28, basic and transports)."""

import base64
import binascii
from collections.abc import Mapping

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import RpcError

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")
SUPPORTED = (MODERN, *LEGACY)
UNDERSTOOD = (*LEGACY, "2024-11-05")
"""What an upstream may settle on in the handshake: the oldest revision differs in nothing that is said to it."""

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CLIENT = "io.modelcontextprotocol/clientInfo"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_SERVER = "io.modelcontextprotocol/serverInfo"
META_LOG_LEVEL = "io.modelcontextprotocol/logLevel"
META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
META_MODERN = (META_VERSION, META_CLIENT, META_CAPABILITIES)

VERSION_HEADER = b"mcp-protocol-version"
METHOD_HEADER = b"mcp-method"
NAME_HEADER = b"mcp-name"
PARAM_HEADER_PREFIX = b"mcp-param-"
SESSION_HEADER = b"mcp-session-id"

type Headers = Mapping[bytes, bytes]
type Meta = Mapping[str, msgspec.Raw]


def is_modern(headers: Headers, meta: Meta) -> bool:
    """Whether a request speaks the stateless era: its ``_meta`` or its version header says so."""
    version = headers.get(VERSION_HEADER)
    return META_VERSION in meta or (
        version is not None and version.decode("latin-1") not in LEGACY and version >= b"2026"
    )


def check_modern(headers: Headers, meta: Meta, method: str, name: str | None) -> None:
    """Hold a stateless request over HTTP to its envelope: both say the same, and a version we speak.

    Raises RpcError 400 with -32602 (envelope incomplete), -32020 (headers and body differ) or -32022.
    """
    version = _version(meta)
    _must_match(headers, VERSION_HEADER, version)
    _must_match(headers, METHOD_HEADER, method)
    if name is not None:
        _must_match(headers, NAME_HEADER, name)
    _check_version(version)


def check_envelope(meta: Meta) -> None:
    """The same for a way that has no headers; raises RpcError with -32602 or -32022."""
    _check_version(_version(meta))


def _version(meta: Meta) -> str:
    missing = [key for key in (META_VERSION, META_CAPABILITIES) if key not in meta]
    if missing:
        raise RpcError(jsonrpc.INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}", status=400)
    return jsonrpc.string(meta[META_VERSION], f"_meta {META_VERSION}")


def _check_version(version: str) -> None:
    if version != MODERN:
        data = {"supported": list(SUPPORTED), "requested": version}
        raise RpcError(
            jsonrpc.UNSUPPORTED_PROTOCOL_VERSION, f"protocol version {version} is not supported", status=400, data=data
        )


def _must_match(headers: Headers, header: bytes, value: str) -> None:
    if decode_header(headers.get(header)) != value:
        shown = header.decode().title()
        raise RpcError(jsonrpc.HEADER_MISMATCH, f"header {shown} does not match the body", status=400)


def decode_header(value: bytes | None) -> str | None:
    """A header value as text, ``=?base64?…?=`` decoded; None when absent or malformed, so that it matches nothing."""
    if value is None:
        return None
    if not (value.startswith(b"=?base64?") and value.endswith(b"?=")):
        return value.decode("latin-1")
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def encode_header(value: str) -> str:
    """A text as header value; what would not survive the trip is wrapped as ``=?base64?…?=``."""
    plain = value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?")
    return value if plain else f"=?base64?{base64.b64encode(value.encode()).decode()}?="
