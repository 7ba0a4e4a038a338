"""What a run came to: a table for people, ``build/conformance.json`` for machines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.cells import EXCUSED
from harness.suite import Outcome

_MARKS = {"FAILURE": "[red]failed [/]", "WARNING": "[yellow]warning[/]"}
_NAMED = 8

type Results = Mapping[str, Sequence[Outcome]]


def show_scenario(console: Console, outcome: Outcome, *, verbose: bool) -> None:
    """One line for a scenario, and in ``verbose`` what each check that did not succeed said."""
    mark = "[green]ok  [/]" if outcome.passed else "[red]FAIL[/]"
    if outcome.passed and not verbose:
        return
    console.print(f"  {mark} {outcome.scenario:<48} {outcome.revision}")
    if not verbose:
        return
    for check in (*outcome.failures, *outcome.warnings):
        console.print(f"    {_MARKS[check.status]} {escape(f'{check.name}: {check.description}')}", soft_wrap=True)
        if check.message:
            console.print(f"            {escape(check.message)}", soft_wrap=True)


def show_table(console: Console, results: Results) -> None:
    """One row for each cell; scenarios that cannot be passed are in brackets."""
    table = Table("cell", "passed", "warnings", "missed", box=None, pad_edge=False, header_style="bold")
    for name, outcomes in results.items():
        missed = [outcome.scenario for outcome in outcomes if not outcome.passed]
        named = [f"({each})" if each in EXCUSED.get(name, {}) else each for each in missed]
        more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
        colour = "green" if not missed else "yellow" if all(each.startswith("(") for each in named) else "red"
        passed = f"[{colour}]{len(outcomes) - len(missed)}/{len(outcomes)}[/]"
        warned = sum(bool(outcome.warnings) for outcome in outcomes)
        table.add_row(name, passed, str(warned or ""), ", ".join([*named[:_NAMED], *more]))
    console.print()
    console.print(table)


def write(path: Path, results: Results) -> None:
    """The document other tools read: passed, total and failed of each cell; ``direct`` is both eras together."""
    direct = {name.removeprefix("direct_"): each for name, each in results.items() if name.startswith("direct_")}
    both = [outcome for outcomes in direct.values() for outcome in outcomes]
    document = {"direct": _counted(both) | {era: _counted(outcomes) for era, outcomes in direct.items()}}
    through = {name: _counted(each) for name, each in results.items() if not name.startswith("direct_")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document | through, indent=2) + "\n", encoding="utf-8")


def _counted(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    failed = [outcome.scenario for outcome in outcomes if not outcome.passed]
    return {"passed": len(outcomes) - len(failed), "total": len(outcomes), "failed": failed}
