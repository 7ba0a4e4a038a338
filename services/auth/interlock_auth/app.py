"""The only wiring of auth."""

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.administrator import FirstAdministrator, ensure_administrator
from interlock_auth.assertions import Assertions
from interlock_auth.bus import BusOutlet, bind, bind_tokens, ensure_buckets
from interlock_auth.changing_tokens import ChangingTokens
from interlock_auth.config import Settings
from interlock_auth.credential_uses import CredentialUses
from interlock_auth.errors import KeyUnusable
from interlock_auth.federation import Federation, FederationRules
from interlock_auth.fetching import GuardedFetcher
from interlock_auth.heartbeat import Heartbeats
from interlock_auth.housekeeping import Housekeeping
from interlock_auth.identities import Identities
from interlock_auth.issuer_file import read_issuers
from interlock_auth.issuer_settings import IssuerRules
from interlock_auth.keys import Keyring, KeyRules
from interlock_auth.oauth import AuthorizationServer, OAuthRules
from interlock_auth.oauth_grants import LifetimeRules
from interlock_auth.oauth_registration import RegistrationRules
from interlock_auth.oauth_sessions import SessionRules
from interlock_auth.password_rules import PasswordRules
from interlock_auth.passwords import Passwords
from interlock_auth.principals import LoginRules, Principals
from interlock_auth.receipts import Receipts
from interlock_auth.revocation import Revocations
from interlock_auth.selectors import Selectors
from interlock_auth.signing import KeyFolder, SigningPair, read_pair, secret_pair
from interlock_auth.token_uses import TokenUses
from interlock_auth.tokens import Mint, TokenRules, Tokens, settings_left_default
from interlock_auth.users import UserRules
from interlock_common.addresses import AddressPolicy
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.database import open_engine, shows_identity
from interlock_common.errors import Unavailable
from interlock_common.identity import Identity
from interlock_common.messages import subjects
from interlock_common.messages.revocation import ReadRevoked, Revoke
from interlock_common.runtime import Service, running
from interlock_common.sealing import Sealer

_RETRY_SECONDS = 0.5
_log = structlog.get_logger(__name__)


