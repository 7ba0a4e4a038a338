"""``interlock certs acme``: a certificate that others trust, ordered once or kept fresh."""

import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import typer

from interlock_cli.certificates.acme.challenges import (
    HTTP_PORT,
    TLS_PORT,
    HttpResponder,
    Responder,
    TlsResponder,
    WebrootResponder,
)
from interlock_cli.certificates.acme.renewing import Renewal, account_of, require_names
from interlock_cli.certificates.acme.server import LETS_ENCRYPT, AcmeServer
from interlock_cli.certificates.errors import AcmeFailed, CertificateError
from interlock_cli.certificates.options import making, tell
from interlock_cli.certificates.passphrases import KEY_VARIABLE, find_passphrase
from interlock_cli.certificates.workshop import Workshop
from interlock_cli.connection import plain

_LOOK_EVERY = 6 * 3600.0
_SOONEST = 60.0
_AGAIN_AFTER = 600.0
_JITTER = 0.1


class Challenge(StrEnum):
    HTTP = "http-01"
    TLS = "tls-alpn-01"


app = typer.Typer()

Server = Annotated[str, typer.Option("--server", envvar="ACME_SERVER", help="The directory of the ACME server.")]
ServerCa = Annotated[
    Path | None, typer.Option("--server-ca", envvar="ACME_SERVER_CA", help="The CA of a server of your own.")
]
Email = Annotated[str, typer.Option("--email", envvar="ACME_EMAIL", help="Whom the server may write to.")]
Agree = Annotated[bool, typer.Option("--agree-terms", envvar="ACME_AGREE_TERMS", help="To those of the server.")]
EabKid = Annotated[
    str, typer.Option("--eab-kid", envvar="ACME_EAB_KID", help="Your id at the server; its key is in ACME_EAB_KEY.")
]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Where to answer: 80, or 443 for TLS.")]
Webroot = Annotated[
    Path | None, typer.Option("--webroot", help="Answer from files below this folder of a running web server.")
]
Watch = Annotated[bool, typer.Option("--watch", help="Stay, and renew whenever it is due.")]


@app.command("acme")
@making
def acme(
    shop: Workshop,
    folder: Path,
    *,
    names: Annotated[list[str], typer.Argument(help="What the front end is called: hosts or addresses.")],
    challenge: Annotated[Challenge, typer.Option("--challenge", help="How the names are proven.")] = Challenge.HTTP,
    server: Server = LETS_ENCRYPT,
    server_ca: ServerCa = None,
    email: Email = "",
    agree: Agree = False,
    eab_kid: EabKid = "",
    port: Port = None,
    webroot: Webroot = None,
    watch: Watch = False,
) -> None:
    """Get cert.pem and key.pem from an ACME server (Let's Encrypt by default), or renew them when that is due."""
    responder = _responder(challenge, port, webroot)
    renewal = Renewal(shop, folder, require_names(names), responder, find_passphrase(KEY_VARIABLE, None))
    eab = eab_kid, (find_passphrase("ACME_EAB_KEY", None) or b"").decode()

    def connect() -> AcmeServer:
        return AcmeServer(server, account_of(shop, folder, email=email, agrees=agree, eab=eab), server_ca)

    if not watch:
        renewal.run(connect)
        return
    keep_fresh(renewal, connect)


def keep_fresh(
    renewal: Renewal, connect: Callable[[], AcmeServer], pause: Callable[[float], object] | None = None
) -> None:
    """Renew whenever it is due, until a signal; a failure is told and tried again."""
    pause = pause or threading.Event().wait
    while True:
        seconds = _AGAIN_AFTER
        try:
            due = renewal.run(connect)
            seconds = min(max((due - renewal.shop.clock.now()).total_seconds(), _SOONEST), _LOOK_EVERY)
        except CertificateError as error:
            typer.echo(f"error: {plain(error.detail)}", err=True)
        tell(renewal.shop.journal)
        renewal = renewal.without_force()
        pause(seconds * SystemRandom().uniform(1 - _JITTER, 1 + _JITTER))


def _responder(challenge: Challenge, port: int | None, webroot: Path | None) -> Responder:
    if webroot is not None:
        if challenge is not Challenge.HTTP or port is not None:
            raise AcmeFailed("--webroot is for http-01 and has no port: the web server has one")
        return WebrootResponder(webroot)
    if challenge is Challenge.HTTP:
        return HttpResponder(port or HTTP_PORT)
    return TlsResponder(port or TLS_PORT)
