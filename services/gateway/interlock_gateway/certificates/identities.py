"""Who somebody is by what they show besides a token, and whether that agrees with the token."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from interlock_common.clock import Clock
from interlock_common.messages.auth import Scopes
from interlock_gateway.certificates.binding import Bindings, Presented
from interlock_gateway.certificates.credential_uses import CredentialCounts
from interlock_gateway.certificates.errors import CertificateRefused, CredentialsDisagree, IdentityUnknown
from interlock_gateway.certificates.identity import IdentityRules, as_principal
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.shown import Shown
from interlock_gateway.certificates.standing import RevokedCertificates, Standing
from interlock_gateway.revocations import Traces, traces_of

_REMEMBERED = 10_000
_PROXY = "proxy:"


@dataclass(frozen=True, slots=True)
class Named:
    """A principal that a certificate or a trusted proxy names.

    ``credential`` stands in records and limits where a token has its id. A certificate counts as issued when it begins
    to be valid, the word of a proxy when it is said.
    """

    principal: str
    credential: str
    certificate: PeerCertificate | None
    organization: str | None
    traces: Traces


class Pins(Protocol):
    """Which certificate an identity may have."""

    def check(self, principal: str, peer: PeerCertificate | None) -> None:
        """Raise CertificatePinned where it is another one."""
        ...


class Policies(Protocol):
    """What certificates may be used for."""

    def narrowed(self, named: Named, scopes: Scopes, server_id: str | None) -> Scopes:
        """``scopes``, as far as a policy lets the certificate have them; raises PolicyRefused where none does."""
        ...


class Unpinned:
    """Every certificate of an identity counts."""

    def check(self, _principal: str, _peer: PeerCertificate | None, /) -> None:
        return None


class Unlimited:
    """A certificate opens whatever its principal may do."""

    def narrowed(self, _named: Named, scopes: Scopes, _server_id: str | None, /) -> Scopes:
        return scopes


class Identities:
    """What an edge makes of certificates and of the word of proxies.

    ``certificates_count`` says whether a certificate of a connection is a credential by itself; where it is none it
    still has to stand, and tokens may be bound to it.
    """

    def __init__(
        self, clock: Clock, standing: Standing, bindings: Bindings, *, rules: IdentityRules | None = None,
        certificates_count: bool = False, pins: Pins | None = None, policies: Policies | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._standing = standing
        self.bindings = bindings
        self.used = CredentialCounts()
        self._rules = rules or IdentityRules()
        self._certificates_count = certificates_count
        self._pins = pins or Unpinned()
        self._policies = policies or Unlimited()
        self._named: OrderedDict[tuple[str, str | None], Named] = OrderedDict()

    def named(self, shown: Shown) -> Named | None:
        """The principal that is named, if any; raises whatever keeps what was shown from counting."""
        if shown.trouble is not None:
            raise shown.trouble
        peer = shown.certificate
        if peer is not None:
            self._standing.check(peer)
        counts = self._certificates_count or shown.vouched
        if peer is None or (shown.user is None and not counts):
            named = None if shown.user is None else self._by_proxy(shown.user, shown.organization)
        else:
            named = self._by_certificate(peer, shown.user)
        if named is not None:
            self._pins.check(named.principal, peer)
        return named

    def presented(self, shown: Shown | None) -> Presented:
        """The certificate that tokens are bound to which this request asks for; raises what keeps it from counting."""
        if shown is not None and shown.trouble is not None:
            raise shown.trouble
        if shown is None or shown.certificate is None:
            return Presented()
        self._standing.check(shown.certificate)
        thumbprint = shown.certificate.thumbprint
        return Presented(thumbprint, self.bindings.succeeded_by(thumbprint))

    def narrowed(self, named: Named, scopes: Scopes, server_id: str | None) -> Scopes:
        return self._policies.narrowed(named, scopes, server_id)

    def counts(self, principal: str, peer: PeerCertificate) -> bool:
        """Whether a certificate that was let in for ``principal`` would be let in now."""
        try:
            self._standing.check(peer)
            self._pins.check(principal, peer)
        except CertificateRefused:
            return False
        return True

    def _by_proxy(self, user: str, organization: str | None) -> Named:
        principal = as_principal(user)
        credential = f"{_PROXY}{principal}"
        return Named(principal, credential, None, organization, _traces(credential, principal, self._clock.time()))

    def _by_certificate(self, peer: PeerCertificate, user: str | None) -> Named:
        key = peer.fingerprint, user
        known = self._named.get(key)
        if known is None:
            known = self._named[key] = self._read(peer, user)
            if len(self._named) > _REMEMBERED:
                self._named.popitem(last=False)
        return known

    def _read(self, peer: PeerCertificate, user: str | None) -> Named:
        name = self._rules.name(peer)
        if name is None:
            raise IdentityUnknown("the certificate has no name that a rule of CLIENT_CERT_IDENTITY fits")
        # A proxy that lets clients write its header must not make them somebody else.
        if user is not None and user != peer.common_name and as_principal(user) != name:
            raise CredentialsDisagree("the certificate and the proxy name different principals")
        traces = _traces(peer.fingerprint, name, peer.not_before)
        return Named(name, peer.fingerprint, peer, peer.organization, traces)


def _traces(credential: str, principal: str, issued_at: float) -> Traces:
    """By what it is revoked, beside what its standing says."""
    return traces_of(
        credential, (), principal=principal, teams=(), session=None, certificate=None, issued_at=issued_at, kid=""
    )


def nobody_identified(clock: Clock) -> Identities:
    """For an edge to which nothing but tokens is shown; a bound one is still bound."""
    standing = Standing(clock, RevokedCertificates())
    return Identities(clock, standing, Bindings(standing))
