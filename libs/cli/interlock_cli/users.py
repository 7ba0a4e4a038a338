"""``interlock users``: people and service accounts."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, plain, print_fields, print_json, print_table
from interlock_cli.passwords import secret

app = typer.Typer(help="People and service accounts: list, add, change, remove, passwords.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="An e-mail, or the name of a service account.")]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="A file with the password; - is standard input.")
]


def path_of(name: str) -> str:
    return f"/users/{quote(name, safe='')}"


@app.command("list")
@connected
def list_all(client: Client, *, as_json: AsJson = False) -> None:
    """List users."""
    found = client.pages("/users", dict[str, Any], limit=200)
    if as_json:
        print_json(found)
        return
    print_table(("name", "kind", "full name", "active", "roles"), [
        (each["name"], each["kind"], each["full_name"], "yes" if each["active"] else "no", ", ".join(_roles(each)))
        for each in found
    ])  # fmt: skip


@app.command()
@connected
def show(
    client: Client,
    *,
    name: Annotated[str, typer.Argument(help="Who; oneself, if nobody is named.")] = "me",
    as_json: AsJson = False,
) -> None:
    """Show a user, and what their roles come to."""
    _tell(client.get(path_of(name), dict[str, Any]), as_json=as_json)


@app.command()
@connected
def add(
    client: Client,
    *,
    name: Name,
    service: Annotated[bool, typer.Option("--service", help="A service account, which has no password.")] = False,
    full_name: Annotated[str, typer.Option(help="What a person is called.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="A platform administrator.")] = False,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Create a user; a person without a password gets a one-time password, which is shown once."""
    body: dict[str, Any] = {
        "name": name, "kind": "service" if service else "person", "full_name": full_name, "is_admin": admin,
        "password": None if password_file is None else secret("Password", password_file),
    }  # fmt: skip
    made = client.send("POST", "/users", dict[str, Any], body)
    if as_json:
        print_json(made)
        return
    typer.echo(f"{made['user']['name']} is there")
    _tell_password(made)


@app.command()
@connected
def change(
    client: Client,
    *,
    name: Name,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether they may do anything.")] = None,
    admin: Annotated[bool | None, typer.Option("--admin/--no-admin", help="A platform administrator or not.")] = None,
    full_name: Annotated[str | None, typer.Option(help="What a person is called.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a user; an inactive one is refused everywhere at once, and what runs for them ends."""
    body = {"active": active, "is_admin": admin, "full_name": full_name}
    given = {field: value for field, value in body.items() if value is not None}
    _tell(client.send("PATCH", path_of(name), dict[str, Any], given), as_json=as_json)


@app.command()
@connected
def remove(
    client: Client, *, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a user for ever; the name is not given again."""
    if not yes:
        typer.confirm(f"Delete the user {name} for ever?", abort=True, err=True)
    client.send("DELETE", path_of(name), dict[str, Any])
    typer.echo(f"{name} is deleted")


@app.command("reset-password")
@connected
def reset_password(client: Client, *, name: Name, password_file: PasswordFile = None, as_json: AsJson = False) -> None:
    """Set a password that must be changed at the next login; without a file one is made and shown once."""
    body = {} if password_file is None else {"new_password": secret("Password", password_file)}
    done = client.send("POST", f"{path_of(name)}/password", dict[str, Any], body)
    if as_json:
        print_json(done)
        return
    typer.echo(f"the password of {name} is set")
    _tell_password(done)


@app.command("change-password")
@connected
def change_password(
    client: Client,
    *,
    current_file: Annotated[
        Path | None, typer.Option("--current-file", help="A file with the present password; else it is asked for.")
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Change one's own password."""
    current = secret("Present password", current_file)
    new = secret("New password", password_file, confirm=True)
    body = {"current_password": current, "new_password": new}
    client.send("POST", "/users/me/password", dict[str, Any], body)
    typer.echo("the password is changed")


def role_text(role: dict[str, Any]) -> str:
    """A role as people read it: with its team, if it is for one."""
    return role["role"] if role["team"] is None else f"{role['role']} of {role['team']}"


def _roles(user: dict[str, Any]) -> list[str]:
    return [role_text(role) for role in user["roles"]]


def _tell(user: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(user)
        return
    print_fields(user | {"roles": ", ".join(_roles(user)), "active": "yes" if user["active"] else "no"})


def _tell_password(done: dict[str, Any]) -> None:
    if done["one_time_password"] is not None:
        typer.echo(f"one-time password, shown once: {plain(done['one_time_password'])}")
