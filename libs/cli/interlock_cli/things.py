"""``interlock tools``, ``resources`` and ``prompts``: what gateways offer, and accepting what changed."""

import sys
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, plain, print_fields, print_json, print_table
from interlock_cli.errors import StateUnusable
from interlock_cli.lookup import References

_IN_DEFINITION = frozenset({"definition", "input_schema", "arguments"})

Identifier = Annotated[str, typer.Argument(help="GATEWAY/NAME, the gateway by id, name or slug.")]


class Standing(StrEnum):
    ACCEPTED = "accepted"
    WARNED = "warned"
    QUARANTINED = "quarantined"


def commands(kind: str, described: str) -> typer.Typer:
    """The commands of one kind of things; ``described`` is the field that says most of one."""
    app = typer.Typer(help=f"What gateways offer as {kind}: list, show, accept.", no_args_is_help=True)

    @app.command("list")
    @connected
    def list_all(
        client: Client,
        *,
        gateway: Annotated[str | None, typer.Option(help="Only of this gateway: its id, name or slug.")] = None,
        name: Annotated[str | None, typer.Option(help="Only with this text in their name.")] = None,
        standing: Annotated[Standing | None, typer.Option(help="Only of this standing.")] = None,
        as_json: AsJson = False,
    ) -> None:
        found = client.pages(f"/{kind}", dict[str, Any], limit=1000, gateway=gateway, name=name, standing=standing)
        if as_json:
            print_json(found)
            return
        print_table(("name", "gateway", "standing", "reachable", described), [
            (each["name"], each["upstream_name"], each["standing"], "yes" if each["reachable"] else "no",
             _first_line(each[described]))
            for each in found
        ])  # fmt: skip

    @app.command()
    @connected
    def show(client: Client, *, identifier: Identifier, as_json: AsJson = False) -> None:
        found = _find(client, kind, identifier)
        print_json(found) if as_json else _tell(found)

    @app.command()
    @connected
    def accept(
        client: Client,
        *,
        identifier: Identifier,
        digest: Annotated[str | None, typer.Option(help="Accept only this definition; nothing is asked.")] = None,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept what stands there now, unseen.")] = False,
    ) -> None:
        found = _find(client, kind, identifier)
        if digest is None and not yes:
            if not sys.stdin.isatty():
                raise StateUnusable("nobody can be asked here: give --digest, or --yes")
            _tell(found)
            typer.confirm("Accept this definition?", abort=True, err=True)
        path = f"/{kind}/{quote(found['id'], safe='')}/accept"
        client.send("POST", path, dict[str, Any], {"digest": digest or found["digest"]})
        typer.echo(f"{plain(found['name'])} is accepted")

    list_all.__doc__ = f"List {kind}, with their standing."
    show.__doc__ = f"Show one of the {kind} with its whole definition."
    accept.__doc__ = "Accept a changed definition: it counts from now on, everywhere."
    return app


tools = commands("tools", "description")
resources = commands("resources", "label")
prompts = commands("prompts", "description")


def _find(client: Client, kind: str, identifier: str) -> dict[str, Any]:
    reference = References(client).of(identifier)
    return client.get(f"/{kind}/{quote(reference, safe='')}", dict[str, Any])


def _tell(found: dict[str, Any]) -> None:
    definition = found["definition"]
    fields = {name: value for name, value in found.items() if name not in _IN_DEFINITION}
    print_fields(fields | {"reachable": "yes" if found["reachable"] else "no"})
    typer.echo()
    print_json(definition)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
