"""``interlock issuers``: authorization servers of others, and who their users are here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote

import typer
import yaml

from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, plain, print_fields, print_json, print_table
from interlock_cli.errors import StateUnusable

app = typer.Typer(help="Authorization servers of others: name, refresh, remove, link.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the issuer is called here.")]
Subject = Annotated[str, typer.Argument(help="The subject (sub) that the issuer gives to somebody.")]
Who = Annotated[str, typer.Argument(help="An e-mail, or the name of a service account.")]
_PAGE = 500


@app.command("list")
@connected
def list_all(client: Client, *, as_json: AsJson = False) -> None:
    """List authorization servers whose word counts here."""
    found = client.get("/issuers", list[dict[str, Any]])
    if as_json:
        print_json(found)
        return
    print_table(("name", "issuer", "accounts", "keys", "trouble"), [
        (each["settings"]["name"], each["settings"]["issuer"], each["settings"].get("accounts", "linked"),
         str(len(each["keys"])), each["error"])
        for each in found
    ])  # fmt: skip


@app.command()
@connected
def show(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """Show one, with its keys and why they could not be read."""
    _tell(client.get(_path(name), dict[str, Any]), as_json=as_json)


@app.command("set")
@connected
def set_one(
    client: Client,
    *,
    name: Name,
    file: Annotated[Path | None, typer.Option(help="YAML that says all of it.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Its address, exactly as its tokens say in iss.")] = None,
    audience: Annotated[list[str] | None, typer.Option(help="What its tokens must be for; may be repeated.")] = None,
    accounts: Annotated[str | None, typer.Option(help="Who its subjects are: linked or mapped.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let its tokens count, or its users log in: in full, instead of what there was."""
    body = _described(file) if file is not None else {}
    given = {"issuer": issuer, "audiences": audience, "accounts": accounts}
    body |= {field: value for field, value in given.items() if value is not None}
    if "issuer" not in body:
        raise StateUnusable("an issuer has an address: give --issuer, or --file")
    _tell(client.send("PUT", _path(name), dict[str, Any], body), as_json=as_json)


@app.command()
@connected
def refresh(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """Read its keys now."""
    _tell(client.send("POST", f"{_path(name)}/refresh", dict[str, Any]), as_json=as_json)


@app.command()
@connected
def remove(client: Client, *, name: Name) -> None:
    """Remove it: its tokens count no more, and all links go."""
    client.send("DELETE", _path(name), dict[str, Any])
    typer.echo(f"{name} is removed")


@app.command()
@connected
def identities(client: Client, *, name: Name, as_json: AsJson = False) -> None:
    """List who its subjects are here."""
    found = client.pages(f"{_path(name)}/identities", dict[str, Any], limit=_PAGE)
    if as_json:
        print_json(found)
        return
    print_table(("subject", "user", "linked by"), [
        (each["subject"], each["principal"], each["linked_by"]) for each in found
    ])  # fmt: skip


@app.command()
@connected
def link(client: Client, *, name: Name, subject: Subject, who: Who) -> None:
    """Link a subject of the issuer to a user."""
    body = {"subject": subject, "principal": who}
    made = client.send("POST", f"{_path(name)}/identities", dict[str, Any], body)
    typer.echo(f"{plain(made['subject'])} of {name} is {plain(made['principal'])}")


@app.command()
@connected
def unlink(client: Client, *, name: Name, subject: Subject) -> None:
    """Unlink a subject: what runs on behalf of its tokens ends."""
    client.send("DELETE", f"{_path(name)}/identities", dict[str, Any], subject=subject)
    typer.echo(f"{plain(subject)} of {name} is nobody any more")


def _path(name: str) -> str:
    return f"/issuers/{quote(name, safe='')}"


def _described(file: Path) -> dict[str, Any]:
    """What a file says of an issuer; its client secret may lie in another (``client_secret_file``)."""
    try:
        said: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(said, Mapping):
            raise StateUnusable(f"{file} describes no issuer")
        body = dict(cast("Mapping[str, Any]", said))
        login: Any = body.get("login")
        if isinstance(login, dict) and "client_secret_file" in login:
            told = dict(cast("dict[str, Any]", login))
            secret = Path(str(told.pop("client_secret_file"))).read_text(encoding="utf-8").rstrip("\r\n")
            body["login"] = told | {"client_secret": secret}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StateUnusable(f"{file} cannot be used: {type(error).__name__}") from None
    body.pop("name", None)
    return body


def _tell(issuer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(issuer)
        return
    print_fields(issuer["settings"])
    from_file = "yes" if issuer["from_file"] else "no"
    keys, trouble = ", ".join(issuer["keys"]) or "none", issuer["error"] or "none"
    print_fields({"keys": keys, "from the file of settings": from_file, "trouble": trouble})
