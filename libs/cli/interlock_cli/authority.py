"""``interlock certificates``: the leaves that certs issued, revoking them, and rotating the CA step by step."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

import typer

from interlock_cli.client import Client, RuleBroken
from interlock_cli.connection import AsJson, connected, plain, print_json, print_table
from interlock_cli.errors import CommandError
from interlock_common.messages.certs import AuthorityStatus, CertificatesRevoked, LeafList, Step

app = typer.Typer(help="Certificates of services: list, revoke; rotate the CA.", no_args_is_help=True)

_STEPS: tuple[Step, ...] = get_args(Step.__value__)
_WAIT = "is not safe yet"
_TAKEN = "is not the next step"
_ASK_AGAIN_SECONDS = 0.5
_SHOWN = 24

# Plain aliases: typer does not look through those of the ``type`` statement.
Why = Annotated[
    Literal[
        "unspecified", "key_compromise", "ca_compromise", "affiliation_changed", "superseded",
        "cessation_of_operation", "privilege_withdrawn",
    ],
    typer.Option("--reason", help="Why (RFC 5280, section 5.3.1)."),
]  # fmt: skip
Identity = Annotated[str, typer.Argument(help="A service: auth, gateway, plugins, …")]


@app.command("list")
@connected
def list_leaves(client: Client, *, as_json: AsJson = False) -> None:
    """The leaves that have not expired, newest first."""
    found = client.get("/certificates", LeafList)
    if as_json:
        print_json(found)
        return
    rows = [
        (leaf.identity, leaf.serial, _day(leaf.not_after, seconds=True), leaf.reason or "")
        for leaf in found.leaves
    ]  # fmt: skip
    print_table(("identity", "serial", "ends", "revoked"), rows)


@app.command()
@connected
def revoke(
    client: Client,
    *,
    serial: Annotated[str, typer.Argument(help="The serial number, in hex.")],
    reason: Why = "unspecified",
    issuer: Annotated[str | None, typer.Option(help="Key id of another CA, whose certificate it is.")] = None,
    as_json: AsJson = False,
) -> None:
    """Revoke one certificate, at once and everywhere."""
    _revoke(client, f"/certificates/{_hex(serial)}/revoke", {"reason": reason, "issuer": issuer}, as_json=as_json)


@app.command("revoke-identity")
@connected
def revoke_identity(
    client: Client, *, identity: Identity, reason: Why = "unspecified", as_json: AsJson = False
) -> None:
    """Revoke every certificate of a service; it gets no other one until it is reinstated."""
    path = f"/certificates/identities/{_name(identity)}/revoke"
    _revoke(client, path, {"reason": reason}, as_json=as_json)


@app.command()
@connected
def reinstate(client: Client, *, identity: Identity) -> None:
    """Let a revoked service join again."""
    client.text_of("POST", f"/certificates/identities/{_name(identity)}/reinstate")
    typer.echo(f"{identity} may join again; its revoked certificates stay revoked")


@app.command()
@connected
def authority(client: Client, *, as_json: AsJson = False) -> None:
    """The CAs, and who follows their rotation."""
    _show(client.get("/certificates/authority", AuthorityStatus), as_json=as_json)


@app.command()
@connected
def rotate(
    client: Client,
    *,
    step: Annotated[
        Literal["prepare", "activate", "taint", "revoke", "all"], typer.Argument(help="One step, or all of them.")
    ],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for those who have to follow.", min=0)] = 120,
    as_json: AsJson = False,
) -> None:
    """Take a step of a rotation of the CA; with ``all`` each as soon as it is safe."""
    if step == "all":
        status = _rotate_all(client, time.monotonic() + timeout)
    else:
        status = client.send("POST", f"/certificates/authority/{step}", AuthorityStatus, slow=True)
    _show(status, as_json=as_json)


def _rotate_all(client: Client, deadline: float) -> AuthorityStatus:
    """From whichever step is the next one to the last."""
    status = client.get("/certificates/authority", AuthorityStatus)
    for step in _STEPS[_STEPS.index(status.next_step) :]:
        status = _as_soon_as_safe(client, step, deadline)
        typer.echo(f"{step}: done; the bundle is number {status.bundle}", err=True)
    return status


def _as_soon_as_safe(client: Client, step: Step, deadline: float) -> AuthorityStatus:
    told = ""
    while True:
        try:
            return client.send("POST", f"/certificates/authority/{step}", AuthorityStatus, slow=True)
        except RuleBroken as refused:
            if _TAKEN in refused.detail:  # certs took it itself, as the root was due
                return client.get("/certificates/authority", AuthorityStatus)
            if _WAIT not in refused.detail and "not applied everywhere" not in refused.detail:
                raise
            if time.monotonic() >= deadline:
                raise CommandError(f"{refused.detail}; nothing was changed by this step, take it up again") from None
            if refused.detail != told:
                told = refused.detail
                typer.echo(plain(told), err=True)
            time.sleep(_ASK_AGAIN_SECONDS)


def _revoke(client: Client, path: str, body: dict[str, Any], *, as_json: bool) -> None:
    done = client.send("POST", path, CertificatesRevoked, body)
    if as_json:
        print_json(done)
        return
    for each in done.revoked:
        typer.echo(f"revoked {plain(each.subject)} {each.serial}")
    count = len(done.revoked)
    typer.echo(f"{count} revoked, {done.connections_ended} connections to the bus ended, within {done.ms:g} ms")
    if not done.enforced:
        typer.echo("the bus has not followed yet: it is asked again until it does", err=True)


def _show(status: AuthorityStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(status)
        return
    print_table(("CA", "state", "ends", "root"), [
        (str(one.number), one.state, _day(one.not_after), one.root_fingerprint[:_SHOWN] + "…")
        for one in status.generations
    ])  # fmt: skip
    typer.echo("")
    print_table(("on the bus", "instance", "bundle", "leaf of CA"), [
        (peer.identity, peer.instance, _number(peer.bundle), _number(peer.leaf)) for peer in status.peers
    ])  # fmt: skip
    typer.echo(f"\nbundle {status.bundle}; next step: {status.next_step}")
    if status.waiting_for:
        typer.echo(plain(f"which waits for {', '.join(status.waiting_for)}"))


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _day(moment: int, *, seconds: bool = False) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d'}}"


def _hex(text: str) -> str:
    """A serial number as openssl and browsers write it, too: with colons, in capitals."""
    serial = text.replace(":", "").removeprefix("0x").lower()
    if not serial or set(serial) - set("0123456789abcdef"):
        raise CommandError(f"{text!r} is no serial number in hex")
    return serial


def _name(text: str) -> str:
    if not text.replace("-", "").isalnum() or not text.isascii():
        raise CommandError(f"{text!r} is no name of a service")
    return text
