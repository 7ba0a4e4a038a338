"""``interlock servers``: virtual servers."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from interlock_cli import lookup
from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, print_fields, print_json, print_table
from interlock_cli.gateways import Sight
from interlock_cli.lookup import References
from interlock_cli.secret_options import pairs_of
from interlock_cli.snippets import snippets as snippets_of

app = typer.Typer(help="Virtual servers: list, compose, remove, connect clients.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The id or name of a virtual server.")]
Chosen = list[str] | None


class Prefix(StrEnum):
    NONE = "none"
    COLLISION = "collision"
    ALWAYS = "always"
    CUSTOM = "custom"


@app.command("list")
@connected
def list_all(client: Client, *, as_json: AsJson = False) -> None:
    """List virtual servers and where they are."""
    found = lookup.servers(client)
    if as_json:
        print_json(found)
        return
    print_table(("name", "id", "url", "prefix", "visibility", "owner"), [
        (each["name"], each["id"], f"{client.url}{each['path']}", each["prefix"], each["visibility"], each["owner"])
        for each in sorted(found, key=lambda each: each["name"])
    ])  # fmt: skip


@app.command()
@connected
def show(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """Show a virtual server and what it offers, under its public names."""
    found = lookup.server_named(client, name)
    path = f"/servers/{found['id']}"
    kinds = ("tools", "resources", "prompts")
    offered = {kind: client.pages(f"{path}/{kind}", dict[str, Any], limit=1000) for kind in kinds}
    if as_json:
        print_json(found | {"offers": offered})
        return
    print_fields(found | {"url": f"{client.url}{found['path']}"})
    rows = [
        (kind.removesuffix("s"), each["name"], each["upstream_name"], each["original_name"])
        for kind, things in offered.items()
        for each in things
    ]
    if rows:
        typer.echo()
        print_table(("kind", "name", "gateway", "there"), rows)


@app.command()
@connected
def add(
    client: Client,
    *,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    server_id: Annotated[str | None, typer.Option("--id", help="The id in its URL.")] = None,
    tool: Annotated[Chosen, typer.Option(help="GATEWAY/TOOL; as often as you like, like the next three.")] = None,
    resource: Annotated[Chosen, typer.Option(help="GATEWAY/URI, or a URI template.")] = None,
    prompt: Annotated[Chosen, typer.Option(help="GATEWAY/PROMPT.")] = None,
    gateway: Annotated[Chosen, typer.Option(help="A gateway of which everything is taken in.")] = None,
    prefix: Annotated[Prefix | None, typer.Option(help="How public names are made.")] = None,
    alias: Annotated[Chosen, typer.Option(help="GATEWAY/TOOL=public-name; the prefix is custom then.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    instructions: Annotated[str, typer.Option(help="What clients are told.")] = "",
    visibility: Annotated[Sight, typer.Option(help="Who sees it.")] = Sight.PUBLIC,
    team: Annotated[str | None, typer.Option(help="For the visibility team.")] = None,
    identifier: Annotated[str, typer.Option(help="The OAuth resource identifier, if not its URL.")] = "",
    api_key_only: Annotated[bool, typer.Option("--api-key-only", help="Do not advertise OAuth.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compose a virtual server."""
    known = References(client)
    body: dict[str, Any] = {
        "name": name, "id": server_id, "description": description, "instructions": instructions,
        "visibility": visibility, "team_id": team, "resource": identifier, "api_key_only": api_key_only,
        "associated_tools": [known.of(each) for each in tool or ()],
        "associated_prompts": [known.of(each) for each in prompt or ()],
        "associated_upstreams": [known.gateway(each) for each in gateway or ()],
        "prefix": prefix or (Prefix.CUSTOM if alias else Prefix.NONE),
        "aliases": {known.of(each): name for each, name in pairs_of(alias or (), "an alias").items()},
    }  # fmt: skip
    uris = [known.of(each) for each in resource or ()]
    body["associated_resources"] = [each for each in uris if "{" not in each]
    body["associated_templates"] = [each for each in uris if "{" in each]
    made = client.send("POST", "/servers", dict[str, Any], body)
    print_json(made) if as_json else typer.echo(f"{made['name']} is at {client.url}{made['path']}")


@app.command()
@connected
def remove(
    client: Client, *, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a virtual server; what it was composed of stays."""
    found = lookup.server_named(client, name)
    if not yes:
        typer.confirm(f"Delete the virtual server {found['name']} ({found['path']})?", abort=True, err=True)
    client.send("DELETE", f"/servers/{found['id']}", dict[str, Any])
    typer.echo(f"{found['name']} is deleted")


@app.command()
@connected
def snippets(client: Client, *, name: Name) -> None:
    """Print what to paste where, to connect a client to a virtual server; with the token that this command uses."""
    found = lookup.server_named(client, name)
    for snippet in snippets_of(client.url, client.token, path=found["path"], name=found["id"]):
        typer.echo(f"{snippet.title}\n{snippet.text}\n")
