"""TLS to a gateway: whom the command trusts, and what it shows where the gateway asks for a client certificate."""

import os
import ssl
from pathlib import Path

from interlock_cli.errors import StateUnusable

CERT, KEY = "INTERLOCK_CLIENT_CERT", "INTERLOCK_CLIENT_KEY"


def trust(ca: Path | None, *, nothing_else: bool = False) -> ssl.SSLContext:
    """Trusts ``ca``, where it is given, and the system's CAs, unless ``nothing_else``.

    Shows the certificate that the environment names. Raises StateUnusable.
    """
    try:
        context = ssl.create_default_context(cafile=ca if nothing_else else None)
        if ca is not None and not nothing_else:
            context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise StateUnusable(f"{ca} holds no certificates to trust: {error.strerror}") from None
    cert, key = os.environ.get(CERT), os.environ.get(KEY)
    if cert:
        _show(context, cert, key or None)
    return context


def _show(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    def no_passphrase() -> str:
        raise StateUnusable(f"{KEY} {key or cert} is encrypted: name a key without a passphrase")

    try:
        context.load_cert_chain(cert, key, no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise StateUnusable(f"{CERT} {cert} with {KEY} {key or cert} cannot be shown: {error.strerror}") from None
