"""How a server at the end of a pipe is asked which era it speaks: ``server/discover`` first, then ``initialize``."""

import asyncio
from typing import Protocol

import msgspec

from interlock_common.errors import UpstreamFailed
from interlock_common.messages.gateway import Description
from interlock_gateway.jsonrpc import Envelope
from interlock_gateway.revisions import LEGACY, META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN

_CLIENT = {"name": "interlock", "version": "0.1.0"}


class Talk(Protocol):
    """What an introduction needs of a conversation."""

    async def request(self, method: str, params: bytes) -> Envelope: ...
    async def notify(self, method: str, params: bytes = b"{}") -> None: ...


class _Discovered(msgspec.Struct, frozen=True, rename="camel"):
    supported_versions: tuple[str, ...]
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    instructions: str | None = None


class _Initialized(msgspec.Struct, frozen=True, rename="camel"):
    protocol_version: str
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    instructions: str | None = None


async def introduce(talk: Talk, capabilities: bytes, *, known_legacy: bool, probe_seconds: float) -> Description:
    """What the server is; raises UpstreamFailed where it speaks no era, and whatever the pipe raises.

    A server that does not answer ``server/discover`` in ``probe_seconds``, or with an error, gets the handshake.
    """
    if not known_legacy:
        try:
            async with asyncio.timeout(probe_seconds):
                if (modern := await _discover(talk)) is not None:
                    return modern
        except TimeoutError:
            pass
    return await _initialize(talk, capabilities)


async def _discover(talk: Talk) -> Description | None:
    meta = {META_VERSION: MODERN, META_CLIENT: _CLIENT, META_CAPABILITIES: {}}
    found = _result(await talk.request("server/discover", msgspec.json.encode({"_meta": meta})), _Discovered)
    if found is None or MODERN not in found.supported_versions:
        return None
    return Description("modern", MODERN, _kept(found.capabilities), found.instructions or "")


async def _initialize(talk: Talk, capabilities: bytes) -> Description:
    params = {"protocolVersion": LEGACY[0], "capabilities": msgspec.Raw(capabilities), "clientInfo": _CLIENT}
    answer = await talk.request("initialize", msgspec.json.encode(params))
    found = _result(answer, _Initialized)
    if found is None:
        raise UpstreamFailed("the server answers neither server/discover nor initialize as an MCP server does")
    await talk.notify("notifications/initialized")
    return Description("legacy", found.protocol_version, _kept(found.capabilities), found.instructions or "")


def _kept(raw: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(bytes(raw))  # a copy: a Raw of a decoded message is a view into all of it


def _result[T](answer: Envelope, kind: type[T]) -> T | None:
    if answer.result is msgspec.UNSET:
        return None
    try:
        return msgspec.json.decode(answer.result, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None
