"""What the Python programs share: each look at a server is bounded, and one that fails leaves the others be."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

ANSWER_SECONDS = 15.0
_ARGUMENTS = 4


@dataclass
class Seen:
    """What came, by the name of the look; for those that failed, what went wrong."""

    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    problems: dict[str, str] = field(default_factory=dict[str, str])

    async def by(self, looks: object) -> None:
        """Take every look: the public methods of ``looks``, in their order."""
        for name in vars(type(looks)):
            if not name.startswith("_"):
                await self._at(name, getattr(looks, name))

    async def _at(self, name: str, step: Callable[[], Awaitable[Any]]) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self.facts[name] = await step()
        except Exception as error:  # noqa: BLE001 - whatever a client raises is what the table shows
            self.problems[name] = f"{type(error).__name__}: {error}"


type Look = Callable[[str, str, str, str, Seen], Coroutine[Any, Any, None]]


def main(look: Look) -> int:
    """Take the arguments MODE, URL and PREFIX, and the token from ``MCP_TOKEN``; print what was seen."""
    if len(sys.argv) != _ARGUMENTS:
        sys.stderr.write(f"usage: {sys.argv[0]} MODE URL PREFIX\n")
        return 2
    mode, url, prefix = sys.argv[1:]
    seen = Seen()
    asyncio.run(look(mode, url, prefix, os.environ["MCP_TOKEN"], seen))
    sys.stdout.write(json.dumps({"facts": seen.facts, "problems": seen.problems}) + "\n")
    return 0
