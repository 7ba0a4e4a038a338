"""The ``interlock`` command. What a subcommand needs is imported when it runs: ``--help`` is quick."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="interlock",
    help="Interlock, the security-first MCP gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

type StateFolder = Annotated[Path, typer.Option("--state", help="The state folder.", envvar="INTERLOCK_STATE")]


@app.command()
def up(
    state: Annotated[Path, typer.Option("--state", help="Where everything is kept.")] = Path(".interlock"),
    port: Annotated[int, typer.Option(help="The port of the gateway.", min=1, max=65535)] = 4444,
    host: Annotated[str, typer.Option(help="The address the gateway listens on.")] = "127.0.0.1",
    gateways: Annotated[int, typer.Option(help="How many edges share the port.", min=1, max=16)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document when ready.")] = False,
) -> None:
    """Run the whole gateway on this machine. Ctrl-C stops it; the state stays."""
    import asyncio

    from interlock_cli.errors import CommandError
    from interlock_cli.stack import Options
    from interlock_cli.state import State
    from interlock_cli.up import up as run

    try:
        asyncio.run(run(State(state), Options(host, port, gateways), as_json=as_json))
    except CommandError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(error.exit_code) from None


@app.command()
def version() -> None:
    """Say which version this is."""
    from importlib.metadata import version as installed

    typer.echo(f"interlock {installed('interlock-cli')}")
