"""``make clients``: real clients through the gateway, one row each for what they saw of an upstream.

    python tests/clients/run.py                        all of them, wherever they meet an upstream
    python tests/clients/run.py --client Inspector     those whose name begins so

The clients and how to set them up: docs/clients.md.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from harness.errors import Unusable
from matrix.features import FEATURES
from matrix.meetings import meetings
from matrix.programs import Program, Sight, installed, see
from matrix.stage import stage
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from interlock_common.clock import SYSTEM_CLOCK

_WIDTH = 190
_AT_ONCE = 2


def _mark(program: Program, sight: Sight, feature: str) -> str:
    if feature in program.lacks:
        return "[dim]-[/]"
    if feature in sight.wrong or "revision" in sight.wrong:
        return "[red]FAIL[/]"
    return str(sight.facts["revision"]) if feature == "revision" else "[green]ok[/]"


def _show(console: Console, seen: dict[tuple[Program, str], Sight]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for column in ("client", "upstream", *FEATURES):
        table.add_column(column, no_wrap=True)
    for (program, place), sight in seen.items():
        table.add_row(program.title, place, *(_mark(program, sight, feature) for feature in FEATURES))
    console.print(table)
    for (program, place), sight in seen.items():
        for feature, why in sight.wrong.items():
            console.print(f"[red]{program.title}, {place}, {feature}:[/] {escape(why)}", soft_wrap=True)


async def _run(console: Console, folder: Path, begins: str) -> bool:
    began = SYSTEM_CLOCK.monotonic()
    programs = [each for each in await asyncio.to_thread(installed) if each.name.startswith(begins)]
    if not programs:
        raise Unusable(f"no client is called {begins}")
    seen: dict[tuple[Program, str], Sight] = {}
    room = asyncio.Semaphore(_AT_ONCE)
    async with stage(folder) as ready:

        async def one(program: Program, place: str) -> None:
            url, prefix = ready.at(place)
            async with room:
                seen[program, place] = await see(program, url, ready.gateway.token, prefix)

        wanted = meetings(programs)
        await asyncio.gather(*(one(*each) for each in wanted))
    _show(console, {each: seen[each] for each in wanted})
    console.print(f"{SYSTEM_CLOCK.monotonic() - began:.0f} s", style="dim")
    return not any(sight.wrong for sight in seen.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", default="", metavar="NAME", help="only those whose name begins with this")
    options = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="interlock-clients-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if asyncio.run(_run(console, folder, options.client)) else 1
    except Unusable as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
