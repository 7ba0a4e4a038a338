"""What discovery needs of a way to an upstream: an introduction, and answers to what it asks."""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from interlock_common.messages.catalog import Era
from interlock_gateway.nesting import deeper_than
from interlock_gateway.revisions import META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN
from interlock_gateway.upstreams.discovery.exchange import Answer, RpcMessage, UpstreamUnusable

CLIENT = {"name": "interlock", "version": "0.1.0"}
META = {META_VERSION: MODERN, META_CLIENT: CLIENT, META_CAPABILITIES: {}}
METHOD_NOT_FOUND = -32601
_MAX_SAID_BYTES = 64 * 1024
_MAX_SAID_DEPTH = 32


@dataclass(frozen=True)
class Introduction:
    """What an upstream said of itself; ``capabilities`` is None where it did not say what it can do."""

    era: Era
    protocol_version: str
    capabilities: bytes | None = None
    instructions: str = ""


class Asking(Protocol):
    """The requests of one discovery; all its methods raise UpstreamFailed, saying what failed."""

    @property
    def place(self) -> str:
        """Whom errors name."""
        ...

    async def introduce(self) -> Introduction:
        """Find out which era the upstream speaks, and open a conversation in it."""
        ...

    async def resume(self, known: Introduction) -> None:
        """Open a conversation with an upstream that is known already."""
        ...

    async def ask(self, method: str, params: dict[str, object]) -> Answer: ...

    async def close(self) -> None:
        """Say that the conversation is over; whether the upstream cares is its own business."""
        ...


class DiscoverResult(msgspec.Struct, frozen=True, rename="camel"):
    """The result of ``server/discover`` (2026-07-28)."""

    supported_versions: tuple[str, ...]
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    instructions: str | None = None


class InitializeResult(msgspec.Struct, frozen=True, rename="camel"):
    """The result of ``initialize`` (2025-11-25, lifecycle)."""

    protocol_version: str
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    instructions: str | None = None


def introduction(
    era: Era, version: str, capabilities: msgspec.Raw, instructions: str | None, place: str
) -> Introduction:
    """What an upstream said of itself, held to its bounds; raises UpstreamUnusable."""
    said = bytes(capabilities)
    if len(said) > _MAX_SAID_BYTES or len(instructions or "") > _MAX_SAID_BYTES:
        raise UpstreamUnusable(f"{place} says more than {_MAX_SAID_BYTES} bytes of itself", "too_large")
    try:
        said.decode()
        if deeper_than(said, _MAX_SAID_DEPTH):
            raise UpstreamUnusable(f"{place} nests its capabilities over {_MAX_SAID_DEPTH} levels deep", "protocol")
        msgspec.json.decode(said, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamUnusable(f"{place} says what it can do in no way that fits the protocol", "protocol") from None
    return Introduction(era, version, said, (instructions or "").replace("\0", ""))


def result_of[T](message: RpcMessage, kind: type[T]) -> T | None:
    """The result of ``message`` as ``kind``; None where it has none that fits."""
    try:
        return msgspec.json.decode(message.result, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None


def described(answer: Answer) -> str:
    """An answer that did not help, in words."""
    message = answer.message
    if message is None:
        return f"HTTP {answer.status} without a JSON-RPC message"
    if message.error is not None:
        return f"error {message.error.code} {message.error.message[:200]!r}"
    return f"HTTP {answer.status} with a result that does not fit the protocol"
