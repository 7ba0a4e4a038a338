"""Tools by their names: a definition and the function that runs it, written side by side."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_types import CallToolResult, TextContent, Tool

from everything.exchange import Exchange

type Run = Callable[[Exchange], Awaitable[CallToolResult]]
type Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A tool and what runs when it is called."""

    tool: Tool
    run: Run


class Registry:
    """Tools in the order of their definition."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def tool(
        self, description: str, properties: Schema | None = None, required: Sequence[str] = (), **more: Any
    ) -> Callable[[Run], Run]:
        """Define a tool that has the decorated function's name; ``more`` are further fields of its definition."""

        def define(run: Run) -> Run:
            schema: dict[str, Any] = {"type": "object", "properties": dict(properties or {})}
            if required:
                schema["required"] = list(required)
            definition = {"name": run.__name__, "description": description, "input_schema": schema, **more}
            self.entries[run.__name__] = Entry(Tool.model_validate(definition, by_name=True), run)
            return run

        return define


def text(*lines: str, **more: Any) -> CallToolResult:
    """A result of plain text."""
    return CallToolResult(content=[TextContent(text=line) for line in lines], **more)
