"""Which principal a certificate names: by rules that an operator wrote, never by a guess.

A rule is ``source``, or ``source=pattern->name``: the sources are ``cn``, ``email``, ``dns`` and ``uri``; a pattern
has at most one ``*``, and what that stands for takes the place of the ``*`` in the name. Rules are asked in their
order, separated by commas; the first that fits anything decides.
"""

from collections.abc import Callable
from dataclasses import dataclass

from interlock_common.errors import ConfigurationError
from interlock_gateway.certificates.errors import IdentityUnknown
from interlock_gateway.certificates.peer import PeerCertificate

SETTING = "CLIENT_CERT_IDENTITY"
DEFAULT_RULES = "email,uri,cn"
_ARROW = "->"
_MAX_NAME = 320

_SOURCES: dict[str, Callable[[PeerCertificate], tuple[str, ...]]] = {
    "cn": lambda peer: (peer.common_name,) if peer.common_name is not None else (),
    "email": lambda peer: peer.emails,
    "dns": lambda peer: peer.dns_names,
    "uri": lambda peer: peer.uris,
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text in which one ``*`` stands for anything but nothing."""

    before: str
    after: str | None

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """Raises ValueError for more than one ``*``."""
        before, star, after = text.partition("*")
        if "*" in after:
            raise ValueError("a pattern has one * at most")
        return cls(before, after if star else None)

    def fits(self, value: str) -> str | None:
        """What the ``*`` stands for in ``value``; empty where there is none, None where it does not fit."""
        if self.after is None:
            return "" if value == self.before else None
        if not (value.startswith(self.before) and value.endswith(self.after)):
            return None
        return value[len(self.before) : len(value) - len(self.after)] or None

    def filled(self, stands_for: str) -> str:
        return self.before if self.after is None else f"{self.before}{stands_for}{self.after}"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of name in a certificate becomes the name of a principal."""

    source: str
    pattern: Pattern
    name: Pattern

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Raises ConfigurationError."""
        source, has_pattern, rest = text.partition("=")
        source = source.strip().lower()
        if source not in _SOURCES:
            raise ConfigurationError(
                f"{SETTING} knows {', '.join(_SOURCES)} as sources, not {source or 'an empty one'}"
            )
        pattern, arrow, name = rest.partition(_ARROW) if has_pattern else ("*", _ARROW, "*")
        try:
            rule = cls(source, Pattern.of(pattern.strip()), Pattern.of(name.strip() if arrow else "*"))
        except ValueError as error:
            raise ConfigurationError(f"{SETTING} rule {text.strip()}: {error}") from None
        if rule.pattern.after is None and rule.name.after is not None:
            raise ConfigurationError(f"{SETTING} rule {text.strip()}: the name has a * and the pattern none")
        return rule

    def names(self, peer: PeerCertificate) -> set[str]:
        found = {value: self.pattern.fits(value) for value in _SOURCES[self.source](peer)}
        return {self.name.filled(part) for part in found.values() if part is not None}


class IdentityRules:
    """The rules of one edge."""

    def __init__(self, text: str = DEFAULT_RULES) -> None:
        self._rules = tuple(Rule.parse(part) for part in text.split(",") if part.strip())
        if not self._rules:
            raise ConfigurationError(f"{SETTING} has no rule: a certificate would name nobody")

    def name(self, peer: PeerCertificate) -> str | None:
        """The name of a principal, None where no rule fits; raises IdentityUnknown where one gives several names."""
        for rule in self._rules:
            names = rule.names(peer)
            if len(names) > 1:
                raise IdentityUnknown(f"the certificate has several names of the kind {rule.source}")
            for name in names:
                return as_principal(name)
        return None

    def of_common_name(self, common_name: str) -> str | None:
        """The name by the first rule for common names that fits: for proxies that pass on nothing more."""
        for rule in self._rules:
            part = rule.pattern.fits(common_name) if rule.source == "cn" else None
            if part is not None:
                return as_principal(rule.name.filled(part))
        return None


def as_principal(name: str) -> str:
    """A name as the directory has it: people by their e-mail in lower case; raises IdentityUnknown."""
    if len(name) > _MAX_NAME or not name.isprintable():
        raise IdentityUnknown("the certificate names nobody: its name is too long or cannot be printed")
    return name.strip().lower() if "@" in name else name
