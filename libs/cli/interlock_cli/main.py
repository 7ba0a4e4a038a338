"""The ``interlock`` command. What a subcommand needs is imported when it runs, so that ``--help`` is quick."""

# ruff: noqa: PLC0415

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

_DOCUMENTS = ("export", "import")
"""Commands that are imported when they are looked for."""


class _Root(TyperGroup):
    """The command itself."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *_DOCUMENTS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _DOCUMENTS:
            return super().get_command(ctx, cmd_name)
        from interlock_cli.configuration import app as documents

        return typer.main.get_group(documents).get_command(ctx, cmd_name)


app = typer.Typer(
    name="interlock",
    cls=_Root,
    help="Interlock, the security-first MCP gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
nats_app = typer.Typer(help="The bus, for the nats command.", no_args_is_help=True)
app.add_typer(nats_app, name="nats")


class _Group(TyperGroup):
    """A group of commands that is imported when one of them is looked for."""

    module: ClassVar[str]
    attribute: ClassVar[str]

    def list_commands(self, ctx: Any) -> list[str]:
        return self._group().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._group().get_command(ctx, cmd_name)

    def _group(self) -> TyperGroup:
        from importlib import import_module

        return typer.main.get_group(getattr(import_module(self.module), self.attribute))


def _group(name: str, module: str, attribute: str, help_: str) -> None:
    kind = type(f"_{name.title()}", (_Group,), {"module": f"interlock_cli.{module}", "attribute": attribute})
    app.add_typer(typer.Typer(cls=kind, help=help_, no_args_is_help=True), name=name)


_group("gateways", "gateways", "app", "Servers behind the gateway: list, add, refresh, remove.")
_group("servers", "servers", "app", "Virtual servers: list, compose, remove, connect clients.")
_group("tools", "things", "tools", "Tools of all gateways: list, show, accept.")
_group("resources", "things", "resources", "Resources of all gateways: list, show, accept.")
_group("prompts", "things", "prompts", "Prompts of all gateways: list, show, accept.")
_group("users", "users", "app", "People and service accounts: list, add, change, remove, passwords.")
_group("teams", "teams", "app", "Teams: list, make, members, invitations.")
_group("roles", "roles", "app", "Roles: list, make, give, withdraw.")
_group("migration", "migration", "app", "From tokens to client certificates: who still comes with tokens.")
_group("issuers", "issuers", "app", "Authorization servers of others: name, refresh, remove, link their users.")
_group("tokens", "revoking", "tokens", "Tokens: revoke.")
_group("revoke", "revoking", "app", "Revoke all tokens of a user, team, certificate or session, or every one.")
_group("certificates", "authority", "app", "Certificates of services: list, revoke; rotate the CA.")
_group("certs", "certificates.commands", "app", "Keys and certificates as files: make, check.")
_group("tls", "diagnosis.commands", "app", "TLS seen from outside: diagnose a port.")
_group("audit", "audit", "audit_app", "Follow, list and verify the audit trail.")

StateFolder = Annotated[
    Path, typer.Option("--state", envvar="INTERLOCK_STATE", help="The folder in which everything is kept.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
_STATE = Path(".interlock")


@contextmanager
def _told() -> Generator[None]:
    """Errors of the command become one sentence on standard error and their exit code."""
    from interlock_cli.errors import CommandError

    try:
        yield
    except CommandError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(error.exit_code) from None


@app.command()
def up(
    state: StateFolder = _STATE,
    port: Annotated[int, typer.Option(help="The port of the gateway.", min=1, max=65535)] = 4444,
    host: Annotated[str, typer.Option(help="The address the gateway listens on.")] = "127.0.0.1",
    gateways: Annotated[int, typer.Option(help="How many edges share the port.", min=1, max=16)] = 1,
    tls: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        typer.Option("--tls", envvar="SSL", help="HTTPS, with CERT_FILE and KEY_FILE or a self-signed certificate."),
    ] = False,
    sans: Annotated[
        list[str] | None, typer.Option("--san", help="One more host name or address in the self-signed certificate.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Run the whole gateway on this machine until Ctrl-C; the state stays."""
    import asyncio
    from contextlib import suppress

    from interlock_cli.errors import Interrupted
    from interlock_cli.stack import Options
    from interlock_cli.state import State
    from interlock_cli.up import up as run

    with _told(), suppress(Interrupted):
        asyncio.run(run(State(state), Options(host, port, gateways, tls, tuple(sans or ())), as_json=as_json))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the scratch folder.")] = False,  # noqa: FBT002 - as above
) -> None:
    """Show it at work: real tool calls through all five services, in a scratch folder."""
    import asyncio

    from interlock_cli.demo.run import demo as run

    with _told():
        held = asyncio.run(run(keep=keep))
        raise typer.Exit(0 if held else 1)


