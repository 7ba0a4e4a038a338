"""What edges tell each other about the use of rate limits."""

from typing import Annotated

import msgspec

MAX_KEYS = 500
"""Keys of one message: even the longest names of principals then fit on the bus."""


class Usage(msgspec.Struct, frozen=True):
    """Subject ``limits.usage``: tokens that ``edge`` gave out since its message before, by kind and key.

    ``sequence`` counts the messages of the edge from 1; one that is not above the last was heard already.
    """

    edge: str
    sequence: int
    used: dict[str, dict[str, Annotated[int, msgspec.Meta(ge=1)]]]
