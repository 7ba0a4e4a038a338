"""What every command that talks to a gateway takes: where it is, who asks, what is printed and how.

A table for people, JSON for scripts; colours only on a terminal; a refusal is one line on standard error.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from interlock_cli.client import Client, find_endpoint
from interlock_cli.errors import CommandError, StateUnusable

# Plain aliases: typer does not look through those of the ``type`` statement.
Url = Annotated[str | None, typer.Option("--url", help="The gateway.", envvar="INTERLOCK_URL")]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help="A file with an access token.", envvar="INTERLOCK_TOKEN_FILE")
]
Token = Annotated[
    str | None, typer.Option("--token", help="An access token; better in a file.", envvar="INTERLOCK_TOKEN")
]
State = Annotated[Path, typer.Option("--state", help="The state folder.", envvar="INTERLOCK_STATE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

STATE = Path(".interlock")
_SHARED: dict[str, tuple[Any, Any]] = {
    "at_url": (Url, None), "at_token": (Token, None), "at_token_file": (TokenFile, None), "at_state": (State, STATE),
}  # fmt: skip
_PIPE_WIDTH = 240


@contextmanager
def errors() -> Generator[None]:
    """A refusal is one line on standard error and its exit code."""
    try:
        yield
    except CommandError as error:
        sys.stderr.write(f"error: {plain(error.detail)}\n")
        raise typer.Exit(error.exit_code) from None


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument is the gateway: the options that say where it is are added to its own."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        url, token, token_file, state = (given.pop(name) for name in _SHARED)
        with errors():
            token = token or (_read(token_file) if token_file is not None else None)
            with Client(find_endpoint(url, token, state)) as client:
                command(client, **given)

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _SHARED.items()
    ]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue] - PEP 362
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StateUnusable(f"the token in {path} cannot be read: {error.strerror}") from None


def print_json(document: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under their columns; on a terminal as wide as that, in a pipe as wide as it takes."""
    console = _console()
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(coloured, row))
    console.print(table)


def print_fields(fields: dict[str, Any]) -> None:
    """A thing, one field a line; what is empty is left out."""
    console = _console()
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value in (None, "", [], {}):
            continue
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        console.print(f"[bold]{name:<{width}}[/]  {coloured(text)}", soft_wrap=True)


_COLOURS = {
    "accepted": "green", "created": "green", "yes": "green", "warned": "yellow", "updated": "yellow",
    "quarantined": "red", "failed": "red", "no": "red",
}  # fmt: skip


def coloured(text: str) -> str:
    """Markup of a text; a word that says how something is has its colour."""
    colour = _COLOURS.get(text)
    return escape(plain(text)) if colour is None else f"[{colour}]{text}[/]"


def plain(text: str) -> str:
    """A text without what a terminal would obey: upstreams write descriptions."""
    return "".join(each if each.isprintable() else " " if each.isspace() else "\ufffd" for each in text)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
