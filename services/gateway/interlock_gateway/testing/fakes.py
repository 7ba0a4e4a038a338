"""What the bus brings to an edge, and what it takes from it, as fakes that a test fills and reads."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from interlock_common.errors import Unavailable
from interlock_common.messages.plugins import HookCall, HookVerdict
from interlock_common.revocation_set import RevocationSet
from interlock_gateway.revocations import Revocations
from interlock_gateway.sessions.registry import OpenSession


@dataclass
class FakeMirror[T]:
    """A bucket that holds what a test puts there."""

    items: dict[str, T] = field(default_factory=dict[str, T])

    def get(self, key: str) -> T | None:
        return self.items.get(key)


class FakeRevocations(Revocations):
    """What is revoked, for a test to fill."""

    def __init__(self) -> None:
        self.items = RevocationSet()
        super().__init__(lambda: self.items)


@dataclass
class FakeAudit:
    """Takes records, unless it is ``away``."""

    away: bool = False
    records: list[Any] = field(default_factory=list[Any])
    before_ack: Callable[[], Awaitable[None]] | None = None

    async def record(self, record: msgspec.Struct) -> None:
        if self.before_ack is not None:
            await self.before_ack()
        self.record_soon(record)

    def record_soon(self, record: msgspec.Struct) -> None:
        if self.away:
            raise Unavailable("the audit stream did not take a record")
        self.records.append(record)

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


@dataclass
class FakePlugins:
    """The bus, on which plugins answer with ``verdict``; nobody answers while there is none."""

    verdict: HookVerdict | None = None
    asked: list[HookCall] = field(default_factory=list[HookCall])

    async def request_raw(self, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
        del headers, timeout
        self.asked.append(msgspec.json.decode(body, type=HookCall))
        if self.verdict is None:
            raise Unavailable(f"nobody answers {subject} at the moment")
        return msgspec.json.encode(self.verdict)


class NoBus:
    """The bus of an edge that has none."""

    instance = "00000000"
    connected = False

    def on_connected(self, listener: object) -> None:
        """There is nothing to connect."""

    @property
    def js(self) -> object:
        raise Unavailable("the bus is not connected")

    def lease(self) -> object:
        raise Unavailable("the bus is not connected")


class NoSessions:
    """Sessions of an edge that has none."""

    async def open(self, *_: object) -> OpenSession:
        raise Unavailable("sessions cannot be reached at the moment")

    async def find(self, *_: object) -> OpenSession:
        raise Unavailable("sessions cannot be reached at the moment")

    async def end(self, *_: object) -> None:
        raise Unavailable("sessions cannot be reached at the moment")

    def touch(self, key: str) -> None:
        """There is none to live on."""
