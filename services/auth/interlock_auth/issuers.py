"""Authorization servers of others: which there are, as administrators or the file of settings say.

Whoever names one says whose word counts for who somebody is, so only unlimited administrators do.
"""

from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.asking import Asker, asker
from interlock_auth.errors import IssuerFromFile, IssuerNotFound, IssuerRefused, SecretsNotKept
from interlock_auth.issuer_keys import IssuerKeys, keys_of, settings_of
from interlock_auth.issuer_models import IssuerRow
from interlock_auth.issuer_settings import MAX_ISSUERS, IssuerRules
from interlock_auth.issuer_store import IssuerStore
from interlock_auth.outlet import Outlet
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.common import Actor, Empty, Page
from interlock_common.messages.identities import ByName
from interlock_common.messages.issuers import (
    Issuer,
    IssuerList,
    IssuerSettings,
    SetIssuer,
    identity_key,
    issuer_key,
)
from interlock_common.messages.resources import IDENTITIES, ISSUERS
from interlock_common.sealing import SealBroken, Sealer

PERMISSION = "admin.system_config"
SEAL = "secret of a provider"
_FILE = "the file of settings"


class Issuers:
    """What is done with authorization servers of others."""

    def __init__(
        self, engine: AsyncEngine, keys: IssuerKeys, outlet: Outlet, sealer: Sealer | None, rules: IssuerRules,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._keys = keys
        self._outlet = outlet
        self._sealer = sealer
        self._rules = rules
        self._clock = clock

    async def set(self, request: SetIssuer) -> Issuer:
        """Describe one; its keys are read at once, and it is there even where that does not work yet."""
        asking = await self._administrator(request.actor)
        await self._set(request.settings, asking.name, from_file=False)
        await self._keys.read(request.settings.name, 0)
        return await self._shown(request.settings.name)

    async def list(self, request: Page) -> IssuerList:
        await self._reader(request.actor)
        async with transaction(self._engine) as session:
            rows = await IssuerStore(session).issuers()
        return IssuerList(tuple(map(_shown, rows)))

    async def get(self, request: ByName) -> Issuer:
        await self._reader(request.actor)
        return await self._shown(request.name)

    async def refresh(self, request: ByName) -> Issuer:
        """Read its keys now."""
        asking = await self._administrator(request.actor)
        await self._shown(request.name)
        await self._keys.read(request.name, 0)
        await self._outlet.record("issuer.refreshed", asking.name, request.name)
        return await self._shown(request.name)

    async def delete(self, request: ByName) -> Empty:
        """Its tokens count no more, what runs on their behalf ends, and nobody is linked to it any more."""
        asking = await self._administrator(request.actor)
        async with transaction(self._engine) as session:
            row = await IssuerStore(session).issuer(request.name)
        if row is None:
            raise IssuerNotFound(f"there is no issuer {request.name[:63]}")
        if row.from_file:
            raise IssuerFromFile(f"the issuer {row.name} is one of EXTERNAL_ISSUERS_FILE: remove it there")
        await self._remove(row, asking.name)
        return Empty()

    async def apply(self, described: tuple[IssuerSettings, ...]) -> None:
        """What the file of settings says, at a start: those that it had and has no more are removed."""
        named = {each.name for each in described}
        async with transaction(self._engine) as session:
            rows = await IssuerStore(session).issuers()
        for row in rows:
            if row.from_file and row.name not in named:
                await self._remove(row, _FILE)
        for each in described:
            await self._set(each, _FILE, from_file=True)

    async def _set(self, said: IssuerSettings, by: str, *, from_file: bool) -> None:
        self._rules.check(said)
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            rows = {row.name: row for row in await store.issuers()}
            before = rows.get(said.name)
            if before is not None and before.from_file and not from_file:
                raise IssuerFromFile(f"the issuer {said.name} is one of EXTERNAL_ISSUERS_FILE: change it there")
            if any(row.issuer == said.issuer and row.name != said.name for row in rows.values()):
                raise IssuerRefused("there is that issuer already, under another name", field="issuer")
            if before is None and len(rows) >= MAX_ISSUERS:
                raise IssuerRefused(f"there are at most {MAX_ISSUERS} issuers", field="name")
            if before is not None and before.issuer != said.issuer:
                raise IssuerRefused("the issuer of a name stays: remove it, with all who are linked", field="issuer")
            if before is not None and from_file and before.from_file and self._is(before, said):
                return
            values: dict[str, Any] = {
                "from_file": from_file, "settings": _json(settings_without_secret(said)),
                "sealed_secret": self._sealed(said, before),
            }  # fmt: skip
            if before is None:
                await store.add(IssuerRow(name=said.name, issuer=said.issuer, **values))
            else:
                await store.change_issuer(said.name, **values | _forgotten(settings_of(before), said))
        shown = msgspec.to_builtins(settings_without_secret(said))
        await self._outlet.record("issuer.set", by, said.name, issuer=said.issuer, settings=shown)
        await self._keys.publish(said.name)

    async def _remove(self, row: IssuerRow, by: str) -> None:
        """From the bucket first: nothing counts of what the database still has."""
        await self._outlet.delete(ISSUERS, issuer_key(row.issuer))
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            for identity in await store.identities(row.issuer, None, 2**31):
                await self._outlet.delete(IDENTITIES, identity_key(row.issuer, identity.subject))
                await store.remove_identity(row.issuer, identity.subject)
            await store.remove_issuer(row.name)
        await self._outlet.record("issuer.removed", by, row.name, issuer=row.issuer)

    def _sealed(self, said: IssuerSettings, before: IssuerRow | None) -> str | None:
        """The secret as it is kept: the one that is given, or that there is for the same client."""
        if said.login is None:
            return None
        if said.login.client_secret:
            if self._sealer is None:
                raise SecretsNotKept("a client secret cannot be kept: auth needs the setting AUTH_ENCRYPTION_SECRET")
            return self._sealer.seal(SEAL, said.login.client_secret.encode(), said.issuer.encode())
        known = None if before is None else settings_of(before).login
        return before.sealed_secret if before and known and known.client_id == said.login.client_id else None

    def _is(self, row: IssuerRow, said: IssuerSettings) -> bool:
        """Whether it is described like this already."""
        secret = said.login.client_secret if said.login else ""
        return settings_of(row) == settings_without_secret(said) and secret == self.secret(row)

    def secret(self, row: IssuerRow) -> str:
        """The secret of our client there, empty where it has none; raises SecretsNotKept where it cannot be opened."""
        if row.sealed_secret is None:
            return ""
        try:
            if self._sealer is not None:
                return self._sealer.open(SEAL, row.sealed_secret, row.issuer.encode()).decode()
        except SealBroken:
            pass
        raise SecretsNotKept(f"the client secret for {row.name} was sealed under another AUTH_ENCRYPTION_SECRET")

    async def _shown(self, name: str) -> Issuer:
        async with transaction(self._engine) as session:
            row = await IssuerStore(session).issuer(name)
        if row is None:
            raise IssuerNotFound(f"there is no issuer {name[:63]}")
        return _shown(row)

    async def _reader(self, actor: Actor) -> Asker:
        async with transaction(self._engine) as session:
            asking = await asker(IssuerStore(session), actor)
        asking.require(PERMISSION)
        return asking

    async def _administrator(self, actor: Actor) -> Asker:
        asking = await self._reader(actor)
        asking.require_unlimited()
        return asking


def settings_without_secret(said: IssuerSettings) -> IssuerSettings:
    if said.login is None:
        return said
    return msgspec.structs.replace(said, login=msgspec.structs.replace(said.login, client_secret=""))


def _forgotten(before: IssuerSettings, said: IssuerSettings) -> dict[str, Any]:
    """Keys that were read elsewhere, or for other algorithms, count no more."""
    if (before.jwks_uri, before.algorithms) == (said.jwks_uri, said.algorithms):
        return {"error": ""}
    return {"error": "", "keys": "[]", "keys_read_at": 0}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _shown(row: IssuerRow) -> Issuer:
    said = settings_of(row)
    until = row.keys_read_at + said.key_grace if row.keys_read_at else 0
    return Issuer(said, row.from_file, tuple(key.kid for key in keys_of(row)), row.keys_read_at, until, row.error)
