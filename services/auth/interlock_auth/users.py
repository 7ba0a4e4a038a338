"""Users and service accounts: who there is, and who registers."""

import secrets
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth import names
from interlock_auth.asking import Asker, asker
from interlock_auth.directory import Directory
from interlock_auth.effective import RolesOf
from interlock_auth.errors import LastAdministrator, NameTaken, NotPermitted, RegistrationClosed, UserNotFound
from interlock_auth.identity_store import IdentityStore
from interlock_auth.models import PrincipalRow
from interlock_auth.outlet import Outlet
from interlock_auth.password_rules import PasswordRules
from interlock_auth.passwords import Passwords
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InvalidInput
from interlock_common.messages.common import Empty, Page
from interlock_common.messages.identities import (
    ByName,
    CreateUser,
    NewUser,
    Register,
    UpdateUser,
    User,
    UserList,
)

MAX_PAGE = 200
_ONE_TIME_BYTES = 18


@dataclass(frozen=True)
class UserRules:
    """Which passwords may be set, and whether people may register themselves."""

    passwords: PasswordRules
    registration: bool = False


class Users:
    """What is done with users; each change is published before it is answered."""

    def __init__(
        self, engine: AsyncEngine, directory: Directory, outlet: Outlet, passwords: Passwords, rules: UserRules,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._directory = directory
        self._outlet = outlet
        self._passwords = passwords
        self._rules = rules
        self._clock = clock

    async def create(self, request: CreateUser) -> NewUser:
        """A new user without roles; raises NameTaken, also for a name that was deleted."""
        name = names.user_name(request.kind, request.name)
        async with transaction(self._engine) as session:
            asking = await asker(Store(session), request.actor)
        asking.require("users.create")
        if request.is_admin:
            asking.require_unlimited()
        password, one_time = self._first_password(request, name)
        row = PrincipalRow(
            name=name, kind=request.kind, full_name=names.full_name(request.full_name), is_admin=request.is_admin,
            active=True, password_hash=None if password is None else await self._passwords.hash(password),
            must_change_password=password is not None and (request.must_change_password or one_time is not None),
            created_at=int(self._clock.time()),
        )  # fmt: skip
        async with transaction(self._engine) as session:
            if not await Store(session).add_principal(row):
                raise NameTaken(f"there is, or was, a user {name}; names are not given twice", name=name)
        await self._outlet.record("user.created", asking.name, name, kind=request.kind, is_admin=request.is_admin)
        await self._directory.publish([name])
        return NewUser(await self._shown(name), one_time)

    async def list(self, request: Page) -> UserList:
        """By name; the cursor is the last name of the page before."""
        limit = max(1, min(request.limit, MAX_PAGE))
        async with transaction(self._engine) as session:
            asking = await asker(Store(session), request.actor)
            asking.require("users.read")
            store = IdentityStore(session)
            rows = await store.users(request.cursor, limit + 1)
            page = rows[:limit]
            roles = await store.roles_of(row.name for row in page)
        shown = tuple(user_of(row, roles[row.name]) for row in page)
        return UserList(shown, page[-1].name if len(rows) > limit else None)

    async def get(self, request: ByName) -> User:
        """Oneself, or anybody with ``users.read``."""
        async with transaction(self._engine) as session:
            asking = await asker(Store(session), request.actor)
            if request.name != asking.name:
                asking.require("users.read")
        return await self._shown(request.name)

    async def update(self, request: UpdateUser) -> User:
        """Change what is given; an inactive user is refused everywhere as soon as this is answered."""
        async with transaction(self._engine) as session:
            store = IdentityStore(session)
            asking = await asker(Store(session), request.actor)
            changes = _changes(asking, request)
            row = await _found(store, request.name, asking)
            if row.kind == "service" and request.is_admin:
                raise InvalidInput("a service account is no administrator", field="is_admin")
            leaves = row.is_admin and row.active and not (
                changes.get("is_admin", True) and changes.get("active", True)
            )  # fmt: skip
            if leaves:
                await require_another(store, row.name)
            if changes:
                await store.change_user(row.name, **changes)
        await self._outlet.record("user.updated", asking.name, request.name, **changes)
        await self._directory.publish([request.name])
        return await self._shown(request.name)

    async def delete(self, request: ByName) -> Empty:
        """The user ends at once; the name stays taken, since tokens and records speak of it."""
        async with transaction(self._engine) as session:
            store = IdentityStore(session)
            asking = await asker(Store(session), request.actor)
            asking.require("users.delete")
            row = await _found(store, request.name, asking)
            if row.is_admin and row.active:
                await require_another(store, row.name)
            await store.forget_roles(row.name)
            await store.change_user(
                row.name, active=False, is_admin=False, password_hash=None, full_name="", must_change_password=False,
                teams="[]", permissions="[]", team_permissions="{}", deleted_at=int(self._clock.time()),
            )  # fmt: skip
        await self._outlet.record("user.deleted", asking.name, request.name)
        await self._directory.publish([request.name])
        return Empty()

    async def register(self, request: Register) -> Empty:
        """A new person without roles. Whether the e-mail was taken is not said, and costs the same."""
        if not self._rules.registration:
            raise RegistrationClosed("people do not register themselves here; ask an administrator for an account")
        name = names.email(request.email)
        self._rules.passwords.check(request.password, name)
        row = PrincipalRow(
            name=name, password_hash=await self._passwords.hash(request.password), active=True, is_admin=False,
            full_name=names.full_name(request.full_name), created_at=int(self._clock.time()),
        )  # fmt: skip
        async with transaction(self._engine) as session:
            created = await Store(session).add_principal(row)
        self._outlet.record_soon("user.registered" if created else "user.registration_refused", name, name)
        await self._directory.publish([name])
        return Empty()

    def _first_password(self, request: CreateUser, name: str) -> tuple[str | None, str | None]:
        """The password to set, and the same once more where it was made here and has to be shown."""
        if request.kind == "service":
            if request.password is not None or request.is_admin:
                raise InvalidInput("a service account has no password and is no administrator", field="kind")
            return None, None
        if request.password is None:
            made = one_time_password()
            return made, made
        self._rules.passwords.check(request.password, name)
        return request.password, None

    async def _shown(self, name: str) -> User:
        async with transaction(self._engine) as session:
            return await shown(IdentityStore(session), name)


async def shown(store: IdentityStore, name: str) -> User:
    """A user as everybody who may see it is told of it; raises UserNotFound."""
    row = await store.user(name)
    if row is None:
        raise UserNotFound(f"there is no user {name}")
    return user_of(row, (await store.roles_of([name]))[name])


async def require_another(store: IdentityStore, name: str) -> None:
    """Raise LastAdministrator where nobody but ``name`` could let anybody in again."""
    if not await store.active_administrators() - {name}:
        raise LastAdministrator(f"{name} is the last active administrator")


def user_of(row: PrincipalRow, roles: RolesOf) -> User:
    principal = principal_of(row)
    return User(
        row.name, "service" if row.kind == "service" else "person", row.full_name, row.active, row.is_admin,
        row.must_change_password, principal.teams, roles.shown(is_admin=row.is_admin), principal.permissions,
        principal.team_permissions, row.created_at,
    )  # fmt: skip


def one_time_password() -> str:
    """One that no rule for passwords has to judge: 144 random bits."""
    return secrets.token_urlsafe(_ONE_TIME_BYTES)


def _changes(asking: Asker, request: UpdateUser) -> dict[str, object]:
    """What is to be changed, once it is sure that the asker may."""
    changes: dict[str, object] = {}
    if request.full_name is not None:
        changes["full_name"] = names.full_name(request.full_name)
    if request.active is not None:
        changes["active"] = request.active
    if request.is_admin is not None:
        asking.require_unlimited()
        changes["is_admin"] = request.is_admin
    if request.name != asking.name or set(changes) - {"full_name"}:
        asking.require("users.update")
    return changes


async def _found(store: IdentityStore, name: str, asking: Asker) -> PrincipalRow:
    row = await store.user(name)
    if row is None:
        raise UserNotFound(f"there is no user {name}")
    if row.is_admin and name != asking.name and not asking.unlimited:
        raise NotPermitted("what concerns an administrator needs an administrator whose credential is not limited")
    return row
