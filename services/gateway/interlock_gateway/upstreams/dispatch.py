"""The one door to upstreams: each by its own way, and each looking as if it spoke the client's era."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from interlock_common.messages.catalog import Kind, Upstream
from interlock_gateway.errors import UpstreamUnreachable
from interlock_gateway.upstreams.eras.wrapping import Eras
from interlock_gateway.upstreams.transport import Exchange, Transport, UpstreamRequest


class Upstreams:
    """Opens exchanges over the transport that each kind of upstream has."""

    def __init__(self, transports: Mapping[Kind, Transport], eras: Eras) -> None:
        self._transports = transports
        self._eras = eras

    def open(self, request: UpstreamRequest, *, modern: bool) -> AbstractAsyncContextManager[Exchange]:
        """Send a request on behalf of a client of the stateless era, or of the handshake era."""
        return self._eras.open(self.transport(request.upstream), request, modern=modern)

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The notifications of an upstream that belong to no request."""
        return self.transport(upstream).listen(upstream, principal, session_key, uris)

    def transport(self, upstream: Upstream) -> Transport:
        """Raises UpstreamUnreachable for a kind that this edge has no way to."""
        transport = self._transports.get(upstream.transport)
        if transport is None:
            raise UpstreamUnreachable(f"upstream {upstream.name} is of a kind that this edge cannot reach")
        return transport
