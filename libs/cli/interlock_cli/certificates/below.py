"""Certificates below a CA of one folder: the gateway and its plugins, and clients of the gateway."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from interlock_cli.certificates.authority import Authority, new_authority, open_authority
from interlock_cli.certificates.errors import FileUnusable
from interlock_cli.certificates.files import Writing, is_there
from interlock_cli.certificates.form import ORGANIZATION, Leaf, Purpose
from interlock_cli.certificates.front import FRONT_NAMES, alternative_names
from interlock_cli.certificates.names import client_name, constraint, plugin_name
from interlock_cli.certificates.names import organization as checked_organization
from interlock_cli.certificates.passphrases import CA_VARIABLE, find_passphrase
from interlock_cli.certificates.pem import read_file
from interlock_cli.certificates.plugin_config import ExternalPlugin
from interlock_cli.certificates.reading import has_encrypted_key, read_certificate
from interlock_cli.certificates.workshop import Pair, Workshop

GATEWAY = "mcp-gateway"
_COPY = "ca.crt"


@dataclass(frozen=True)
class Branch:
    """A CA in its folder, and how long what it signs counts."""

    shop: Workshop
    common_name: str
    folder: Path
    days: int
    ca_days: int
    passphrase_file: Path | None = None
    permitted: tuple[str, ...] = ()

    @property
    def ca(self) -> Pair:
        return Pair.named(self.folder, "ca")

    def ensure_ca(self) -> None:
        """The CA where there is none; options for leaves neither replace it nor open its key to containers.

        Raises CertificateError.
        """
        if not is_there(self.ca.certificate):
            self._make_ca(replace(self.shop, writing=Writing()))

    def make_ca(self) -> None:
        """The CA itself. Raises CertificateError."""
        self._make_ca(self.shop)

    def _make_ca(self, shop: Workshop) -> None:
        permitted = [constraint(text) for text in self.permitted]
        had = is_there(self.ca.certificate)
        made = shop.pair(
            self.ca,
            lambda key: new_authority(self.common_name, key, self.ca_days, shop.clock.now(), permitted),
            find_passphrase(CA_VARIABLE, self.passphrase_file),
        )
        if made and had:
            shop.journal.warn(f"{self.ca.certificate} is a new CA: what the old one signed has to be made anew")

    def make_leaf(self, folder: Path, name: str, leaf: Leaf, *, combined: bool) -> None:
        """A pair below the CA, a combined file for clients, and a copy of the CA certificate beside them.

        Raises CertificateError.
        """
        pair, shop = Pair.named(folder, name), self.shop
        made = shop.pair(pair, lambda key: self._authority.issue(leaf, key.public_key(), self.days, shop.clock.now()))
        if combined:
            self._beside(folder / f"{name}.pem", _combined(pair), private=True, anew=made and shop.writing.force)
        if folder != self.folder:
            self._beside(folder / _COPY, read_file(self.ca.certificate), private=False, anew=shop.writing.force)
        if not made:
            self._warn_if_foreign(pair)

    def _beside(self, path: Path, content: bytes, *, private: bool, anew: bool) -> None:
        """A file made of others: made where it is missing, told about where it differs."""
        shop = self.shop
        if is_there(path) and not anew:
            if read_file(path) != content:
                shop.journal.warn(f"{path} differs from what it is a copy of, and was left alone: --force replaces it")
            if private:
                shop.share(path)
            return
        (shop.writing.private if private else shop.writing.public)(path, content)
        shop.journal.made(path)

    def _warn_if_foreign(self, pair: Pair) -> None:
        certificate, ca = read_certificate(pair.certificate), read_certificate(self.ca.certificate)
        if not is_issued_by(certificate, ca):
            self.shop.journal.warn(f"{pair.certificate} is not signed by {self.ca.certificate}: --force replaces it")

    @functools.cached_property
    def _authority(self) -> Authority:
        """Opened when something is to be signed, and once: its passphrase may have to be asked for."""
        return open_authority(self.ca.key, self.ca.certificate, self.shop.clock, self.passphrase_file)


def make_gateway(mcp: Path, branch: Branch) -> None:
    """``gateway/``: what the gateway shows to plugins. Raises CertificateError."""
    branch.ensure_ca()
    leaf = Leaf(GATEWAY, alternative_names((GATEWAY,)), Purpose.CLIENT)
    branch.make_leaf(mcp / "gateway", "client", leaf, combined=True)


def make_plugin(mcp: Path, branch: Branch, plugin: ExternalPlugin, names: Sequence[str] = ()) -> None:
    """``plugins/<name>/``: what the server of a plugin shows. Raises CertificateError."""
    name = plugin_name(plugin.name)
    host = f"mcp-plugin-{name}"
    own = (name, host, "localhost", "127.0.0.1")
    leaf = Leaf(host, alternative_names(own, (plugin.host,) if plugin.host else (), names), Purpose.SERVER)
    branch.ensure_ca()
    branch.make_leaf(mcp / "plugins" / name, "server", leaf, combined=False)


def make_all(mcp: Path, branch: Branch, plugins: Iterable[ExternalPlugin]) -> None:
    """The CA, the gateway and every plugin; all names are checked before the first file. Raises CertificateError."""
    chosen = [ExternalPlugin(plugin_name(plugin.name), plugin.host) for plugin in plugins]
    make_gateway(mcp, branch)
    for plugin in chosen:
        make_plugin(mcp, branch, plugin)


def make_client(branch: Branch, name: str, names: Sequence[str] = (), organization: str = ORGANIZATION) -> None:
    """A client of the gateway: a person or a service. Raises CertificateError."""
    name = client_name(name)
    leaf = Leaf(name, alternative_names((name,), names), Purpose.CLIENT, checked_organization(organization))
    branch.ensure_ca()
    branch.make_leaf(branch.folder, name, leaf, combined=True)


def make_mtls(branch: Branch, names: Sequence[str] = ()) -> None:
    """The CA, a server and one client, as front ends for mutual TLS want them. Raises CertificateError."""
    server = Leaf("localhost", alternative_names(FRONT_NAMES, names), Purpose.SERVER)
    branch.ensure_ca()
    branch.make_leaf(branch.folder, "server", server, combined=False)
    make_client(branch, "client")


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether the signature is the CA's and the names agree; nothing is said of dates."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _combined(pair: Pair) -> bytes:
    if has_encrypted_key(pair.key):
        raise FileUnusable(f"{pair.key} is encrypted: clients take their key and certificate in one file without that")
    return read_file(pair.certificate).rstrip() + b"\n" + read_file(pair.key).rstrip() + b"\n"
