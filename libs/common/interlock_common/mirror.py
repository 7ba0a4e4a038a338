"""A KV bucket as a map in memory: complete before it counts, live afterwards, read anew after each reconnection."""

from collections.abc import Mapping
from types import MappingProxyType, UnionType

import msgspec

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.messages.resources import Bucket
from interlock_common.reading import BucketReader


class Mirror[T](BucketReader[T, dict[str, T]]):
    """The values of ``bucket`` decoded as ``kind``, by key."""

    def __init__(self, bus: Bus, bucket: Bucket, kind: type[T] | UnionType, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(bus, bucket, clock=clock)
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)

    @property
    def items(self) -> Mapping[str, T]:
        """What the bucket holds; a fresh view after each change of connection."""
        return MappingProxyType(self._items)

    def get(self, key: str) -> T | None:
        return self._items.get(key)

    def _empty(self) -> dict[str, T]:
        return {}

    def _decode(self, key: str, content: bytes) -> T:  # noqa: ARG002 - all of one kind
        return self._decoder.decode(content)

    def _replaced(self, before: dict[str, T], items: dict[str, T]) -> None:
        for key in before.keys() - items.keys():
            self._tell(key, None)
        for key, value in items.items():
            if before.get(key) != value:
                self._tell(key, value)
