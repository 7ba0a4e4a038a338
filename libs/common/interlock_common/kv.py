"""Streams and buckets: the owner makes them, with their limits and descriptions, and writes them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
import structlog
from nats.js.api import Header, KeyValueConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, KeyNotFoundError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from interlock_common.bus import Bus
from interlock_common.errors import Conflict, NotFound
from interlock_common.messages.resources import Bucket, Stream

_log = structlog.get_logger()
_ATTEMPTS = 20
_WRONG_LAST_SEQUENCE = 10071
_AWAY_PAUSES = (0.01, 0.05, 0.2, 0.5)
_MARKER_TTL = 60.0  # how long the note of an expiry stays for watchers that were away


async def patiently[T](ask: Callable[[], Awaitable[T]]) -> T:
    """Ask JetStream, and again for a moment while it is not there: it is away for some ms when a server reloads.

    Nobody took what was asked then, so asking again does nothing twice.
    """
    for pause in _AWAY_PAUSES:
        try:
            return await ask()
        except (ServiceUnavailableError, NoStreamResponseError):
            await asyncio.sleep(pause)
    return await ask()


async def ensure_stream(bus: Bus, stream: Stream) -> None:
    """Create the stream, or bring an existing one to its declaration."""
    await _ensure(bus, StreamConfig(
        name=stream.name,
        description=stream.description,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType(stream.storage),
        max_age=stream.max_age,
        max_bytes=stream.max_bytes,
        duplicate_window=stream.duplicate_window,
    ))  # fmt: skip


async def ensure_bucket(bus: Bus, bucket: Bucket) -> None:
    """Create the bucket, readable directly from any replica, with expiring keys where it says so."""
    try:
        await patiently(lambda: bus.js.key_value(bucket.name))
    except NotFoundError:
        config = KeyValueConfig(
            bucket=bucket.name,
            description=bucket.description,
            history=bucket.history,
            storage=StorageType(bucket.storage),
            direct=True,
            limit_marker_ttl=_MARKER_TTL if bucket.expires else None,
        )
        await patiently(lambda: bus.js.create_key_value(config))  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType] - untyped **params
        _log.info("bucket created", bucket=bucket.name)


async def put(bus: Bus, bucket: Bucket, key: str, value: msgspec.Struct, *, ttl: float | None = None) -> int:
    """Write a key, for ``ttl`` seconds where given; answers its revision."""
    subject, headers = f"$KV.{bucket.name}.{key}", _ttl_header(ttl)
    content = msgspec.json.encode(value)
    ack = await patiently(lambda: bus.js.publish(subject, content, timeout=5, headers=headers or None))
    return ack.seq


async def get[T](bus: Bus, bucket: Bucket, key: str, kind: type[T]) -> T | None:
    """Read a key from the bus itself: for what a mirror may not have yet."""
    try:
        held = await patiently(lambda: bus.js.key_value(bucket.name))
        entry = await patiently(lambda: held.get(key))
    except (KeyNotFoundError, NotFoundError):
        return None
    return None if not entry.value else msgspec.json.decode(entry.value, type=kind)


async def keys(bus: Bus, bucket: Bucket, pattern: str) -> list[str]:
    """The keys that fit a pattern (``*`` for one token), read from the bus itself; those just removed too."""
    prefix = f"$KV.{bucket.name}."
    info = await patiently(lambda: bus.js.stream_info(f"KV_{bucket.name}", subjects_filter=prefix + pattern))
    return [subject.removeprefix(prefix) for subject in info.state.subjects or ()]


async def create(bus: Bus, bucket: Bucket, key: str, value: msgspec.Struct, *, ttl: float | None = None) -> bool:
    """Write a key that is not there; answers whether it was written, or somebody else was faster."""
    revision = 0
    for _ in range(2):
        if await _publish_after(bus, bucket, key, msgspec.json.encode(value), revision, _ttl_header(ttl)):
            return True
        revision, present = await _last(bus, bucket, key)
        if present:
            return False
    return False


async def discard(bus: Bus, bucket: Bucket, key: str, value: msgspec.Struct) -> bool:
    """Remove a key while it has this value; answers whether it had it."""
    revision, present = await _last(bus, bucket, key)
    if present != msgspec.json.encode(value):
        return False
    return await _publish_after(bus, bucket, key, b"", revision, {"KV-Operation": "DEL"})


async def update[T: msgspec.Struct](
    bus: Bus, bucket: Bucket, key: str, kind: type[T], change: Callable[[T], T], *, ttl: float | None = None
) -> T:
    """Change a value from what it is to what ``change`` makes of it, whoever else changes it at the same time.

    Raises NotFound where there is no such key, Conflict when others are always faster.
    """
    held = await patiently(lambda: bus.js.key_value(bucket.name))
    expiry = _ttl_header(ttl)
    for _ in range(_ATTEMPTS):
        try:
            entry = await patiently(lambda: held.get(key))
        except (KeyNotFoundError, NotFoundError):
            raise NotFound(f"bucket {bucket.name} has no such key") from None
        if not entry.value:  # what is left where a key expired
            raise NotFound(f"bucket {bucket.name} has no such key")
        value = change(msgspec.json.decode(entry.value, type=kind))
        if await _publish_after(bus, bucket, key, msgspec.json.encode(value), entry.revision or 0, expiry):
            return value
    raise Conflict(f"a key of bucket {bucket.name} is changed by others all the time")


async def delete(bus: Bus, bucket: Bucket, key: str) -> None:
    """Remove a key; mirrors drop it."""
    subject = f"$KV.{bucket.name}.{key}"
    await patiently(lambda: bus.js.publish(subject, b"", timeout=5, headers={"KV-Operation": "DEL"}))


async def _publish_after(
    bus: Bus, bucket: Bucket, key: str, content: bytes, revision: int, headers: dict[str, str]
) -> bool:
    """Write if the last revision of the key is still ``revision`` (0 for none); answers whether it was."""
    expected = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
    subject = f"$KV.{bucket.name}.{key}"
    try:
        await patiently(lambda: bus.js.publish(subject, content, timeout=5, headers=headers | expected))
    except APIError as error:
        if error.err_code != _WRONG_LAST_SEQUENCE:
            raise
        return False
    return True


async def _last(bus: Bus, bucket: Bucket, key: str) -> tuple[int, bytes]:
    """The last revision of a key and its value, which is empty where the key was removed or expired."""
    try:
        subject = f"$KV.{bucket.name}.{key}"
        message = await patiently(lambda: bus.js.get_last_msg(f"KV_{bucket.name}", subject, direct=True))
    except NotFoundError:
        return 0, b""
    headers = cast("dict[str, str]", message.headers or {})  # pyright: ignore[reportUnknownMemberType] - untyped
    return message.seq or 0, b"" if "KV-Operation" in headers else message.data or b""


def _ttl_header(ttl: float | None) -> dict[str, str]:
    return {} if ttl is None else {"Nats-TTL": f"{max(1, round(ttl))}s"}


async def _ensure(bus: Bus, config: StreamConfig) -> None:
    try:
        await patiently(lambda: bus.js.stream_info(str(config.name)))
    except NotFoundError:
        await patiently(lambda: bus.js.add_stream(config))  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType] - untyped **params
        _log.info("stream created", stream=config.name)
        return
    try:
        await patiently(lambda: bus.js.update_stream(config))  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType] - untyped **params
    except APIError as error:
        _log.warning("stream keeps its present form", stream=config.name, reason=error.description)
