"""Browsers in which somebody logged in: an idle and an absolute end, and a logout that counts here."""

import secrets
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.oauth_grants import selectors_of
from interlock_auth.oauth_models import BrowserSessionRow
from interlock_auth.oauth_store import OAuthStore, digest_of
from interlock_auth.outlet import Outlet
from interlock_auth.principals import Principals
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Login, Principal
from interlock_common.messages.common import Empty
from interlock_common.messages.oauth import BrowserSession, EndSession, StartSession

_MAX_COOKIE = 128


@dataclass(frozen=True)
class SessionRules:
    """After how many seconds without use, and after how many at all, a session ends."""

    idle: int = 1800
    lifetime: int = 8 * 3600


class BrowserSessions:
    """The sessions of browsers at the authorization endpoint; they open nothing else."""

    def __init__(
        self, engine: AsyncEngine, principals: Principals, outlet: Outlet, rules: SessionRules, clock: Clock
    ) -> None:
        self._engine = engine
        self._principals = principals
        self._outlet = outlet
        self._rules = rules
        self._clock = clock

    async def login(self, request: StartSession) -> BrowserSession:
        """A session for an e-mail and a password; always a new one, so that none can be planted."""
        principal = await self._principals.verified(Login(request.email, request.password))
        return await self.begin(principal.name)

    async def begin(self, principal: str, **how: str) -> BrowserSession:
        """A session of somebody who has shown who they are; ``how`` is for the audit record."""
        session = secrets.token_urlsafe(32)
        now = int(self._clock.time())
        row = BrowserSessionRow(digest=digest_of(session), principal=principal, created_at=now, seen_at=now)
        async with transaction(self._engine) as transacted:
            await OAuthStore(transacted).add(row)
        await self._outlet.record("session.started", principal, principal, **how)
        return BrowserSession(session, principal, self._rules.lifetime)

    async def forget_ended(self) -> None:
        """Forget the sessions that ended by themselves, and what was granted until now."""
        now = int(self._clock.time())
        async with transaction(self._engine) as transacted:
            store = OAuthStore(transacted)
            await store.prune_sessions(now, self._rules.idle, self._rules.lifetime)
            await store.prune_grants(now)

    async def logout(self, request: EndSession) -> Empty:
        """End a session; one that is not there is ended already."""
        async with transaction(self._engine) as transacted:
            principal = await OAuthStore(transacted).end_session(digest_of(request.session[:_MAX_COOKIE]))
        if principal is not None:
            self._outlet.record_soon("session.ended", principal, principal)
        return Empty()

    async def principal(self, session: str) -> Principal | None:
        """Who is logged in with this cookie now; the session counts as used."""
        if not session or len(session) > _MAX_COOKIE:
            return None
        now = int(self._clock.time())
        async with transaction(self._engine) as transacted:
            store = OAuthStore(transacted)
            found = await store.touch_session(digest_of(session), now, self._rules.idle, self._rules.lifetime)
            row = None if found is None else await Store(transacted).principal(found[0])
            if found is None or row is None or not row.active:
                return None
            principal = principal_of(row)
            stopped = await Store(transacted).covered(selectors_of(principal), found[1])
        return None if stopped else principal
