"""Client ID metadata documents: what the address that is a client's id says of it, fetched through the guard."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Protocol
from urllib.parse import urlsplit

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, InvalidInput, Unavailable
from interlock_gateway.upstreams.oauth.token_endpoint import Fetched

_SECONDS = 300.0
_FAILED_SECONDS = 30.0
_KEPT = 256
_AT_ONCE = 4
_MAX_BYTES = 16 * 1024
_MAX_URL = 1024
_OK = 200


class Fetcher(Protocol):
    """Asks an address that a stranger named, bounded and kept out of the deployment's own network."""

    def fetch(self, method: str, url: str, *, what: str) -> Awaitable[Fetched]: ...


class DocumentRefused(InvalidInput):
    """The address of a client's document is not fit to be one, or leads to none."""

    code = "client_unknown"


class ClientDocuments:
    """Fetches documents, a few at a time, and remembers them, and failures, for a while."""

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def of(self, client_id: str) -> str:
        """The document; raises DocumentRefused, and Unavailable where too many are being fetched."""
        _check(client_id)
        until, document = self._kept.get(client_id, (0.0, ""))
        if until <= self._clock.monotonic():
            if self._slots.locked():
                raise Unavailable("too many clients are looked up at once, try again in a moment")
            async with self._slots:
                document = await self._fetched(client_id)
            seconds = _SECONDS if document else _FAILED_SECONDS
            self._kept[client_id] = (self._clock.monotonic() + seconds, document)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        if not document:
            raise DocumentRefused("client_id leads to no document that describes a client")
        return document

    async def _fetched(self, client_id: str) -> str:
        try:
            answer = await self._fetcher.fetch("GET", client_id, what="the document of the client")
            return answer.body.decode() if answer.status == _OK and len(answer.body) <= _MAX_BYTES else ""
        except (InterlockError, UnicodeDecodeError):  # what exactly went wrong in there is not for strangers
            return ""


def _check(client_id: str) -> None:
    """An https address with a path, and nothing that makes one client look like another."""
    try:
        parts = urlsplit(client_id)
        _ = parts.port
    except ValueError:
        raise DocumentRefused("client_id is no address") from None
    plain = client_id.isascii() and client_id.isprintable() and " " not in client_id and "\\" not in client_id
    dotted = any(segment in {".", ".."} for segment in parts.path.split("/"))
    if (
        not plain or len(client_id) > _MAX_URL or parts.scheme != "https" or not parts.hostname or "@" in parts.netloc
        or parts.path in {"", "/"} or dotted or "#" in client_id or "?" in client_id
    ):  # fmt: skip
        raise DocumentRefused("client_id is an https address with a path, without query, fragment and user information")
