"""What the stories of auth tell the rest of the deployment."""

from typing import Protocol

import msgspec

from interlock_common.messages.resources import Bucket


class Outlet(Protocol):
    """Buckets, events and the audit record; ``bus.py`` has the real one, ``tests`` a fake."""

    async def put(self, bucket: Bucket, key: str, value: msgspec.Struct, ttl: float | None = None) -> int:
        """Publish a fact to every mirror; answers its revision. ``ttl`` is in seconds."""
        ...

    async def delete(self, bucket: Bucket, key: str) -> None: ...

    async def event(self, subject: str, event: msgspec.Struct) -> None: ...

    async def record(self, action: str, actor: str, target: str, **detail: object) -> None:
        """Into the audit record, waiting until it is durable: what ``actor`` did to ``target``."""
        ...

    def record_soon(self, action: str, actor: str, target: str, **detail: object) -> None:
        """The same without waiting."""
        ...
