"""``interlock roles``: roles, and who has them."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from interlock_cli import lookup
from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, print_json, print_table
from interlock_cli.users import path_of, role_text

app = typer.Typer(help="Roles: list, make, give, withdraw.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The name of a role.")]
Who = Annotated[str, typer.Argument(help="An e-mail, or the name of a service account.")]
Permissions = Annotated[
    list[str], typer.Argument(help="Permissions such as tools.execute, or tools.* for all of them.")
]
Description = Annotated[str, typer.Option(help="What it is for.")]
TeamName = Annotated[str | None, typer.Option("--team", help="For what belongs to this team only.")]


@app.command("list")
@connected
def list_all(client: Client, *, as_json: AsJson = False) -> None:
    """List roles and what they open."""
    found = client.get("/roles", list[dict[str, Any]])
    if as_json:
        print_json(found)
        return
    print_table(("name", "where", "permissions"), [
        (each["name"], _where(each), ", ".join(each["permissions"])) for each in found
    ])  # fmt: skip


@app.command()
@connected
def add(
    client: Client, *, name: Name, permissions: Permissions, description: Description = "", as_json: AsJson = False
) -> None:
    """Make a role, of permissions that one holds."""
    body = {"name": name, "permissions": permissions, "description": description}
    made = client.send("POST", "/roles", dict[str, Any], body)
    print_json(made) if as_json else typer.echo(f"{made['name']}: {', '.join(made['permissions'])}")


@app.command()
@connected
def change(
    client: Client, *, name: Name, permissions: Permissions, description: Description = "", as_json: AsJson = False
) -> None:
    """Change a role, in full, for all who have it."""
    body = {"permissions": permissions, "description": description}
    made = client.send("PUT", _path(name), dict[str, Any], body)
    print_json(made) if as_json else typer.echo(f"{made['name']}: {', '.join(made['permissions'])}")


@app.command()
@connected
def remove(client: Client, *, name: Name) -> None:
    """Delete a role that nobody has."""
    client.send("DELETE", _path(name), dict[str, Any])
    typer.echo(f"{name} is deleted")


@app.command()
@connected
def assign(client: Client, *, name: Name, who: Who, team: TeamName = None, as_json: AsJson = False) -> None:
    """Give a role, for the whole platform or for one team."""
    body = {"role": name, "team": _team(client, team)}
    _tell(client.send("POST", f"{path_of(who)}/roles", dict[str, Any], body), as_json=as_json)


@app.command()
@connected
def withdraw(client: Client, *, name: Name, who: Who, team: TeamName = None, as_json: AsJson = False) -> None:
    """Withdraw a role."""
    path = f"{path_of(who)}/roles/{quote(name, safe='')}"
    _tell(client.send("DELETE", path, dict[str, Any], team=_team(client, team)), as_json=as_json)


def _path(name: str) -> str:
    return f"/roles/{quote(name, safe='')}"


def _team(client: Client, name: str | None) -> str | None:
    return None if name is None else str(lookup.team_named(client, name)["id"])


def _where(role: dict[str, Any]) -> str:
    return "both" if role["of_platform"] and role["of_team"] else "platform" if role["of_platform"] else "team"


def _tell(user: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(user)
        return
    held = ", ".join(role_text(role) for role in user["roles"])
    typer.echo(f"{user['name']} has {held or 'no role'}")