@app.command()
def status(state: StateFolder = _STATE, as_json: AsJson = False) -> None:  # noqa: FBT002 - as above
    """Say how each process of the stack is; exit code 0 when all are ready."""
    from interlock_cli.state import State
    from interlock_cli.status import status as run

    with _told():
        raise typer.Exit(0 if run(State(state), as_json=as_json) else 1)


@nats_app.command("context")
def nats_context(state: StateFolder = _STATE) -> None:
    """Write the context `interlock` of the nats command: then `nats --context interlock micro ls` works."""
    import asyncio

    from interlock_cli.nats_context import write_context
    from interlock_cli.state import State

    with _told():
        typer.echo(asyncio.run(write_context(State(state))))


@nats_app.command("worker")
def nats_worker(state: StateFolder = _STATE) -> None:
    """Get the certificate that workers on the bus show: eval "$(interlock nats worker)"."""
    import asyncio

    from interlock_cli.nats_context import worker_environment
    from interlock_cli.state import State

    with _told():
        typer.echo(asyncio.run(worker_environment(State(state))))


@nats_app.command("config")
def nats_config(
    trust_domain: Annotated[str, typer.Option(help="Whose identities the bus knows.")] = "interlock.local",
) -> None:
    """Print the accounts and permissions of the bus as nats-server configuration."""
    from interlock_common.messages.access import render_accounts

    typer.echo(render_accounts(trust_domain), nl=False)


@app.command()
def connect(
    name: Annotated[str, typer.Option("--name", help="The name of the upstream.")],
    command: Annotated[list[str] | None, typer.Argument(help="A server over stdio: -- COMMAND ARGUMENT…")] = None,
    server: Annotated[str, typer.Option("--server", help="A server over HTTP, by its URL.")] = "",
    url: Annotated[str | None, typer.Option("--url", help="The gateway.", envvar="INTERLOCK_URL")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file with a token; else INTERLOCK_TOKEN.")
    ] = None,
    visibility: Annotated[str, typer.Option(help="Who may see it: public, team, private.")] = "public",
    team: Annotated[str | None, typer.Option(help="The team, with --visibility team.")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    state: StateFolder = _STATE,
) -> None:
    """Put a server of this machine behind a gateway that cannot reach it: it dials out."""
    import asyncio

    from interlock_cli.connect import Offer, endpoint_of
    from interlock_cli.connect import connect as run

    with _told():
        offer = Offer(name, tuple(command or ()), server, visibility, team, description)
        asyncio.run(run(endpoint_of(url, token_file, state), offer))


@app.command()
def explain(
    token: Annotated[str, typer.Option("--token", help="Whose call: @FILE, env:NAME, or - for standard input.")],
    tool: Annotated[str, typer.Option("--tool", help="The tool, by the name that clients see.")],
    server: Annotated[str | None, typer.Option("--server", help="The virtual server, if at one.")] = None,
    address: Annotated[str | None, typer.Option("--address", help="The address the call comes from.")] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="A file (PEM) with the client certificate, if one is shown.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="The gateway.", envvar="INTERLOCK_URL")] = None,
    as_token_file: Annotated[
        Path | None, typer.Option("--as-token-file", help="A file with the token of who asks; else INTERLOCK_TOKEN.")
    ] = None,
    state: StateFolder = _STATE,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Say which rule lets a call through or refuses it, and why."""
    from interlock_cli.connect import endpoint_of
    from interlock_cli.explain import explain as run

    with _told():
        run(endpoint_of(url, as_token_file, state), token, tool, server, address, certificate, as_json=as_json)


@app.command()
def version() -> None:
    """Say which version this is."""
    from importlib.metadata import version as installed

    typer.echo(f"interlock {installed('interlock-cli')}")
