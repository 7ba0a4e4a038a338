"""What client certificates, and the word of proxies, are checked with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError
from interlock_common.messages import subjects
from interlock_common.messages.common import Empty
from interlock_common.messages.credential_uses import ReportCredentials
from interlock_gateway.certificates.binding import Bindings, Predecessors
from interlock_gateway.certificates.credential_uses import CredentialReports
from interlock_gateway.certificates.crl_sources import SETTING as CRL_SETTING
from interlock_gateway.certificates.crl_sources import CrlSources, require_issuers
from interlock_gateway.certificates.crls import Crls
from interlock_gateway.certificates.fetching import Fetcher, check_url
from interlock_gateway.certificates.following import Followed, read_bounded
from interlock_gateway.certificates.identities import Identities
from interlock_gateway.certificates.identity import IdentityRules
from interlock_gateway.certificates.issuers import Issuers, read_issuers
from interlock_gateway.certificates.ocsp import MAX_BYTES as MAX_ANSWER
from interlock_gateway.certificates.proxy_headers import ProxyHeaders
from interlock_gateway.certificates.rules import MAX_BYTES as MAX_RULES
from interlock_gateway.certificates.rules import SETTING as RULES_SETTING
from interlock_gateway.certificates.rules import CertificateRules, RulesFile, read_rules
from interlock_gateway.certificates.standing import Check, RevokedCertificates, Standing
from interlock_gateway.certificates.statuses import OcspStatuses
from interlock_gateway.config import Settings
from interlock_gateway.wiring.ground import Ground

_LOOKED_AT_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """Everything about certificates; ``followed`` are files, which are looked at, as lists and statuses are."""

    identities: Identities
    standing: Standing
    revoked: RevokedCertificates
    headers: ProxyHeaders
    followed: tuple[Followed, ...]
    fetcher: Fetcher
    crls: CrlSources | None
    statuses: OcspStatuses | None

    def start(self, ground: Ground, changed: Callable[[], None]) -> None:
        """Keep everything current from now on; ``changed`` is called when a certificate may not count any more."""
        background = ground.service.background

        async def tell(said: ReportCredentials) -> Empty:
            return await ground.bus.request(subjects.AUTH_CREDENTIAL_USED, said, Empty)

        reports = CredentialReports(self.identities.used, tell, ground.bus.instance, ground.clock)
        background(reports.run(), "credentials that are used")
        for each in self.followed:
            each.changed = changed
            background(each.follow(), "certificate rules")
        if self.crls is not None or self.statuses is not None:
            background(_again_and_again(ground.clock, changed), "certificates whose status has ended")
        if self.crls is not None:
            self.crls.changed = changed
            background(self.crls.follow(), "CRLs")
        if self.statuses is not None:
            self.statuses.revoked = changed
            background(self.statuses.keep_fresh(), "OCSP")

    async def stop(self) -> None:
        if self.statuses is not None:
            await self.statuses.stop()
        await self.fetcher.close()


async def _again_and_again(clock: Clock, changed: Callable[[], None]) -> None:
    """A list, or an answer, ends by itself: what runs on its word ends soon after."""
    while True:
        await clock.sleep(_LOOKED_AT_EVERY)
        changed()


def certificates_at(ground: Ground) -> Certificates:
    """The parts as the settings want them; raises ConfigurationError where those contradict each other."""
    settings, mirrors, clock = ground.settings, ground.mirrors, ground.clock
    check_credentials(settings)
    followed: list[Followed] = []
    issuers = _issuers(ground, followed)
    fetcher, revoked = Fetcher(), RevokedCertificates()
    mirrors.revoked_certificates.on_change(revoked.take)
    predecessors = Predecessors()
    mirrors.successors.on_change(predecessors.take)
    checks: list[Check] = []
    crls = _crls(ground, issuers, fetcher, checks)
    statuses = _statuses(ground, issuers, fetcher)
    if statuses is not None:
        checks.append(statuses)
    standing = Standing(clock, revoked, lambda: mirrors.revocations.items.before, tuple(checks))
    rules = IdentityRules(settings.client_cert_identity)
    applied = _rules(ground, followed)
    identities = Identities(
        clock, standing, Bindings(standing, mirrors.successors, predecessors), rules=rules,
        certificates_count=settings.client_cert_auth, pins=applied, policies=applied,
    )  # fmt: skip
    verified = issuers.check if settings.client_ca_certs is not None else _trusted
    headers = ProxyHeaders(rules, settings.proxy_user_header, verified)
    return Certificates(identities, standing, revoked, headers, tuple(followed), fetcher, crls, statuses)


def check_credentials(settings: Settings) -> None:
    """Raise ConfigurationError where nobody could be let in, or what is set has no effect; say what is risky."""
    if not settings.mcp_client_auth_enabled and not (settings.trust_proxy_auth or settings.client_cert_auth):
        raise ConfigurationError(
            "MCP_CLIENT_AUTH_ENABLED is off, so clients need another way in: set TRUST_PROXY_AUTH or CLIENT_CERT_AUTH"
        )
    if settings.trust_proxy_auth and not (settings.proxies.known or settings.proxy_certificates):
        raise ConfigurationError(
            "TRUST_PROXY_AUTH is on, and neither TRUSTED_PROXIES nor PROXY_CERTIFICATES says who the proxies are"
        )
    if settings.client_cert_auth and not settings.cert_reqs:
        raise ConfigurationError("CLIENT_CERT_AUTH is on, and CERT_REQS=0 asks clients for no certificate")


def _trusted(_peer: object) -> None:
    """The proxy has verified it."""


def _issuers(ground: Ground, followed: list[Followed]) -> Issuers:
    settings, issuers = ground.settings, Issuers()
    named = (("CLIENT_CA_CERTS", settings.client_ca_certs), ("CA_CERTS", settings.ca_certs))
    setting, path = next(((setting, path) for setting, path in named if path is not None), ("", None))
    if path is not None:
        bundle: Path = path
        followed.append(Followed((bundle,), lambda: read_issuers(setting, bundle), issuers.take, ground.clock))
    return issuers


def _rules(ground: Ground, followed: list[Followed]) -> CertificateRules:
    applied, path = CertificateRules(), ground.settings.client_cert_rules_file
    if path is not None:
        file: Path = path

        def load() -> RulesFile:
            return read_rules(read_bounded(file, RULES_SETTING, MAX_RULES), str(file))

        followed.append(Followed((file,), load, applied.take, ground.clock))
    return applied


def _crls(ground: Ground, issuers: Issuers, fetcher: Fetcher, checks: list[Check]) -> CrlSources | None:
    settings = ground.settings
    if not settings.client_crl:
        return None
    require_issuers(issuers.known, CRL_SETTING)
    crls = Crls(ground.clock, hard_fail=settings.client_crl_hard_fail)
    checks.append(crls)
    return CrlSources(settings.client_crl, crls, issuers, fetcher, ground.clock, refresh=settings.client_crl_refresh)


def _statuses(ground: Ground, issuers: Issuers, fetcher: Fetcher) -> OcspStatuses | None:
    settings = ground.settings
    if settings.client_ocsp == "off":
        return None
    require_issuers(issuers.known, "CLIENT_OCSP")
    if settings.client_ocsp_url:
        check_url("CLIENT_OCSP_URL", settings.client_ocsp_url)

    async def ask(url: str, question: bytes) -> bytes:
        return await fetcher.ask(url, question, MAX_ANSWER)

    return OcspStatuses(
        ask, issuers, ground.clock, mode=settings.client_ocsp, responder=settings.client_ocsp_url
    )  # fmt: skip
