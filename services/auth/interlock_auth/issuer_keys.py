"""The keys of authorization servers of others: read by one replica for all, published with whose tokens count.

What the bucket has of an issuer is made of the database alone, so that whoever publishes last says the same.
"""

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.identity_store import TeamStore
from interlock_auth.issuer_models import IssuerRow
from interlock_auth.issuer_store import IssuerStore
from interlock_auth.outlet import Outlet
from interlock_auth.providers import ProviderEndpoints, Providers
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_common.messages.issuers import (
    IssuerSettings,
    KeysRead,
    KeyWanted,
    LoginOffer,
    PinnedKey,
    TrustedIssuer,
    issuer_key,
)
from interlock_common.messages.permissions import BUILT_IN_ROLES, PLATFORM_ADMIN
from interlock_common.messages.resources import ISSUERS

INTERVAL = 300
"""Seconds after which keys are read anew."""
AGAIN = 10
"""Seconds after which an authorization server is asked again that did not answer, or whose key was wanted."""
_MAX_ERROR = 500
_settings = msgspec.json.Decoder(IssuerSettings)
_endpoints = msgspec.json.Decoder(ProviderEndpoints)
_keys = msgspec.json.Decoder(tuple[PinnedKey, ...])
_permissions = msgspec.json.Decoder(tuple[str, ...])
_log = structlog.get_logger(__name__)


class IssuerKeys:
    """Reads and publishes; every step may be repeated, by every replica."""

    def __init__(self, engine: AsyncEngine, providers: Providers, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._providers = providers
        self._outlet = outlet
        self._clock = clock

    async def wanted(self, request: KeyWanted) -> KeysRead:
        """An edge met a key that it does not know: the provider is asked, but not for every guess."""
        async with transaction(self._engine) as session:
            row = await IssuerStore(session).issuer(request.name)
        if row is None or any(key.kid == request.kid for key in keys_of(row)):
            return KeysRead(read=False)
        return KeysRead(read=await self.read(request.name, AGAIN))

    async def read(self, name: str, pause: int) -> bool:
        """Ask a provider for its keys, unless that was less than ``pause`` seconds ago; whether it was asked.

        What goes wrong is remembered, and the keys that there were count for their grace.
        """
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            row = await store.issuer(name) if await store.begin_reading(name, now, pause) else None
        if row is None:
            return False
        try:
            endpoints, keys = await self._providers.read(settings_of(row))
        except InterlockError as error:
            changes: dict[str, object] = {"error": error.detail[:_MAX_ERROR]}
            _log.warning("the keys of an issuer cannot be read", issuer=row.issuer, reason=error.detail)
        else:
            changes = {
                "error": "", "endpoints": _json(endpoints), "keys": _json(keys), "keys_read_at": int(self._clock.time())
            }  # fmt: skip
        async with transaction(self._engine) as session:
            await IssuerStore(session).change_issuer(name, **changes)
        await self.publish(name)
        return True

    async def read_due(self) -> None:
        """Read the keys that were read long ago, or whose provider did not answer."""
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            rows = await IssuerStore(session).issuers()
        for row in rows:
            pause = AGAIN if row.error else INTERVAL
            if row.tried_at <= now - pause:
                await self.read(row.name, pause)

    async def publish(self, name: str) -> None:
        """Let the bucket say of an issuer what the database says; raises Unavailable when the bus does not take it."""
        before: str | None = None
        while True:
            async with transaction(self._engine) as session:
                row = await IssuerStore(session).issuer(name)
                told = None if row is None else await self._trusted(TeamStore(session), row)
            if row is None or told is None:
                return
            text = _json(told)
            if text == before:
                return
            before = text
            await self._outlet.put(ISSUERS, issuer_key(row.issuer), told)
            async with transaction(self._engine) as session:
                remains = await IssuerStore(session).change_issuer(name, published=text)
            if not remains:  # it was removed meanwhile, and this must not be the last word
                await self._outlet.delete(ISSUERS, issuer_key(row.issuer))

    async def publish_changed(self, *, everything: bool = False) -> None:
        """Publish what the bucket does not have as it is now, such as permissions of roles that changed."""
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            rows = await IssuerStore(session).issuers()
            told = {row.name: _json(await self._trusted(store, row)) for row in rows}
        changed = [row.name for row in rows if everything or told[row.name] != row.published]
        for name in changed:
            await self.publish(name)

    async def _trusted(self, store: TeamStore, row: IssuerRow) -> TrustedIssuer:
        said, roles = settings_of(row), await _permissions_of_roles(store)
        offer = None
        endpoints = _endpoints.decode(row.endpoints)
        if said.login is not None and endpoints.authorization_endpoint:
            offer = LoginOffer(said.login.title or said.name, endpoints.origin)
        named = said.claims.roles
        return TrustedIssuer(
            name=said.name, issuer=said.issuer, audiences=said.audiences, keys=keys_of(row),
            keys_until=row.keys_read_at + said.key_grace if row.keys_read_at else 0, accounts=said.accounts,
            administrators=said.administrators, require_access_token_type=said.require_access_token_type,
            max_lifetime=said.max_lifetime, claims=said.claims,
            permissions={value: roles.get(role, ()) for value, role in named.items() if role != PLATFORM_ADMIN},
            admin_values=tuple(value for value, role in named.items() if role == PLATFORM_ADMIN), login=offer,
        )  # fmt: skip


def settings_of(row: IssuerRow) -> IssuerSettings:
    """As it was described, without its secret."""
    return _settings.decode(row.settings)


def endpoints_of(row: IssuerRow) -> ProviderEndpoints:
    return _endpoints.decode(row.endpoints)


def keys_of(row: IssuerRow) -> tuple[PinnedKey, ...]:
    return _keys.decode(row.keys)


async def _permissions_of_roles(store: TeamStore) -> dict[str, tuple[str, ...]]:
    """Every role by what it opens now."""
    custom = {row.name: _permissions.decode(row.permissions) for row in await store.roles()}
    return custom | {name: role.permissions for name, role in BUILT_IN_ROLES.items()}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
