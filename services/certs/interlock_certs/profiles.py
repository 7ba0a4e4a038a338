"""Profiles: what an identity may ask for beside its own name: names, lifetime, usages. Anything else is refused.

Whoever is on the bus has the profile ``service``, which grants no name at all; so nobody gets a certificate whose
names the bus would take for another service.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cryptography import x509

from interlock_certs.errors import RequestRejected
from interlock_certs.requests import Request, Usage
from interlock_common.messages.access import BUS_ADMIN, TABLE, spiffe_id

BUS = "bus"
SERVICE = "service"
BOTH: frozenset[Usage] = frozenset({"client", "server"})
ON_THE_BUS = frozenset({BUS, BUS_ADMIN, *(access.identity for access in TABLE)})
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?")
_MAILBOX = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?P<host>[A-Za-z0-9.-]{1,253})")
_MAX_HOST = 253

type Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Grant:
    """What goes into a leaf beside the key and the identity."""

    lifetime: timedelta
    names: tuple[x509.GeneralName, ...] = ()
    usages: frozenset[Usage] = BOTH
    common_name: str = ""


@dataclass(frozen=True)
class Profile:
    """What may be asked for; host patterns are exact names, or ``*.`` and a suffix for one label before it.

    ``common_name`` puts the identity into the subject, which is empty otherwise.
    """

    lifetime: timedelta
    usages: frozenset[Usage] = BOTH
    dns: tuple[str, ...] = ()
    addresses: tuple[Network, ...] = ()
    emails: tuple[str, ...] = ()
    common_name: bool = False

    @property
    def gives_names(self) -> bool:
        return bool(self.dns or self.addresses or self.emails or self.common_name)


@dataclass(frozen=True)
class Profiles:
    """The profile of each identity: by its name, by a pattern such as ``plugin-*``, else ``service``."""

    trust_domain: str
    known: Mapping[str, Profile]
    identities: Mapping[str, str] = field(default_factory=dict[str, str])

    def of(self, identity: str) -> Profile:
        if identity in ON_THE_BUS:
            return self.known[SERVICE]
        if identity in self.identities:
            return self.known[self.identities[identity]]
        matching = (name for pattern, name in self.identities.items() if fnmatchcase(identity, pattern))
        return self.known[next(matching, SERVICE)]

    def grant(self, identity: str, request: Request) -> Grant:
        """What ``identity`` gets of what it asks for; raises RequestRejected at the first thing it may not have."""
        profile = self.of(identity)
        own = spiffe_id(self.trust_domain, identity)
        names = tuple(name for name in request.names if not _is_uri(name, own))
        for name in names:
            self._refuse_foreign(name, identity)
            if not _is_granted(profile, name):
                raise RequestRejected(f"{identity} may not be called {_text(name)!r}: its profile does not grant it")
        for common_name in request.common_names:
            if common_name not in {identity, own} and not _is_host_of(common_name, names):
                raise RequestRejected(f"the subject of the request says {common_name[:64]!r}; who asks is {identity}")
        usages = profile.usages if request.usages is None else request.usages
        if not usages <= profile.usages:
            raise RequestRejected(f"{identity} may not have the usage {min(usages - profile.usages)}Auth")
        return Grant(profile.lifetime, names, usages, identity if profile.common_name else "")

    def _refuse_foreign(self, name: x509.GeneralName, identity: str) -> None:
        """A name that is, to the bus or to anybody who knows SPIFFE-IDs, that of someone else."""
        text = str(_text(name)).casefold()
        if text.startswith("spiffe:") or text in {spiffe_id(self.trust_domain, one) for one in ON_THE_BUS}:
            raise RequestRejected(f"{identity} may not be called {_text(name)!r}: that is the name of another identity")


def named(names: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    """The host names and addresses of a listener of ours."""
    return tuple(_general_name(name) for name in names)


def is_pattern(text: str) -> bool:
    """Whether a profile may say ``text`` for host names."""
    return _is_host(text)


def is_mail_pattern(text: str) -> bool:
    """Whether a profile may say ``text`` for e-mail addresses: one of them, or ``*@`` and a host."""
    return _MAILBOX.fullmatch(text.replace("*@", "any@", 1) if text.startswith("*@") else text) is not None


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _is_uri(name: x509.GeneralName, uri: str) -> bool:
    return isinstance(name, x509.UniformResourceIdentifier) and name.value == uri


def _is_granted(profile: Profile, name: x509.GeneralName) -> bool:
    match name:
        case x509.DNSName():
            return _is_host(name.value) and any(_covers(pattern, name.value.casefold()) for pattern in profile.dns)
        case x509.IPAddress(value=IPv4Address() | IPv6Address() as address):
            return any(address in network for network in profile.addresses)
        case x509.RFC822Name():
            mailbox = _MAILBOX.fullmatch(name.value)
            return mailbox is not None and any(
                pattern.casefold() in {name.value.casefold(), f"*@{mailbox['host'].casefold()}"}
                for pattern in profile.emails
            )
        case _:
            return False


def _is_host(name: str) -> bool:
    return len(name) <= _MAX_HOST and _HOST.fullmatch(name.casefold()) is not None


def _covers(pattern: str, host: str) -> bool:
    pattern = pattern.casefold()
    if pattern == host:
        return True
    first, _, rest = host.partition(".")
    return pattern.startswith("*.") and first != "*" and rest == pattern.removeprefix("*.")


def _is_host_of(text: str, names: Sequence[x509.GeneralName]) -> bool:
    return any(isinstance(name, x509.DNSName | x509.RFC822Name) and name.value == text for name in names)


def _text(name: x509.GeneralName) -> str:
    value = str(getattr(name, "value", type(name).__name__))
    return value[:128]
