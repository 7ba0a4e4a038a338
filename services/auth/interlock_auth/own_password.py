"""Changing a password: one's own by knowing it, someone else's by holding at least what they hold.

With a password ends what was issued while it was the password: logins, sessions of browsers, grants and tokens.
"""

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.asking import asker
from interlock_auth.directory import Directory
from interlock_auth.errors import PasswordRefused, UserNotFound
from interlock_auth.identity_store import IdentityStore
from interlock_auth.outlet import Outlet
from interlock_auth.password_rules import PasswordRules
from interlock_auth.passwords import Passwords
from interlock_auth.principals import Principals
from interlock_auth.selectors import Selectors
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_auth.users import one_time_password
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InvalidInput
from interlock_common.messages.common import Empty
from interlock_common.messages.identities import ChangePassword, PasswordReset, ResetPassword


class PasswordChanges:
    """Sets passwords; each is published, and what it ends is revoked, before it is answered."""

    def __init__(
        self, engine: AsyncEngine, directory: Directory, outlet: Outlet, passwords: Passwords, principals: Principals,
        selectors: Selectors, rules: PasswordRules, clock: Clock,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._directory = directory
        self._outlet = outlet
        self._passwords = passwords
        self._principals = principals
        self._selectors = selectors
        self._rules = rules
        self._clock = clock

    async def change(self, request: ChangePassword) -> Empty:
        """One's own; guesses at the present one count as failed logins do."""
        async with transaction(self._engine) as session:
            asking = await asker(Store(session), request.actor)
        await self._principals.prove(asking.name, request.current)
        if request.new == request.current:
            raise PasswordRefused("a new password must differ from the present one")
        self._rules.check(request.new, asking.name)
        await self._set(asking.name, request.new, by=asking.name, must_change=False)
        await self._outlet.record("password.changed", asking.name, asking.name)
        return Empty()

    async def reset(self, request: ResetPassword) -> PasswordReset:
        """Someone else's; it must be changed at the next login, which opens nothing else."""
        async with transaction(self._engine) as session:
            asking = await asker(Store(session), request.actor)
            asking.require("users.update")
            row = await IdentityStore(session).user(request.name)
            if row is None:
                raise UserNotFound(f"there is no user {request.name}")
            if row.kind == "service":
                raise InvalidInput("a service account has no password", field="name")
            asking.require_to_hold_all_of(principal_of(row))
        if request.new is not None:
            self._rules.check(request.new, request.name)
        made = one_time_password() if request.new is None else None
        await self._set(request.name, request.new or made or "", by=asking.name, must_change=True)
        await self._outlet.record("password.reset", asking.name, request.name)
        return PasswordReset(made)

    async def _set(self, name: str, password: str, *, by: str, must_change: bool) -> None:
        password_hash = await self._passwords.hash(password)
        async with transaction(self._engine) as session:
            await IdentityStore(session).change_user(
                name, password_hash=password_hash, must_change_password=must_change
            )
            await Store(session).forget_failures(name)
        # Tokens say when they were issued in whole seconds. Who changes the own password logs in anew within this one;
        # of whose password is reset nothing of it is left.
        before = int(self._clock.time()) + must_change
        await self._selectors.end_user(name, before, by=by, reason="the password is a new one")
        await self._directory.publish([name])
