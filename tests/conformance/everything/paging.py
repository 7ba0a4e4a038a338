"""Lists in pages with opaque cursors, and the fillers that make them long."""

import base64
import binascii
from collections.abc import Callable, Sequence

from mcp import MCPError
from mcp_types import INVALID_PARAMS

PAGE_SIZE = 50


def filled[Item](items: Sequence[Item], pages: int, filler: Callable[[int], Item]) -> list[Item]:
    """The items, followed by as many fillers as it takes to fill ``pages`` pages."""
    return [*items, *(filler(number) for number in range(1, pages * PAGE_SIZE - len(items) + 1))]


def page[Item](items: Sequence[Item], pages: int, cursor: str | None) -> tuple[list[Item], str | None]:
    """One page and the cursor of the next; all of the items when ``pages`` is zero."""
    start = 0 if cursor is None else _position(cursor)
    if start > len(items):
        raise MCPError(INVALID_PARAMS, "this cursor is not from here")
    if not pages:
        return list(items[start:]), None
    end = start + PAGE_SIZE
    return list(items[start:end]), _cursor(end) if end < len(items) else None


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"at {position}".encode()).decode()


def _position(cursor: str) -> int:
    try:
        word, number = base64.urlsafe_b64decode(cursor).decode().split(" ")
        if word == "at":
            return int(number)
    except (ValueError, binascii.Error):
        pass
    raise MCPError(INVALID_PARAMS, "this cursor is not from here")
