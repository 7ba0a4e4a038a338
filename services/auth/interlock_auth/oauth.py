"""The authorization server as one: its parts, put together from what auth has."""

from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.client_assertions import ClientAuthentication
from interlock_auth.oauth_authorization import Authorizations
from interlock_auth.oauth_exchange import Narrowing
from interlock_auth.oauth_grants import GrantFamilies, LifetimeRules, Revoker
from interlock_auth.oauth_inspection import Inspection
from interlock_auth.oauth_registration import Registration, RegistrationRules
from interlock_auth.oauth_sessions import BrowserSessions, SessionRules
from interlock_auth.oauth_tokens import TokenExchange
from interlock_auth.outlet import Outlet
from interlock_auth.principals import Principals
from interlock_auth.tokens import Mint
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.messages import subjects
from interlock_common.messages.common import ById, Page
from interlock_common.messages.oauth import (
    Authorize,
    EndSession,
    IntrospectToken,
    RegisterClient,
    RevokeGrantedToken,
    StartSession,
    TokenRequest,
)


@dataclass(frozen=True)
class OAuthRules:
    """How long things last, and who may register clients."""

    lifetimes: LifetimeRules = field(default_factory=LifetimeRules)
    sessions: SessionRules = field(default_factory=SessionRules)
    registration: RegistrationRules = field(default_factory=RegistrationRules)


class AuthorizationServer:
    """Clients, sessions, grants and tokens of OAuth 2.1."""

    def __init__(
        self, engine: AsyncEngine, principals: Principals, mint: Mint, revoker: Revoker, outlet: Outlet,
        rules: OAuthRules, clock: Clock,
    ) -> None:  # fmt: skip
        families = GrantFamilies(engine, mint, revoker, outlet, rules.lifetimes, clock)
        clients = ClientAuthentication(engine, clock)
        narrowing = Narrowing(engine, mint, outlet, rules.lifetimes, clock)
        self.sessions = BrowserSessions(engine, principals, outlet, rules.sessions, clock)
        self.registration = Registration(engine, families, outlet, rules.registration, clock)
        self.authorizations = Authorizations(engine, self.sessions, outlet, rules.lifetimes, clock)
        self.tokens = TokenExchange(engine, families, clients, narrowing, clock)
        self.inspection = Inspection(engine, families, clients, revoker, clock)

    async def reconcile(self) -> None:
        """Nothing of it is in a bucket."""

    async def tidy(self) -> None:
        """Forget sessions, grants with all that was issued for them, and clients, once nothing depends on them."""
        await self.sessions.forget_ended()
        await self.registration.forget_unused()

    def bind(self, bus: Bus) -> None:
        """Answer the subjects of the authorization server."""
        bus.endpoint(subjects.AUTH_OAUTH_REGISTER, RegisterClient, self.registration.register)
        bus.endpoint(subjects.AUTH_OAUTH_CLIENTS, Page, self.registration.list)
        bus.endpoint(subjects.AUTH_OAUTH_UNREGISTER, ById, self.registration.remove)
        bus.endpoint(subjects.AUTH_OAUTH_LOGIN, StartSession, self.sessions.login)
        bus.endpoint(subjects.AUTH_OAUTH_LOGOUT, EndSession, self.sessions.logout)
        bus.endpoint(subjects.AUTH_OAUTH_AUTHORIZE, Authorize, self.authorizations.authorize)
        bus.endpoint(subjects.AUTH_OAUTH_TOKEN, TokenRequest, self.tokens.exchange)
        bus.endpoint(subjects.AUTH_OAUTH_REVOKE, RevokeGrantedToken, self.inspection.revoke)
        bus.endpoint(subjects.AUTH_OAUTH_INTROSPECT, IntrospectToken, self.inspection.introspect)
