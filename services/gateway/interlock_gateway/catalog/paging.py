"""Pages of lists: as long as asked for, unless the answer would not fit a message of the bus."""

from typing import Protocol

import msgspec

MAX_PAGE = 200
MAX_PAGE_BYTES = 800_000


class Identified(Protocol):
    @property
    def id(self) -> str: ...


def wanted(limit: int) -> int:
    """How many items a page has at most."""
    return max(1, min(limit, MAX_PAGE))


def cut[T: Identified](found: list[T], limit: int) -> tuple[tuple[T, ...], str | None]:
    """A page of ``found`` and the cursor of the page after it.

    ``found`` is in the order of ids and holds one item more than ``limit`` where there is more.
    """
    page: list[T] = []
    size = 0
    for item in found[:limit]:
        size += len(msgspec.json.encode(item))
        if page and size > MAX_PAGE_BYTES:
            break
        page.append(item)
    return tuple(page), page[-1].id if len(page) < len(found) else None
