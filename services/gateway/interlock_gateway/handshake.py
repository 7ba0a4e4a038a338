"""What the gateway says of itself: ``initialize`` in the handshake era, ``server/discover`` in the stateless one."""

from typing import Any

import msgspec

from interlock_common.messages.catalog import Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.offers import Offer
from interlock_gateway.revisions import LEGACY, META_SERVER, SUPPORTED
from interlock_gateway.routing import may_see_upstream

_encode = msgspec.json.encode
SERVER = {"name": "interlock", "title": "Interlock", "version": "0.1.0"}
_TTL_MS = 60_000
_MAX_SAID_BYTES = 16 * 1024
_TASKS: dict[str, Any] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
"""Of 2025-11-25, and without lists: a client has the ids of its own."""


class Initialize(msgspec.Struct, frozen=True, rename="camel"):
    """The parameters of ``initialize``, as far as we look at them."""

    protocol_version: str
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    client_info: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def version(self) -> str:
        """The revision both speak; our newest of that era where we do not know the client's."""
        return self.protocol_version if self.protocol_version in LEGACY else LEGACY[0]


_initialize = msgspec.json.Decoder(Initialize)
_capabilities = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_initialize(params: msgspec.Raw) -> Initialize:
    """Raises RpcError -32602 for what is no initialize, or says more than every edge could remember."""
    try:
        asked = _initialize.decode(params)
    except msgspec.DecodeError as error:
        raise jsonrpc.RpcError(jsonrpc.INVALID_PARAMS, f"initialize: {error}", status=400) from None
    if max(len(bytes(asked.capabilities)), len(bytes(asked.client_info))) > _MAX_SAID_BYTES:
        message = f"initialize: capabilities and clientInfo have at most {_MAX_SAID_BYTES} bytes each"
        raise jsonrpc.RpcError(jsonrpc.INVALID_PARAMS, message, status=400)
    return asked


def initialize_result(version: str, offer: Offer, caller: Caller) -> bytes:
    capabilities = capabilities_of(offer, caller)
    if any("tasks" in _declared(upstream) for upstream in _seen(offer, caller)):
        capabilities["tasks"] = _TASKS
    said: dict[str, Any] = {"protocolVersion": version, "capabilities": capabilities, "serverInfo": SERVER}
    return _encode(said | _instructions(offer, caller))


def discover_result(offer: Offer, caller: Caller) -> bytes:
    said: dict[str, Any] = {
        "resultType": "complete",
        "supportedVersions": list(SUPPORTED),
        "capabilities": capabilities_of(offer, caller),
        "ttlMs": _TTL_MS,
        "cacheScope": "private",
        "_meta": {META_SERVER: SERVER},
    }
    return _encode(said | _instructions(offer, caller))


def capabilities_of(offer: Offer, caller: Caller) -> dict[str, Any]:
    """What the endpoint can do for the caller: lists and changes always, the rest where an upstream can."""
    held = [_declared(upstream) for upstream in _seen(offer, caller)]
    capabilities: dict[str, Any] = {"tools": {"listChanged": True}, "logging": {}}
    if any("resources" in each for each in held):
        capabilities["resources"] = {"subscribe": True, "listChanged": True}
    if any("prompts" in each for each in held):
        capabilities["prompts"] = {"listChanged": True}
    if any("completions" in each for each in held):
        capabilities["completions"] = {}
    extensions: dict[str, msgspec.Raw] = {}
    for each in held:
        extensions |= _members(each.get("extensions"))
    return capabilities | ({"extensions": extensions} if extensions else {})


def _seen(offer: Offer, caller: Caller) -> list[Upstream]:
    return [block.upstream for _, block in offer.upstreams() if may_see_upstream(caller, block.upstream)]


def _declared(upstream: Upstream) -> dict[str, msgspec.Raw]:
    return _members(upstream.capabilities)


def _members(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    try:
        return {} if raw is None else _capabilities.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return {}


def _instructions(offer: Offer, caller: Caller) -> dict[str, str]:
    """The server's own words, or those of its upstream where it has but one."""
    if offer.server is not None and offer.server.instructions:
        return {"instructions": offer.server.instructions}
    seen = _seen(offer, caller)
    return {"instructions": seen[0].instructions} if len(seen) == 1 and seen[0].instructions else {}
