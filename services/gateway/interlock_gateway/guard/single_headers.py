"""Headers of which a request has one at most: of two, a proxy believes the one and the edge the other."""

from interlock_common.errors import InvalidInput
from interlock_gateway.guard.client_address import Headers

_SINGLE = frozenset({
    b"host", b"origin", b"authorization", b"content-type", b"content-length", b"last-event-id",
    b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name",
})  # fmt: skip


class HeaderRepeated(InvalidInput):
    """A header that says who asks, or for what, was sent more than once."""

    code = "header_repeated"
    noted = True


def check_single(headers: Headers) -> None:
    """Raise HeaderRepeated, naming the header; its values are not repeated."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in _SINGLE:
            if name in seen:
                raise HeaderRepeated(f"header {name.decode()} was sent more than once", header=name.decode())
            seen.add(name)
