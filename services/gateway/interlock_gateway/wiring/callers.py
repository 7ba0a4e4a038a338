"""Who may call: what tokens must say, for how long what is known of revocations counts, and how often one may call."""

from dataclasses import dataclass

import structlog

from interlock_common.messages import subjects
from interlock_common.messages.issuers import KeysRead, KeyWanted
from interlock_common.messages.token_usage import ReportUses, UsesCounted
from interlock_gateway.authentication import Authenticator
from interlock_gateway.claims import ClaimRules
from interlock_gateway.config import Settings
from interlock_gateway.confirming import Confirming
from interlock_gateway.external_issuers.tokens import ExternalTokens
from interlock_gateway.external_issuers.wanted import WantedKeys
from interlock_gateway.guard.gossip import Gossip
from interlock_gateway.guard.rate_limits import RateLimits
from interlock_gateway.lease import Lease
from interlock_gateway.live import LiveWork
from interlock_gateway.revocations import Revocations
from interlock_gateway.token_scopes import ScopeGate
from interlock_gateway.usage import UsageReports, Uses
from interlock_gateway.wiring.certificates import Certificates, certificates_at
from interlock_gateway.wiring.ground import Ground

_log = structlog.get_logger()
_KEY_SECONDS = 20.0  # auth asks the provider twice, for five seconds each
_GUARDS = ("jwt_issuer_verification", "jwt_audience_verification", "require_token_expiration", "require_jti")
_DEFAULTS = {name: Settings.model_fields[name].default for name in ("jwt_issuer", "jwt_audience")}


@dataclass(frozen=True, slots=True)
class Callers:
    """What decides whether somebody is let in; ``live`` is the work of those who were."""

    authenticator: Authenticator
    lease: Lease
    live: LiveWork
    limits: RateLimits
    confirming: Confirming
    gossip: Gossip
    usage: UsageReports
    certificates: Certificates
    wanted: WantedKeys


def callers_at(ground: Ground) -> Callers:
    """Everything that a credential is checked with."""
    settings, mirrors, clock = ground.settings, ground.mirrors, ground.clock
    uses = Uses()
    wanted = _wanted(ground)
    lease = _lease(ground)
    certificates = certificates_at(ground)
    authenticator = Authenticator(
        mirrors.keys,
        mirrors.principals,
        Revocations(lambda: mirrors.revocations.items),
        rules=claim_rules(settings),
        clock=clock,
        gate=ScopeGate(uses, mirrors.token_scopes),
        resources=lambda server_id: ground.catalog.audiences(server_id, settings.own_url),
        require_fresh=lease.require_unless_sorted_later,
        external=ExternalTokens(mirrors.issuers, mirrors.identities, mirrors.principals, clock, wanted),
        identities=certificates.identities,
    )
    limits = RateLimits(settings.rates, clock)
    return Callers(
        authenticator=authenticator,
        lease=lease,
        live=LiveWork(authenticator.counts),
        limits=limits,
        confirming=Confirming(ground.bus, ground.subscribed, mirrors.revocations, lease),
        gossip=Gossip(limits, ground.bus, ground.subscribed, clock),
        usage=_usage(ground, uses),
        wanted=wanted,
        certificates=certificates,
    )


def claim_rules(settings: Settings) -> ClaimRules:
    """What tokens must say here; whatever an operator has switched off is said aloud."""
    off = [name for name in _GUARDS if not getattr(settings, name)]
    if off:
        _log.warning("tokens are checked less than they could be", switched_off=[name.upper() for name in off])
    left = [name for name in ("jwt_issuer", "jwt_audience") if getattr(settings, name) == _DEFAULTS[name]]
    if left and settings.environment != "development":
        _log.warning(
            "another deployment that left these settings as well would take our tokens, and we its",
            settings=[name.upper() for name in left],
        )
    return ClaimRules(
        settings.jwt_issuer,
        settings.jwt_audience,
        verify_issuer=settings.jwt_issuer_verification,
        verify_audience=settings.jwt_audience_verification,
        require_expiration=settings.require_token_expiration,
        require_jti=settings.require_jti,
        environment=settings.environment if settings.validate_token_environment else None,
    )


def _lease(ground: Ground) -> Lease:
    revocations = ground.mirrors.revocations

    def reread() -> None:
        """Read what is revoked anew, unless that is under way already."""
        if not revocations.reading:
            ground.service.background(revocations.reread(), "revocations are read anew")

    return Lease(
        ground.clock, ground.settings.revocation_lease, lambda: revocations.applied,
        lambda: revocations.items.digest, reread, ground.settings.going_on,
    )  # fmt: skip


def _wanted(ground: Ground) -> WantedKeys:
    async def ask(wanted: KeyWanted) -> KeysRead:
        return await ground.bus.request(subjects.AUTH_ISSUER_KEY_WANTED, wanted, KeysRead, timeout=_KEY_SECONDS)

    return WantedKeys(ask, ground.clock)


def _usage(ground: Ground, uses: Uses) -> UsageReports:
    async def tell(said: ReportUses) -> UsesCounted:
        return await ground.bus.request(subjects.AUTH_TOKEN_USED, said, UsesCounted)

    return UsageReports(uses, tell, ground.bus.instance, ground.clock)
