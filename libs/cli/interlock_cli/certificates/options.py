"""The options that commands about certificates share, and the variables that say the same."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock_cli.certificates.files import Writing
from interlock_cli.certificates.keys import MAX_RSA_BITS, MIN_RSA_BITS, KeyForm, KeyType
from interlock_cli.certificates.workshop import Journal, Workshop
from interlock_cli.connection import errors, plain

_MAX_DAYS = 36_500

Folder = Annotated[Path, typer.Option("--dir", envvar="CERT_DIR", help="The folder of the certificates.")]
Days = Annotated[
    int, typer.Option("--days", envvar="CERT_DAYS", min=1, max=_MAX_DAYS, help="How long the certificate counts.")
]
McpDays = Annotated[
    int, typer.Option("--days", envvar="MCP_CERT_DAYS", min=1, max=_MAX_DAYS, help="How long certificates count.")
]
CaDays = Annotated[
    int, typer.Option("--ca-days", envvar="CA_DAYS", min=1, max=_MAX_DAYS, help="How long a new CA counts.")
]
Names = Annotated[
    list[str] | None, typer.Option("--san", help="One more name: a host, an address, a URI, an e-mail address.")
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="A file with the passphrase; - for standard input.")
]
CaPassphraseFile = Annotated[
    Path | None, typer.Option("--ca-passphrase-file", help="A file with the passphrase of the CA's key.")
]
Permitted = Annotated[
    list[str] | None,
    typer.Option("--permit", help="Name constraint of a new CA: a domain or a network it may sign for."),
]
_KeySize = Annotated[
    int, typer.Option("--key-size", envvar="KEY_SIZE", min=MIN_RSA_BITS, max=MAX_RSA_BITS, help="Bits of RSA keys.")
]
_Kind = Annotated[KeyType, typer.Option("--key-type", envvar="KEY_TYPE", help="What kind of keys are made.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
_GroupReadable = Annotated[
    bool, typer.Option("--group-readable", envvar="GROUP_READABLE", help="Keys of mode 640 and group 0.")
]

FOLDER = Path("certs")
DAYS, MCP_DAYS, CA_DAYS = 365, 825, 3650
_SHARED: dict[str, tuple[Any, Any]] = {
    "at_folder": (Folder, FOLDER), "key_size": (_KeySize, 4096), "key_type": (_Kind, KeyType.RSA),
    "force": (_Force, False), "group_readable": (_GroupReadable, False),
}  # fmt: skip


def making(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first arguments are a workshop and a folder: the options that make them are added to its own.

    What was done is printed, also before an error.
    """

    @functools.wraps(command)
    def run(**given: Any) -> None:
        folder, bits, kind, force, group_readable = (given.pop(name) for name in _SHARED)
        shop = Workshop(Writing(force=force, group_readable=group_readable), KeyForm(kind, bits))
        with errors():
            try:
                command(shop, folder, **given)
            finally:
                tell(shop.journal)

    own = list(inspect.signature(command, eval_str=True).parameters.values())[2:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _SHARED.items()
    ]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue] - PEP 362
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def tell(journal: Journal) -> None:
    """Print what was done, and forget it."""
    for line in journal.done:
        typer.echo(plain(line))
    for line in journal.warned:
        sys.stderr.write(f"note: {plain(line)}\n")
    journal.done.clear()
    journal.warned.clear()
