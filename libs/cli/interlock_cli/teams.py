"""``interlock teams``: teams, who is in them, and who is invited."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from interlock_cli import lookup
from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, print_fields, print_json, print_table
from interlock_cli.passwords import secret

app = typer.Typer(help="Teams: list, make, members, invitations.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The id or name of a team.")]
Who = Annotated[str, typer.Argument(help="An e-mail, or the name of a service account.")]
Owner = Annotated[bool, typer.Option("--owner", help="As an owner, who runs the team.")]


@app.command("list")
@connected
def list_all(client: Client, *, as_json: AsJson = False) -> None:
    """List the teams one is in; an administrator sees all."""
    found = lookup.teams(client)
    if as_json:
        print_json(found)
        return
    rows = [(each["name"], each["id"], str(each["member_count"]), each["description"]) for each in found]
    print_table(("name", "id", "members", "description"), sorted(rows))


@app.command()
@connected
def show(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """Show a team and who is in it."""
    found = lookup.team_named(client, name)
    members = client.pages(f"/teams/{found['id']}/members", dict[str, Any], limit=200)
    if as_json:
        print_json(found | {"members": members})
        return
    print_fields(found)
    typer.echo()
    print_table(("member", "owner"), [(each["principal"], "yes" if each["owner"] else "no") for each in members])


@app.command()
@connected
def add(
    client: Client,
    *,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a team, and own it."""
    made = client.send("POST", "/teams", dict[str, Any], {"name": name, "description": description})
    print_json(made) if as_json else typer.echo(f"{made['name']} is {made['id']}")


@app.command()
@connected
def change(
    client: Client,
    *,
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="What it is called from now on.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what a team is called."""
    found = lookup.team_named(client, name)
    given = {field: value for field, value in (("name", new_name), ("description", description)) if value is not None}
    changed = client.send("PATCH", f"/teams/{found['id']}", dict[str, Any], given)
    print_json(changed) if as_json else print_fields(changed)


@app.command()
@connected
def remove(
    client: Client, *, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a team; what belongs to it is seen by its owners and administrators only, from then on."""
    found = lookup.team_named(client, name)
    if not yes:
        typer.confirm(f"Delete the team {found['name']} ({found['member_count']} members)?", abort=True, err=True)
    client.send("DELETE", f"/teams/{found['id']}", dict[str, Any])
    typer.echo(f"{found['name']} is deleted")


@app.command("set-member")
@connected
def set_member(client: Client, *, name: Name, who: Who, owner: Owner = False) -> None:
    """Add a user, or say whether a member is an owner."""
    found = lookup.team_named(client, name)
    client.send("PUT", _member(found, who), dict[str, Any], {"owner": owner})
    typer.echo(f"{who} is {'an owner' if owner else 'a member'} of {found['name']}")


@app.command("remove-member")
@connected
def remove_member(client: Client, *, name: Name, who: Who) -> None:
    """Remove a member, or leave."""
    found = lookup.team_named(client, name)
    client.send("DELETE", _member(found, who), dict[str, Any])
    typer.echo(f"{who} is not in {found['name']} any more")


@app.command()
@connected
def invite(
    client: Client,
    *,
    name: Name,
    email: Annotated[str, typer.Argument(help="Whom.")],
    owner: Owner = False,
    days: Annotated[int, typer.Option(help="How long it can be accepted.", min=1, max=30)] = 7,
    as_json: AsJson = False,
) -> None:
    """Invite somebody; the token is shown once, and only they can accept with it."""
    found = lookup.team_named(client, name)
    body = {"email": email, "owner": owner, "lifetime": days * 86400}
    made = client.send("POST", f"/teams/{found['id']}/invitations", dict[str, Any], body)
    print_json(made) if as_json else typer.echo(f"invitation for {made['invitation']['email']}: {made['token']}")


@app.command()
@connected
def invitations(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """List invitations that wait."""
    found = lookup.team_named(client, name)
    waiting = client.pages(f"/teams/{found['id']}/invitations", dict[str, Any], limit=200)
    if as_json:
        print_json(waiting)
        return
    rows = [(each["email"], each["id"], each["invited_by"], "yes" if each["owner"] else "no") for each in waiting]
    print_table(("e-mail", "id", "invited by", "as owner"), rows)


@app.command("withdraw-invitation")
@connected
def withdraw_invitation(
    client: Client, *, name: Name, invitation: Annotated[str, typer.Argument(help="Its id.")]
) -> None:
    """Withdraw an invitation that waits."""
    found = lookup.team_named(client, name)
    client.send("DELETE", f"/teams/{found['id']}/invitations/{quote(invitation, safe='')}", dict[str, Any])
    typer.echo("the invitation is withdrawn")


@app.command()
@connected
def accept(
    client: Client,
    *,
    invitation_file: Annotated[
        Path | None, typer.Option("--invitation-file", help="A file with the invitation; - is standard input.")
    ] = None,
) -> None:
    """Join the team that invited one."""
    joined = client.send(
        "POST", "/invitations/accept", dict[str, Any], {"token": secret("Invitation", invitation_file)}
    )
    typer.echo(f"welcome to {joined['name']}; log in again to use what belongs to it")


def _member(team: dict[str, Any], who: str) -> str:
    return f"/teams/{team['id']}/members/{quote(who, safe='')}"
