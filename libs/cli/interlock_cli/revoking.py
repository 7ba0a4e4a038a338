"""``interlock tokens revoke`` and ``interlock revoke``: tokens stop counting, and which edges apply it is told."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, plain, print_json
from interlock_cli.errors import StateUnusable

tokens = typer.Typer(help="Tokens: revoke.", no_args_is_help=True)
app = typer.Typer(help="Revoke all tokens of a user, team, certificate or session, or every one.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why; into the audit record.")]
Before = Annotated[
    int | None, typer.Option(help="Those issued before, in seconds since the epoch; up to now if left out.", min=1)
]


@tokens.callback()
def _tokens() -> None:
    """Commands about tokens."""


@tokens.command("revoke")
@connected
def revoke_token(
    client: Client,
    *,
    identifier: Annotated[str, typer.Argument(help="The id of the token (its jti).")],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Revoke one token, at once and everywhere."""
    path = f"/tokens/{quote(identifier, safe='')}"
    _tell(client.send("DELETE", path, dict[str, Any], {"reason": reason}), as_json=as_json)


def _command(kind: str, whose: str, described: str) -> None:
    @app.command(kind)
    @connected
    def revoke(
        client: Client,
        *,
        name: Annotated[str, typer.Argument(help=described)],
        before: Before = None,
        reason: Reason = "",
        as_json: AsJson = False,
    ) -> None:
        _revoke(client, {"kind": kind, "id": name, "before": before, "reason": reason}, as_json=as_json)

    revoke.__doc__ = f"Revoke all tokens of {whose}, at once and everywhere."


for _kind, _whose, _described in (
    ("user", "a user", "An e-mail, or the name of a service account."),
    ("team", "the members of a team", "The id of a team."),
    ("certificate", "a client certificate", "Its x5t#S256: SHA-256 in base64url."),
    ("session", "a login session", "Its sid."),
):
    _command(_kind, _whose, _described)


@app.command("all")
@connected
def revoke_all(
    client: Client,
    *,
    before: Before = None,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Really; your own token is among them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Revoke every token there is, one's own too."""
    if not yes:
        raise StateUnusable("everybody is logged out by this, you too: say --yes")
    _revoke(client, {"kind": "all", "before": before, "reason": reason}, as_json=as_json)


def _revoke(client: Client, body: dict[str, object], *, as_json: bool) -> None:
    _tell(client.send("POST", "/revocations", dict[str, Any], body), as_json=as_json)


def _tell(receipt: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(receipt)
        return
    typer.echo(f"revoked; applied by {receipt['applied']} of {receipt['of']} edges within {receipt['max_ms']:g} ms")
    if receipt["late"]:
        late = plain(", ".join(receipt["late"]))
        typer.echo(f"late: {late}; without a connection to the bus they refuse once their lease is over", err=True)
