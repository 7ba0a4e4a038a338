"""Pins and policies, from the file ``CLIENT_CERT_RULES_FILE``: which certificate an identity has, and what for.

pins: {ada@example.com: ["sha256:…"]}     only these certificates of that identity count
require_pins: ["*@example.com"]           identities that do not count without a pin
policies:                                 once there is one, a certificate opens what some policy says, and no more
  - name: partners
    issuer: "CN=Partner CA,O=Partner"     what is left out fits every certificate; one * stands for anything
    organization: Partner
    identity: "*@partner.example"         the principal that the certificate names
    san: "spiffe://partner.example/*"     any of its alternative names
    servers: [b1946ac9]                   ids of virtual servers; left out: everything
    permissions: [tools.execute]          left out: whatever the principal may do

docs/mtls.md says how they work together.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from interlock_common.errors import ConfigurationError
from interlock_common.messages.auth import Scopes
from interlock_gateway.certificates.errors import CertificatePinned, IdentityUnknown, PolicyRefused
from interlock_gateway.certificates.identities import Named
from interlock_gateway.certificates.identity import Pattern, as_principal
from interlock_gateway.certificates.peer import PeerCertificate

SETTING = "CLIENT_CERT_RULES_FILE"
MAX_BYTES = 4 * 1024 * 1024
_ANY = "*"
_REMEMBERED = 10_000
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")

type _Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the certificates that it fits may be used for."""

    name: _Name
    issuer: _Name = _ANY
    organization: _Name = _ANY
    identity: _Name = _ANY
    san: _Name = _ANY
    servers: tuple[_Name, ...] = (_ANY,)
    permissions: tuple[_Name, ...] = (_ANY,)


class RulesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says."""

    pins: dict[_Name, tuple[_Name, ...]] = {}
    require_pins: tuple[_Name, ...] = ()
    policies: tuple[Policy, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Applied:
    """A policy, ready to be decided by: all of ``fits`` must."""

    fits: tuple[Callable[[Named], bool], ...]
    servers: frozenset[str]
    permissions: frozenset[str]

    def covers(self, named: Named, server_id: str | None) -> bool:
        return (_ANY in self.servers or server_id in self.servers) and all(each(named) for each in self.fits)


def read_rules(content: bytes, source: str) -> RulesFile:
    """The rules of a file; raises ConfigurationError."""
    try:
        found = msgspec.yaml.decode(content, type=RulesFile | None) or RulesFile()
        for pattern in (*found.require_pins, *(text for each in found.policies or () for text in _texts(each))):
            Pattern.of(pattern)
        for name in found.pins:
            as_principal(name)
    except (msgspec.DecodeError, ValueError, RecursionError, IdentityUnknown) as error:
        raise ConfigurationError(f"{SETTING} {source}: {error}") from None
    wrong = [pin for pins in found.pins.values() for pin in pins if not _FINGERPRINT.fullmatch(pin)]
    if wrong:
        raise ConfigurationError(f"{SETTING} {source}: a pin is sha256: and 64 hexadecimal digits, not {wrong[0]!r}")
    return found


class CertificateRules:
    """The rules of the moment."""

    def __init__(self, found: RulesFile | None = None) -> None:
        self.take(found or RulesFile())

    def take(self, found: RulesFile) -> None:
        """From now on these count."""
        self._pins: Mapping[str, tuple[str, ...]] = {as_principal(name): pins for name, pins in found.pins.items()}
        self._required = tuple(map(Pattern.of, found.require_pins))
        self._policies = None if found.policies is None else tuple(map(_applied, found.policies))
        self._permitted: dict[tuple[str, str, str | None], frozenset[str]] = {}

    def check(self, principal: str, peer: PeerCertificate | None) -> None:
        """Raise CertificatePinned for another certificate than is pinned, or for none."""
        pins = self._pins.get(principal)
        if pins is None:
            if self._required and any(each.fits(principal) is not None for each in self._required):
                raise CertificatePinned("the identity has no pinned certificate, and must have one")
            return
        shown = b"" if peer is None else peer.fingerprint.encode()
        if not any(hmac.compare_digest(shown, pin.encode()) for pin in pins):
            raise CertificatePinned("the certificate is not the one that is pinned for this identity")

    def narrowed(self, named: Named, scopes: Scopes, server_id: str | None) -> Scopes:
        """``scopes`` as far as policies let the certificate have them; raises PolicyRefused where none does."""
        if self._policies is None:
            return scopes
        permitted = self._permissions(named, server_id)
        if _ANY in permitted:
            return scopes
        held = scopes.permissions
        left = permitted if not held or _ANY in held else permitted.intersection(held)
        if not left:
            raise PolicyRefused("no policy lets this certificate be used here")
        return msgspec.structs.replace(scopes, permissions=tuple(sorted(left)))

    def _permissions(self, named: Named, server_id: str | None) -> frozenset[str]:
        key = named.credential, named.organization or "", server_id
        known = self._permitted.get(key)
        if known is None:
            if len(self._permitted) >= _REMEMBERED:
                self._permitted.clear()
            fitting = [each.permissions for each in self._policies or () if each.covers(named, server_id)]
            known = self._permitted[key] = frozenset[str]().union(*fitting)
        return known


def _texts(policy: Policy) -> tuple[str, ...]:
    return policy.issuer, policy.organization, policy.identity, policy.san


def _applied(policy: Policy) -> _Applied:
    readers: tuple[tuple[str, Callable[[Named], tuple[str | None, ...]]], ...] = (
        (policy.issuer, lambda named: (named.certificate.issuer if named.certificate else None,)),
        (policy.organization, lambda named: (named.organization,)),
        (policy.identity, lambda named: (named.principal,)),
        (policy.san, _alternative_names),
    )
    fits = tuple(_fitting(Pattern.of(text), read) for text, read in readers if text != _ANY)
    return _Applied(fits, frozenset(policy.servers), frozenset(policy.permissions))


def _fitting(pattern: Pattern, read: Callable[[Named], tuple[str | None, ...]]) -> Callable[[Named], bool]:
    return lambda named: any(value is not None and pattern.fits(value) is not None for value in read(named))


def _alternative_names(named: Named) -> tuple[str, ...]:
    peer = named.certificate
    return () if peer is None else (*peer.emails, *peer.dns_names, *peer.uris)
