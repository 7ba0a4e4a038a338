"""What the person sees: a live table on a terminal, plain lines anywhere else; always on standard error.

Standard output carries results only (the URL, the token, JSON), so that it can be piped.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from interlock_cli.snippets import snippets
from interlock_cli.supervisor import Child, Phase

_COLOURS = {Phase.READY: "green", Phase.FAILED: "red", Phase.RESTARTING: "yellow", Phase.STOPPED: "dim"}
_TOLD = frozenset({Phase.READY, Phase.STOPPED, Phase.RESTARTING, Phase.FAILED})
_REFRESHES = 10


class Display(Protocol):
    """Shows the processes of a stack while they change; a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def changed(self) -> None: ...


class LiveTable:
    """For a terminal: one row per process, drawn again ten times a second."""

    def __init__(self, console: Console, children: Callable[[], Sequence[Child]]) -> None:
        self._children = children
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=_REFRESHES)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def changed(self) -> None:
        self._live.refresh()

    def _table(self) -> Table:
        table = Table("process", "state", "pid", "seconds", box=None, pad_edge=False, header_style="bold")
        for child in self._children():
            colour = _COLOURS.get(child.phase, "cyan")
            seconds = f"{child.seconds:.1f}" if child.seconds is not None else ""
            table.add_row(child.name, f"[{colour}]{child.phase}[/]", str(child.pid or ""), seconds)
        return table


class PlainLines:
    """For logs and pipes: one line each time a process changes its state in a way that matters."""

    def __init__(self, console: Console, children: Callable[[], Sequence[Child]]) -> None:
        self._console = console
        self._children = children
        self._shown = {child.name: child.phase for child in children()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace

    def changed(self) -> None:
        for child in self._children():
            if self._shown.get(child.name) is not child.phase and child.phase in _TOLD:
                seconds = f" after {child.seconds:.1f} s" if child.phase is Phase.READY and child.seconds else ""
                self._console.print(f"{child.name}: {child.phase}{seconds}", highlight=False)
            self._shown[child.name] = child.phase


def display(console: Console, children: Callable[[], Sequence[Child]]) -> LiveTable | PlainLines:
    """The one that suits where standard error goes."""
    return LiveTable(console, children) if console.is_terminal else PlainLines(console, children)


def show_ready(console: Console, url: str, token: str, seconds: float, ca: Path | None = None) -> None:
    """How to reach the gateway, and what to paste where."""
    console.print(f"\nInterlock is ready after {seconds:.1f} s.", highlight=False)
    console.print(f"  URL    {url}/mcp\n  token  {token}\n", highlight=False, soft_wrap=True)
    if ca is not None:
        told = f"curl --cacert {ca} …; for clients on Node.js, NODE_EXTRA_CA_CERTS={ca}"
        console.print(f"Clients have to trust the certificate: {told}\n", highlight=False, soft_wrap=True, markup=False)
    for snippet in snippets(url, token):
        console.print(f"[bold]{escape(snippet.title)}[/]", highlight=False)
        console.print(escape(snippet.text) + "\n", highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops it; the state stays.", highlight=False)
