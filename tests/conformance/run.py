"""``make conformance``: the official suite, directly and through the gateway, in every cell of eras.

    python tests/conformance/run.py                                        everything; writes build/conformance.json
    python tests/conformance/run.py --cell modern_modern                   one cell (may be repeated)
    python tests/conformance/run.py --cell modern_modern --scenario tools-list --verbose
    python tests/conformance/run.py --serve                                start it all and wait, to look around

What is run, and what each missed scenario means, is in docs/conformance.md.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness import report
from harness.cells import EXCUSED, Cell, Way, cells
from harness.errors import NotInstalled, Unusable
from harness.gateway import Gateway, gateway
from harness.round_robin import round_robin
from harness.suite import Outcome, Suite, install
from harness.upstreams import everything_server
from rich.console import Console
from rich.markup import escape

from everything.eras import Era
from interlock_cli.state import State
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.ports import choose_free

OUTPUT = Path(__file__).parents[2] / "build" / "conformance.json"
_AT_ONCE = 2
_WIDTH = 140


@dataclass
class Stage:
    """What is up: the upstreams, the gateway in front of them (if a cell wants one), and the balancer."""

    upstreams: dict[Era, str]
    gateway: Gateway | None = None
    balancer: str = ""
    paths: dict[Era, str] = field(default_factory=dict[Era, str])

    def url(self, cell: Cell) -> str:
        """Where the suite finds the server of a cell."""
        if cell.way is Way.DIRECT or self.gateway is None:
            return self.upstreams[cell.upstream]
        if cell.way is Way.CLIENT:
            return self.gateway.edges[0]
        before = self.gateway.edges[0] if cell.way is Way.EDGE else self.balancer
        return before + self.paths[cell.upstream]

    def token(self, cell: Cell) -> str:
        """What its requests carry."""
        return "" if cell.way is Way.DIRECT or self.gateway is None else self.gateway.token


@asynccontextmanager
async def stage(folder: Path, wanted: Sequence[Cell], replicas: int) -> AsyncGenerator[Stage]:
    """Start what the wanted cells need."""
    async with AsyncExitStack() as stack:
        eras = {cell.upstream for cell in wanted if cell.way is not Way.CLIENT}
        upstreams = {
            era: await stack.enter_async_context(everything_server(era, folder / f"everything-{era}.log"))
            for era in sorted(eras)
        }
        built = Stage(upstreams)
        ways = {cell.way for cell in wanted}
        if ways == {Way.DIRECT}:
            yield built
            return
        (port,) = choose_free(1)
        edges = replicas if Way.BALANCER in ways else 1
        extra = {"PUBLIC_URL": f"http://127.0.0.1:{port}"} if Way.BALANCER in ways else {}
        built.gateway = await stack.enter_async_context(gateway(State(folder / "state"), edges, extra))
        for era, url in upstreams.items():
            built.paths[era] = await built.gateway.serve(f"everything-{era}", url)
        if Way.BALANCER in ways:
            built.balancer, _ = await stack.enter_async_context(round_robin(built.gateway.edges, port))
        yield built


async def run_cell(suite: Suite, cell: Cell, at: Stage, only: Sequence[str]) -> list[Outcome]:
    """The scenarios of a cell: all of them in one go, or those named, one by one."""
    url, token = at.url(cell), at.token(cell)
    if cell.way is not Way.CLIENT and not only:
        return await suite.check_revision(cell.revision, url, token)
    check = suite.check_client if cell.way is Way.CLIENT else suite.check_server
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(revision: str, scenario: str) -> Outcome:
        async with room:
            return await check(scenario, revision, url, token)

    chosen = [(revision, name) for revision, name in cell.named(suite) if not only or name in only]
    return await asyncio.gather(*(one(revision, name) for revision, name in chosen))


async def run(options: argparse.Namespace, console: Console, folder: Path) -> bool:
    """Run what was asked for; answers whether everything passed that can be passed."""
    console.print("installing the suite …", style="dim")
    suite = await asyncio.to_thread(install)
    known = cells(options.replicas)
    wanted = [cell for cell in known if not options.cell or cell.name in options.cell]
    _demand_known("cell", options.cell, {cell.name for cell in known})
    _demand_known("scenario", options.scenario, {name for cell in wanted for _, name in cell.named(suite)})
    began = SYSTEM_CLOCK.monotonic()
    console.print("starting the upstreams and the gateway …", style="dim")
    results: dict[str, list[Outcome]] = {}
    async with stage(folder, wanted, options.replicas) as at:
        console.print(f"up after {SYSTEM_CLOCK.monotonic() - began:.1f} s", style="dim")
        if options.serve:
            await _serve(console, at, wanted, folder)
        for cell in wanted:
            results[cell.name] = await _show_cell(console, suite, cell, at, options)
    report.show_table(console, results)
    if not options.cell and not options.scenario:
        report.write(OUTPUT, results)
        console.print(f"\nwritten: {OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT}")
    console.print(f"{SYSTEM_CLOCK.monotonic() - began:.0f} s", style="dim")
    return all(
        outcome.passed or outcome.scenario in EXCUSED.get(name, {})
        for name, outcomes in results.items()
        for outcome in outcomes
    )


def _demand_known(kind: str, named: Sequence[str], known: AbstractSet[str]) -> None:
    if unknown := set(named) - known:
        raise Unusable(f"no such {kind}: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")


async def _show_cell(
    console: Console, suite: Suite, cell: Cell, at: Stage, options: argparse.Namespace
) -> list[Outcome]:
    console.print(f"\n[bold]{cell.name}[/] ({at.url(cell)})", soft_wrap=True)
    began = SYSTEM_CLOCK.monotonic()
    outcomes = await run_cell(suite, cell, at, options.scenario)
    for outcome in outcomes:
        report.show_scenario(console, outcome, verbose=options.verbose)
    passed = sum(outcome.passed for outcome in outcomes)
    console.print(f"  {passed} of {len(outcomes)} passed in {SYSTEM_CLOCK.monotonic() - began:.1f} s")
    return outcomes


async def _serve(console: Console, at: Stage, wanted: Sequence[Cell], folder: Path) -> None:
    for cell in wanted:
        console.print(f"  {cell.name:<32} {at.url(cell)}", soft_wrap=True)
    if at.gateway is not None:
        console.print(f"  token: {at.gateway.state.token_file}", soft_wrap=True)
    console.print(f"  logs:  {folder}\nCtrl-C ends it.", soft_wrap=True)
    await asyncio.Future[None]()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", action="append", default=[], metavar="NAME", help="only this cell; repeatable")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--replicas", type=int, default=3, help="edges behind the balancer; 0 leaves that out")
    parser.add_argument("--verbose", action="store_true", help="what each failing check says")
    parser.add_argument("--serve", action="store_true", help="start everything, say where it is, and wait")
    parser.add_argument("--keep", action="store_true", help="keep the scratch folder with the logs")
    parser.add_argument("--where-installable", action="store_true", help="no failure where the registry is away")
    options = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="interlock-conformance-"))
    keep: bool = options.keep
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if asyncio.run(run(options, console, folder)) else 1
    except NotInstalled as error:
        console.print(f"[red]THE SUITE WAS NOT RUN:[/] {escape(str(error))}", soft_wrap=True)
        return 0 if options.where_installable else 2
    except Unusable as error:
        keep = keep or (folder / "state").exists()
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        if keep:
            console.print(f"kept: {folder} (logs in {folder}/state/logs)", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
