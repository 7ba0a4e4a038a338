"""What every way to an upstream offers, whether it leads over HTTP, the bus or a REST endpoint."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from interlock_common.messages.catalog import Upstream


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One JSON-RPC request for an upstream, with its parameters as they are to arrive.

    ``name`` is what ``Mcp-Name`` repeats, empty for methods that name nothing. ``principal`` is for whom: credentials
    belong to principals. ``session_key`` says whose upstream session it is (handshake era), ``capabilities`` what the
    client at the far end can do, for the handshake that opens that session. ``param_headers`` are ``Mcp-Param-*``.
    ``counts`` says whether the credential of whoever asks still does: what waits for long ends when it does not.
    """

    upstream: Upstream
    method: str
    name: str
    params: bytes
    principal: str
    session_key: str
    capabilities: bytes = b"{}"
    param_headers: tuple[tuple[str, str], ...] = ()
    counts: Callable[[], bool] = _always


class Exchange(Protocol):
    """One request under way.

    Iterating yields each JSON-RPC message as it was on the wire: notifications, requests of the upstream
    (handshake era), and last the response. The iteration ends with the response, or raises UpstreamUnreachable or
    UpstreamMisbehaved, which name the upstream.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def answer(self, message: bytes) -> None:
        """Send the response to a request that the upstream made."""
        ...


class Transport(Protocol):
    """A way to upstreams of some kinds."""

    def open(self, request: UpstreamRequest) -> AbstractAsyncContextManager[Exchange]:
        """Send ``request``; leaving the block before its response has come cancels it at the upstream."""
        ...

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The notifications that belong to no request: list_changed, and updates of the resources ``uris``.

        Ends when the upstream ends it; raises as an exchange does. Whoever listens opens it again.
        """
        ...

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        """Tell the upstream what the client of an open session of ``session_key`` says; none is opened for that.

        Raises as an exchange does.
        """
        ...

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        """Tell the upstream that a session of ``session_key`` is over, where there is one."""
        ...
