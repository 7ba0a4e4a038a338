"""Names that become files, subjects and alternative names; refused before anything of that."""

import ipaddress
import re

from cryptography import x509

from interlock_cli.certificates.errors import NameRefused

_PLUGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,50}[A-Za-z0-9])?", re.ASCII)
"""With ``mcp-plugin-`` in front it is at most 63 characters: one label of a host name, and fits a common name."""
_CLIENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:[A-Za-z0-9+._-]*@[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII
)
_MAX_COMMON_NAME = 64
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/]\S*")
_MAX_HOST = 253
_TAKEN = frozenset({"ca", "server"})
_SHOWN = 60


def plugin_name(name: str) -> str:
    """The name of a plugin, which becomes a folder and a host name. Raises NameRefused."""
    if not _PLUGIN.fullmatch(name) or ".." in name:
        raise NameRefused(f"{_shown(name)} cannot be the folder and host name of a plugin: letters, digits, '.', '_' "
                          "and '-', at most 52, with a letter or digit at both ends and no '..'")  # fmt: skip
    return name


def client_name(name: str) -> str:
    """The name of a person or service, which becomes three files. Raises NameRefused."""
    if len(name) > _MAX_COMMON_NAME or not _CLIENT.fullmatch(name) or ".." in name:
        raise NameRefused(f"{_shown(name)} cannot be the name of a client: letters, digits, '.', '_' and '-', or an "
                          "e-mail address; at most 64, with a letter or digit at both ends and no '..'")  # fmt: skip
    if name.lower() in _TAKEN:
        raise NameRefused(f"{name} is the name of another file beside the clients")
    return name


def organization(text: str) -> str:
    """The ``O`` of a subject (RFC 5280, ub-organization-name). Raises NameRefused."""
    if not text.strip() or len(text) > _MAX_COMMON_NAME or not text.isprintable():
        raise NameRefused(f"{_shown(text)} is no organization: 1 to {_MAX_COMMON_NAME} characters that can be printed")
    return text


def alternative_name(text: str) -> x509.GeneralName:
    """An address, a URI, an e-mail address or a host name, told apart by their look. Raises NameRefused."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if _URI.fullmatch(text):
        return _ascii(x509.UniformResourceIdentifier, text, "a URI")
    if "@" in text:
        return _ascii(x509.RFC822Name, text, "an e-mail address")
    if is_host_name(text.removeprefix("*.")):
        return x509.DNSName(text)
    raise NameRefused(f"{_shown(text)} is no host name, IP address, URI or e-mail address"
                      + ("" if text.isascii() else ": write the host name in its xn-- form"))  # fmt: skip


def is_host_name(text: str) -> bool:
    return len(text) <= _MAX_HOST and all(_LABEL.fullmatch(label) for label in text.split("."))


def constraint(text: str) -> x509.GeneralName:
    """What a CA may issue for: a network, or a domain with all below it. Raises NameRefused."""
    try:
        return x509.IPAddress(ipaddress.ip_network(text))
    except ValueError:
        pass
    if not is_host_name(text):
        raise NameRefused(f"{_shown(text)} is neither a domain nor a network such as 10.0.0.0/8")
    return x509.DNSName(text)


def _ascii(kind: type[x509.UniformResourceIdentifier | x509.RFC822Name], text: str, what: str) -> x509.GeneralName:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise NameRefused(f"{_shown(text)} is not {what} in ASCII")
    try:
        return kind(text)
    except ValueError:
        raise NameRefused(f"{_shown(text)} is not {what}") from None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
