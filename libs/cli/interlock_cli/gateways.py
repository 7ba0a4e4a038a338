"""``interlock gateways``: the servers behind the gateway."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock_cli import lookup
from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, errors, plain, print_fields, print_json, print_table
from interlock_cli.errors import StateUnusable
from interlock_cli.secret_options import pairs_of, secrets_of

app = typer.Typer(help="Servers behind the gateway: list, add, refresh, remove.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The id, name or slug of a gateway.")]


class Transport(StrEnum):
    HTTP = "http"
    SSE = "sse"
    STDIO = "stdio"
    REST = "rest"
    WORKER = "worker"
    REVERSE = "reverse"


class Sight(StrEnum):
    PUBLIC = "public"
    TEAM = "team"
    PRIVATE = "private"


class Era(StrEnum):
    MODERN = "modern"
    LEGACY = "legacy"


@app.command("list")
@connected
def list_all(
    client: Client,
    *,
    transport: Annotated[Transport | None, typer.Option(help="Only of this kind.")] = None,
    as_json: AsJson = False,
) -> None:
    """List gateways, with what they offer and whether they can be reached."""
    found = client.pages("/gateways", dict[str, Any], limit=200, transport=transport)
    if as_json:
        print_json(found)
        return
    columns = ("name", "kind", "url", "tools", "resources", "prompts", "reachable", "problem")
    print_table(columns, [
        (each["name"], each["transport"], each["url"], str(each["tool_count"]), str(each["resource_count"]),
         str(each["prompt_count"]), "yes" if each["reachable"] else "no", each["problem"])
        for each in sorted(found, key=lambda each: each["name"])
    ])  # fmt: skip


@app.command()
@connected
def show(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """Show a gateway."""
    found = client.get(f"/gateways/{lookup.gateway_named(client, name)['id']}", dict[str, Any])
    print_json(found) if as_json else print_fields(found | {"reachable": "yes" if found["reachable"] else "no"})


@app.command()
@connected
def add(
    client: Client,
    *,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    url: Annotated[str, typer.Argument(help="Where it is: https://…, or worker://NAME.")] = "",
    transport: Annotated[Transport | None, typer.Option(help="How it is reached; http, if nothing says more.")] = None,
    command: Annotated[str | None, typer.Option(help="For stdio: the command, as in a shell.")] = None,
    environment: Annotated[list[str] | None, typer.Option("--env", help="For stdio: NAME=value.")] = None,
    openapi: Annotated[Path | None, typer.Option(help="For rest: an OpenAPI document; URL is optional then.")] = None,
    include: Annotated[list[str] | None, typer.Option(help="Of an OpenAPI document: only these operations.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Of an OpenAPI document: not these.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    visibility: Annotated[Sight, typer.Option(help="Who sees it.")] = Sight.PUBLIC,
    team: Annotated[str | None, typer.Option(help="For the visibility team.")] = None,
    era: Annotated[Era | None, typer.Option(help="The era it speaks; found out, if not said.")] = None,
    credential: Annotated[str, typer.Option(help="none, header, basic, client_credentials, …")] = "none",
    public: Annotated[list[str] | None, typer.Option(help="Of the credential: name=X-Api-Key, user=…")] = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="credential.value=@FILE, =env:NAME, or without: asked for.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register a gateway: a server, a command, a REST API by its OpenAPI document, a worker on the bus."""
    body: dict[str, Any] = {
        "name": name, "url": url, "description": description, "visibility": visibility, "team_id": team,
        "credential": {"kind": credential, "public": pairs_of(public or (), "a public part")},
        "secrets": secrets_of(secret or ()),
    }  # fmt: skip
    if openapi is not None:
        body |= {
            "document": _text(openapi),
            "base_url": url or None,
            "include": include or [],
            "exclude": exclude or [],
        }
        report = client.send("POST", "/gateways/openapi", dict[str, Any], body, slow=True)
        print_json(report) if as_json else _tell(report["gateway"], report["notes"])
        return
    if command is not None:
        body["command"] = {"argv": shlex.split(command), "environment": pairs_of(environment or (), "a variable")}
    body |= {"transport": transport or _transport(url, command), "era": era}
    made = client.send("POST", "/gateways", dict[str, Any], body, slow=True)
    print_json(made) if as_json else _tell(made)


@app.command()
@connected
def refresh(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """Look at a gateway again, now; exit code 1 if it cannot be reached."""
    path = f"/gateways/{lookup.gateway_named(client, name)['id']}/refresh"
    found = client.send("POST", path, dict[str, Any], slow=True)
    print_json(found) if as_json else _tell(found)
    if not found["reachable"]:
        raise typer.Exit(1)


@app.command()
@connected
def remove(
    client: Client, *, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a gateway; virtual servers lose what they had of it."""
    found = lookup.gateway_named(client, name)
    if not yes:
        typer.confirm(
            f"Delete the gateway {found['name']} ({found['url'] or found['transport']})?", abort=True, err=True
        )
    client.send("DELETE", f"/gateways/{found['id']}", dict[str, Any])
    typer.echo(f"{found['name']} is deleted")


def _transport(url: str, command: str | None) -> str:
    if command is not None:
        return "stdio"
    return "worker" if url.startswith("worker:") else "http"


def _tell(made: dict[str, Any], notes: list[str] | None = None) -> None:
    state = "is reachable" if made["reachable"] else f"cannot be reached: {plain(made['problem'])}"
    offers = f"{made['tool_count']} tools, {made['resource_count']} resources, {made['prompt_count']} prompts"
    typer.echo(f"{made['name']} ({made['id']}) {state}; {offers}")
    if made.get("consent_url"):
        typer.echo(f"give your consent at {plain(made['consent_url'])}")
    for note in notes or ():
        typer.echo(f"note: {plain(note)}", err=True)


def _text(path: Path) -> str:
    with errors():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StateUnusable(f"{path} cannot be read: {error}") from None
