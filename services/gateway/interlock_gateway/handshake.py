"""What the gateway says of itself: ``initialize`` in the handshake era, ``server/discover`` in the stateless one."""

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.revisions import LEGACY, META_SERVER, SUPPORTED

_encode = msgspec.json.encode
_SERVER = {"name": "interlock", "title": "Interlock", "version": "0.1.0"}
_CAPABILITIES = {"tools": {"listChanged": True}}


class _Initialize(msgspec.Struct, frozen=True, rename="camel"):
    protocol_version: str
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")


_initialize = msgspec.json.Decoder(_Initialize)


def negotiate(params: msgspec.Raw) -> tuple[str, msgspec.Raw]:
    """The revision both speak (ours when the client's is unknown) and the client's capabilities."""
    try:
        asked = _initialize.decode(params)
    except msgspec.DecodeError as error:
        raise jsonrpc.RpcError(jsonrpc.INVALID_PARAMS, f"initialize: {error}", status=400) from None
    version = asked.protocol_version if asked.protocol_version in LEGACY else LEGACY[0]
    return version, asked.capabilities


def initialize_result(version: str) -> bytes:
    return _encode({"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": _SERVER})


def discover_result() -> bytes:
    return _encode({
        "resultType": "complete",
        "supportedVersions": list(SUPPORTED),
        "capabilities": _CAPABILITIES,
        "ttlMs": 60_000,
        "cacheScope": "public",
        "_meta": {META_SERVER: _SERVER},
    })  # fmt: skip
