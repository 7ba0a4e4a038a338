"""``interlock status``: what runs in a state folder, and how it is."""

import json
import sys

from rich.console import Console
from rich.table import Table

from interlock_cli import ports
from interlock_cli.errors import NotRunning
from interlock_cli.probing import problems_of
from interlock_cli.state import State, read_json


def health(state: State) -> dict[str, list[str]]:
    """The problems of each process of a running stack; raises NotRunning when there is none."""
    if not state.is_running():
        raise NotRunning(f"no stack runs in {state.root}: start one with `interlock up --state {state.root}`")
    placed = {name: port for name, port in read_json(state.ports_file).items() if isinstance(port, int)}
    found = {"bus": ["does not listen"] if ports.is_free(placed.pop("bus")) else []}
    placed.pop("enrolment", None)
    return found | {name: problems_of(port) for name, port in placed.items()}


def status(state: State, *, as_json: bool) -> bool:
    """Print how each process is; answers whether all of them may take work."""
    found = health(state)
    url = read_json(state.endpoint_file).get("url", "") if state.endpoint_file.exists() else ""
    well = not any(found.values())
    if as_json:
        sys.stdout.write(json.dumps({"ready": well, "url": url, "processes": found}) + "\n")
        return well
    table = Table("process", "state", box=None, pad_edge=False, header_style="bold")
    for name, problems in found.items():
        table.add_row(name, f"[red]{'; '.join(problems)}[/]" if problems else "[green]ready[/]")
    console = Console()
    console.print(table)
    console.print(f"\n{url}/mcp" if url else "\nthe gateway is not ready yet", highlight=False)
    return well
