"""``interlock certs``: keys and certificates as files, for a front end, for plugins, for clients."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from interlock_cli.certificates import below, front
from interlock_cli.certificates.below import Branch
from interlock_cli.certificates.checks import check, mcp_check
from interlock_cli.certificates.form import ORGANIZATION
from interlock_cli.certificates.options import (
    CA_DAYS,
    DAYS,
    MCP_DAYS,
    CaDays,
    CaPassphraseFile,
    Days,
    McpDays,
    Names,
    PassphraseFile,
    Permitted,
    making,
)
from interlock_cli.certificates.passphrases import KEY_VARIABLE, passphrase
from interlock_cli.certificates.plugin_config import DEFAULT_CONFIG, EXAMPLES, ExternalPlugin, external_plugins
from interlock_cli.certificates.workshop import Workshop

_ACME = "acme"


class _Certs(TyperGroup):
    """Imports what speaks ACME when that is looked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), _ACME]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name != _ACME:
            return super().get_command(ctx, cmd_name)
        from interlock_cli.certificates.acme.command import app as acme  # noqa: PLC0415 - see above

        return typer.main.get_command(acme)


app = typer.Typer(cls=_Certs, help="Keys and certificates as files: make, check.", no_args_is_help=True)
app.command("check")(check)
app.command("mcp-check")(mcp_check)


@app.command("front")
@making
def make_front(shop: Workshop, folder: Path, *, days: Days = DAYS, names: Names = None) -> None:
    """Make cert.pem and key.pem: self-signed, for the front end."""
    front.make_front(shop, folder, days, names or ())


@app.command("passphrase")
@making
def add_passphrase(
    shop: Workshop, folder: Path, *, days: Days = DAYS, names: Names = None, file: PassphraseFile = None
) -> None:
    """Add key-encrypted.pem; the passphrase is in KEY_FILE_PASSWORD, or asked for."""

    def ask() -> bytes:
        return passphrase(KEY_VARIABLE, file, "New passphrase", confirm=True)

    front.add_passphrase(shop, folder, days, names or (), ask)


@app.command("remove-passphrase")
@making
def remove_passphrase(shop: Workshop, folder: Path, *, file: PassphraseFile = None) -> None:
    """Make key.pem out of key-encrypted.pem, which stays."""
    front.remove_passphrase(shop, folder, lambda: passphrase(KEY_VARIABLE, file, "Passphrase"))


@app.command("jwt")
@making
def make_jwt(shop: Workshop, folder: Path) -> None:
    """Make jwt/private.pem and jwt/public.pem: RSA, to sign tokens."""
    front.make_jwt(shop, folder, shop.key_form.bits)


@app.command("jwt-ecdsa")
@making
def make_jwt_ecdsa(shop: Workshop, folder: Path) -> None:
    """Make jwt/ec_private.pem and jwt/ec_public.pem: P-256, to sign tokens."""
    front.make_jwt_ecdsa(shop, folder)


@app.command("all")
@making
def make_both(shop: Workshop, folder: Path, *, days: Days = DAYS, names: Names = None) -> None:
    """Make what `front` and `jwt` make."""
    front.make_front(shop, folder, days, names or ())
    front.make_jwt(shop, folder, shop.key_form.bits)


@app.command("mcp-ca")
@making
def make_mcp_ca(
    shop: Workshop, folder: Path, *, ca_days: CaDays = CA_DAYS, permitted: Permitted = None,
    file: CaPassphraseFile = None,
) -> None:  # fmt: skip
    """Make the CA of the gateway and its plugins; CA_KEY_PASSWORD encrypts its key."""
    _mcp(shop, folder, MCP_DAYS, ca_days, file, permitted).make_ca()


@app.command("mcp-gateway")
@making
def make_mcp_gateway(
    shop: Workshop, folder: Path, *, days: McpDays = MCP_DAYS, ca_days: CaDays = CA_DAYS,
    file: CaPassphraseFile = None,
) -> None:  # fmt: skip
    """Make what the gateway shows to plugins."""
    below.make_gateway(folder / "mcp", _mcp(shop, folder, days, ca_days, file))


@app.command("mcp-plugin")
@making
def make_mcp_plugin(
    shop: Workshop, folder: Path, *, name: Annotated[str, typer.Argument(envvar="PLUGIN_NAME")],
    days: McpDays = MCP_DAYS, ca_days: CaDays = CA_DAYS, names: Names = None, file: CaPassphraseFile = None,
) -> None:  # fmt: skip
    """Make what the server of a plugin shows."""
    below.make_plugin(folder / "mcp", _mcp(shop, folder, days, ca_days, file), ExternalPlugin(name), names or ())


@app.command("mcp-all")
@making
def make_mcp_all(
    shop: Workshop, folder: Path, *, days: McpDays = MCP_DAYS, ca_days: CaDays = CA_DAYS,
    file: CaPassphraseFile = None,
    config: Annotated[
        Path, typer.Option("--config", envvar="MCP_PLUGIN_CONFIG", help="The file that names the plugins.")
    ] = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Make the CA, the gateway's pair, and one for each external plugin of a plugin file."""
    plugins = external_plugins(config) if config.exists() else list(EXAMPLES)
    if not config.exists():
        shop.journal.warn(f"there is no {config}: the plugins are {' and '.join(each.name for each in plugins)}")
    elif not plugins:
        shop.journal.warn(f"{config} has no plugin of kind external")
    below.make_all(folder / "mcp", _mcp(shop, folder, days, ca_days, file), plugins)


@app.command("client")
@making
def make_client(
    shop: Workshop, folder: Path, *, name: Annotated[str, typer.Argument(help="A person or a service.")],
    days: Days = DAYS, ca_days: CaDays = CA_DAYS, names: Names = None, file: CaPassphraseFile = None,
    organization: Annotated[str, typer.Option("--organization", help="O of the subject.")] = ORGANIZATION,
) -> None:  # fmt: skip
    """Make a client certificate for a person or a service, with the CA of mtls/."""
    below.make_client(_mtls(shop, folder, days, ca_days, file), name, names or (), organization)


@app.command("mtls")
@making
def make_mtls(
    shop: Workshop, folder: Path, *, days: Days = DAYS, ca_days: CaDays = CA_DAYS, names: Names = None,
    file: CaPassphraseFile = None,
) -> None:  # fmt: skip
    """Make mtls/: a CA, a server and a client."""
    below.make_mtls(_mtls(shop, folder, days, ca_days, file), names or ())


def _mcp(
    shop: Workshop, folder: Path, days: int, ca_days: int, file: Path | None, permitted: list[str] | None = None
) -> Branch:
    return Branch(shop, "Interlock plugins CA", folder / "mcp" / "ca", days, ca_days, file, tuple(permitted or ()))


def _mtls(shop: Workshop, folder: Path, days: int, ca_days: int, file: Path | None) -> Branch:
    return Branch(shop, "Interlock clients CA", folder / "mtls", days, ca_days, file)
