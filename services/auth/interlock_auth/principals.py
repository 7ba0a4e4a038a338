"""Who exists, and logging in."""

import uuid
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.containment import Grant
from interlock_auth.directory import Directory
from interlock_auth.errors import LockedOut, LoginRefused, PasswordMustChange
from interlock_auth.models import PrincipalRow
from interlock_auth.names import MAX_EMAIL_LENGTH, normalized
from interlock_auth.outlet import Outlet
from interlock_auth.passwords import Passwords
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_auth.tokens import Mint
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Login, Principal, Scopes
from interlock_common.messages.identities import LoggedIn

PASSWORD_ONLY = "password.change"  # noqa: S105 - a scope, and not a permission that anybody holds
"""The scope of a token with which one can only change one's password."""


@dataclass(frozen=True)
class LoginRules:
    """After ``max_failures`` failed logins in a row an e-mail is locked for ``lockout`` seconds.

    ``session_lifetime`` is how long the token of a login lives, in seconds.
    """

    max_failures: int
    lockout: int
    session_lifetime: int


class Principals:
    """The principals of the deployment."""

    def __init__(
        self, engine: AsyncEngine, outlet: Outlet, passwords: Passwords, mint: Mint, rules: LoginRules, clock: Clock
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self.directory = Directory(engine, outlet)
        self._passwords = passwords
        self._mint = mint
        self._rules = rules
        self._clock = clock

    async def login(self, request: Login) -> LoggedIn:
        """A short-lived token for an e-mail and a password; one that opens nothing where the password must change."""
        row = await self.prove(request.email, request.password)
        principal = principal_of(row)
        grant = Grant(Scopes(), None if principal.is_admin else principal.teams)
        if row.must_change_password:
            grant = Grant(Scopes(permissions=(PASSWORD_ONLY,)), ())
        session = str(uuid.uuid4())
        issued = await self._mint.issue(principal, "login", self._rules.session_lifetime, grant, {"sid": session})
        await self._outlet.record(
            "login.accepted", principal.name, issued.id, session=session, expires_at=issued.expires_at
        )
        return LoggedIn(issued.id, issued.token, issued.expires_at, row.must_change_password)

    async def verified(self, request: Login) -> Principal:
        """The principal whom an e-mail and a password belong to; raises LoginRefused, LockedOut, PasswordMustChange."""
        row = await self.prove(request.email, request.password)
        if row.must_change_password:
            raise PasswordMustChange("this password must be changed first, see POST /users/me/password")
        return principal_of(row)

    async def prove(self, email: str, password: str) -> PrincipalRow:
        """The active principal of that e-mail and password; raises LoginRefused and LockedOut.

        Unknown, inactive and locked e-mails are told apart by nobody who cannot log in: all count and all lock.
        """
        email = normalized(email)[:MAX_EMAIL_LENGTH]
        row = await self._count_and_find(email)
        if not await self._passwords.verify(row.password_hash if row else None, password):
            self._outlet.record_soon("login.refused", email, email)
            raise LoginRefused("e-mail or password is wrong")
        if row is None or not row.active:
            raise LoginRefused("e-mail or password is wrong")
        await self._forget_failures(row, password)
        return row

    async def publish(self) -> None:
        """Put every principal into the bucket, as after its loss."""
        await self.directory.publish_all()

    async def forget_old_failures(self) -> None:
        async with transaction(self._engine) as session:
            await Store(session).prune_failures(int(self._clock.time()) - self._rules.lockout)

    async def _count_and_find(self, email: str) -> PrincipalRow | None:
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            store = Store(session)
            past = await store.failures(email)
            locked = past is not None and past.failures >= self._rules.max_failures
            if past is not None and locked and now - past.last_at < self._rules.lockout:
                retry_after = self._rules.lockout - (now - past.last_at)
                raise LockedOut("too many failed logins for this e-mail, try again later", retry_after=retry_after)
            attempts = await store.count_attempt(email, now, self._rules.lockout)
            row = await store.principal(email)
        if attempts > self._rules.max_failures:
            raise LockedOut("too many failed logins for this e-mail, try again later", retry_after=self._rules.lockout)
        return row

    async def _forget_failures(self, row: PrincipalRow, password: str) -> None:
        fresh_hash = None
        if row.password_hash is not None and self._passwords.is_outdated(row.password_hash):
            fresh_hash = await self._passwords.hash(password)
        async with transaction(self._engine) as session:
            store = Store(session)
            await store.forget_failures(row.name)
            if fresh_hash is not None:
                await store.set_password_hash(row.name, fresh_hash)