class Auth:
    """The parts of auth, wired to one service process."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        engine: AsyncEngine,
        passwords: Passwords,
        brought: SigningPair | None,
        federation: FederationRules,
    ) -> None:
        self._service = service
        clock = service.clock
        outlet = BusOutlet(service.bus, service.audit, clock)
        self._keyring = Keyring(engine, KeyFolder(settings.key_dir), outlet, key_rules(settings), clock, brought)
        rules = token_rules(settings)
        if not settings.development and (left := settings_left_default(rules)):
            _log.warning("tokens carry default names outside development", settings=left)
        mint = Mint(engine, self._keyring, rules, clock)
        self._principals = Principals(engine, outlet, passwords, mint, login_rules(settings), clock)
        receipts = Receipts(clock)
        self._heartbeats = Heartbeats(service.bus, receipts, clock)
        revocations = Revocations(engine, outlet, clock, receipts)
        lifetime = settings.max_token_lifetime if settings.require_token_expiration else None
        selectors = Selectors(engine, outlet, revocations, receipts, clock, max_lifetime=lifetime)
        changing, uses = ChangingTokens(engine, outlet, clock), TokenUses(engine, clock)
        bind_tokens(service.bus, changing, uses)
        oauth = AuthorizationServer(engine, self._principals, mint, revocations, outlet, oauth_rules(settings), clock)
        oauth.bind(service.bus)
        self._federation = Federation(
            engine, GuardedFetcher(issuer_addresses(settings)), self._principals.directory, oauth.sessions, outlet,
            sealer_of(settings), federation, clock,
        )  # fmt: skip
        self._federation.bind(service.bus)
        credentials = CredentialUses(engine, clock)
        credentials.bind(service.bus)
        self._housekeeping = Housekeeping(
            engine, self._keyring, self._principals, revocations, selectors, changing, uses, clock,
            settings.housekeeping_interval, (oauth, self._federation, credentials),
        )  # fmt: skip
        self._reconciled = False
        assertions = Assertions(engine, self._keyring, rules, outlet, clock)
        identities = Identities.of(engine, outlet, passwords, self._principals, selectors, user_rules(settings), clock)
        identities.roles.changed = self._federation.keys.publish_changed
        identities.bind(service.bus)
        bind(service.bus, self._principals, Tokens(engine, mint, outlet, clock), revocations, self._keyring, assertions)
        service.bus.endpoint(subjects.AUTH_REVOCATION_CREATE, Revoke, selectors.revoke)
        service.bus.endpoint(subjects.AUTH_REVOCATION_READ, ReadRevoked, self._heartbeats.page)
        service.health.ready_when("buckets", lambda: None if self._reconciled else "the buckets are not filled yet")

    async def run(self) -> None:
        """Serve until the process is told to end."""
        await self._service.run(on_connected=self._fill)

    async def _fill(self) -> None:
        """Fill the buckets, trying until the bus takes it: JetStream may come up after the connection."""
        while True:
            try:
                await ensure_buckets(self._service.bus)
                await self._keyring.prepare()
                await self._housekeeping.reconcile(await self._heartbeats.prepare())
                break
            except Unavailable:
                await self._service.clock.sleep(_RETRY_SECONDS)
        self._reconciled = True
        self._service.background(self._heartbeats.run(), "heartbeats of revocations")
        self._service.background(self._housekeeping.run(), "housekeeping")
        self._service.background(self._federation.read_keys(), "keys of issuers")


async def serve(settings: Settings) -> None:
    """Run auth with ``settings``; whatever they get wrong ends it before the service joins the bus."""
    brought = brought_key(settings)
    federation = federation_rules(settings)
    passwords = Passwords()
    engine = open_engine(settings.database_url, Identity("auth", settings.trust_domain, settings.identity_dir))
    joins_first = shows_identity(settings.database_url)
    try:
        if not joins_first:
            await ensure_administrator(engine, passwords, SYSTEM_CLOCK, first_administrator(settings))
        async with running(settings, "auth", description="identities, tokens and revocation") as service:
            if joins_first:
                await ensure_administrator(engine, passwords, SYSTEM_CLOCK, first_administrator(settings))
            await Auth(settings, service, engine, passwords, brought, federation).run()
    finally:
        await engine.dispose()


def first_administrator(settings: Settings) -> FirstAdministrator:
    return FirstAdministrator(
        email=settings.platform_admin_email,
        password=settings.platform_admin_password,
        min_length=settings.password_min_length,
        development=settings.development,
    )


def key_rules(settings: Settings) -> KeyRules:
    return KeyRules(settings.jwt_algorithm, settings.key_overlap, settings.key_lifetime)


def token_rules(settings: Settings) -> TokenRules:
    return TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        max_lifetime=settings.max_token_lifetime,
        require_expiration=settings.require_token_expiration,
        environment=settings.environment if settings.embed_environment_in_tokens else None,
    )


def login_rules(settings: Settings) -> LoginRules:
    return LoginRules(
        max_failures=settings.max_failed_login_attempts,
        lockout=settings.account_lockout_duration_minutes * 60,
        session_lifetime=min(settings.session_token_lifetime, settings.max_token_lifetime),
    )


def user_rules(settings: Settings) -> UserRules:
    passwords = PasswordRules(
        settings.password_min_length,
        uppercase=settings.password_require_uppercase,
        lowercase=settings.password_require_lowercase,
        numbers=settings.password_require_numbers,
        special=settings.password_require_special,
    )
    return UserRules(passwords, registration=settings.public_registration_enabled)


def oauth_rules(settings: Settings) -> OAuthRules:
    access = min(settings.oauth_access_token_lifetime, settings.max_token_lifetime)
    return OAuthRules(
        LifetimeRules(access, settings.oauth_refresh_token_lifetime, settings.jwt_audience),
        SessionRules(settings.browser_session_idle, settings.browser_session_lifetime),
        RegistrationRules(settings.clients_register, settings.oauth_max_clients),
    )


def federation_rules(settings: Settings) -> FederationRules:
    """What authorization servers of others there may be, and those that the operator's file names."""
    issuer_addresses(settings)
    rules = IssuerRules(settings.jwt_issuer, settings.jwt_audience, loopback=settings.allow_private_issuers)
    path = settings.external_issuers_file
    return FederationRules(rules, () if path is None else read_issuers(path, rules))


def issuer_addresses(settings: Settings) -> AddressPolicy:
    """Where authorization servers of others may be."""
    return AddressPolicy.of(
        allow_private=settings.allow_private_issuers, allowed=settings.allow_issuer_networks,
        setting="ALLOW_ISSUER_NETWORKS",
    )  # fmt: skip


def sealer_of(settings: Settings) -> Sealer | None:
    secret = settings.auth_encryption_secret
    return None if secret is None else Sealer(secret.get_secret_value().encode())


def brought_key(settings: Settings) -> SigningPair | None:
    """The key that the operator brings, if any: a shared secret for HS256, else a PEM file."""
    if settings.jwt_algorithm == "HS256":
        if not settings.jwt_publish_secret:
            raise KeyUnusable(
                "JWT_ALGORITHM HS256 needs JWT_PUBLISH_SECRET=true: edges then verify with the secret itself, so each "
                "of them, and whoever reads the bucket signing-keys, could sign tokens; EdDSA has no such weakness"
            )
        return secret_pair(settings.jwt_secret_key, development=settings.development)
    if settings.jwt_private_key_path is not None:
        return read_pair(settings.jwt_private_key_path, settings.jwt_algorithm, settings.jwt_public_key_path)
    return None
