"""Which client is led to which place."""

from collections.abc import Sequence

from matrix.programs import Program
from matrix.stage import ALL, LEGACY, MODERN


def meetings(programs: Sequence[Program]) -> list[tuple[Program, str]]:
    """Every mode meets an upstream of either era; at ``/mcp`` only names differ, so one mode of each is enough."""
    first = {each.name: each for each in reversed(programs)}
    places = {each: (MODERN, LEGACY, ALL) if first[each.name] is each else (MODERN, LEGACY) for each in programs}
    return [(program, place) for program, where in places.items() for place in where]
