"""An example upstream: a notebook in memory, with the tools that show what the gateway does about them.

    python examples/notes_server.py --port 9001

``delete_everything`` is there to be denied by policy, ``read_credentials`` to have its answer redacted, and
``count_slowly`` to keep a stream open.
"""

from typing import Annotated

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field
from serving import serve

server = MCPServer(
    "notes",
    version="0.1.0",
    log_level="WARNING",
    instructions="A notebook: add notes, search them, and mind what is in it.",
)
_notes: list["Note"] = []
_MAX_NOTES = 10_000


class Note(BaseModel):
    """A note; numbers count from 1 and are never given twice while the server runs."""

    number: int
    text: str


class Found(BaseModel):
    """The notes that matched, oldest first."""

    notes: list[Note]


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False))
def add_note(text: Annotated[str, Field(min_length=1, max_length=10_000)]) -> Note:
    """Write a note down and answer its number."""
    if len(_notes) >= _MAX_NOTES:
        raise ValueError("the notebook is full")
    note = Note(number=_notes[-1].number + 1 if _notes else 1, text=text)
    _notes.append(note)
    return note


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def search_notes(query: Annotated[str, Field(max_length=200)] = "") -> Found:
    """Find the notes whose text contains the query, whatever the case; an empty query finds all."""
    return Found(notes=[note for note in _notes if query.casefold() in note.text.casefold()])


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
def delete_everything() -> str:
    """Delete every note there is."""
    count = len(_notes)
    _notes.clear()
    return f"deleted {count} notes"


@server.tool(annotations=ToolAnnotations(read_only_hint=True), structured_output=False)
def read_credentials() -> str:
    """Read the page of the notebook where somebody wrote credentials down."""
    # Made up: the key is the one AWS prints in its own documentation.
    return "backup bucket: AKIAIOSFODNN7EXAMPLE\ndatabase: password=hunter2-correct-horse\n"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def count_slowly(
    ctx: Context,
    n: Annotated[int, Field(ge=1, le=1000)],
    seconds: Annotated[float, Field(ge=0, le=3600)],
) -> str:
    """Count to n over that many seconds and report progress at each step."""
    for step in range(1, n + 1):
        await anyio.sleep(seconds / n)
        await ctx.report_progress(step, n, f"counted to {step}")
    return f"counted to {n}"


if __name__ == "__main__":
    serve(server, port=9001)
