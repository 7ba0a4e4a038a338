"""``interlock migration``: on the way from tokens to client certificates."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, print_json, print_table
from interlock_common.messages.credential_uses import MOST_DAYS, ClientCredentials, MigrationReport

app = typer.Typer(help="From tokens to client certificates: who still comes with tokens.", no_args_is_help=True)

Days = Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="How many days count, today among them.")]


@app.callback()
def migration() -> None:
    """From tokens to client certificates."""


@app.command()
@connected
def report(client: Client, *, days: Days = 30, as_json: AsJson = False) -> None:
    """List clients by what they come with; ends with 1 while somebody comes with a token alone."""
    found = client.get("/admin/migration", MigrationReport, days=days)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found.waiting:
        raise typer.Exit(1)


def _print(found: MigrationReport) -> None:
    head = ("client", "tokens alone", "both", "certificates", "proxy", "last token alone")
    print_table(head, map(_row, found.clients))
    if found.more:
        typer.echo("and others: this is the first part")
    if found.waiting:
        typer.echo(f"\n{found.waiting} of {found.waiting + found.ready} clients still come with tokens alone")
    else:
        typer.echo("\nnobody came with a token alone: MCP_CLIENT_AUTH_ENABLED=false would keep nobody out")


def _row(client: ClientCredentials) -> tuple[str, ...]:
    last = datetime.fromtimestamp(client.last_token_at, UTC).strftime("%Y-%m-%d %H:%M") if client.last_token_at else "-"
    return client.principal, str(client.token), str(client.both), str(client.certificate), str(client.proxy), last
