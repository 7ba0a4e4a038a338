"""Authorization servers of others as one: whose tokens count, who their users are, and logging in with them."""

from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.directory import Directory
from interlock_auth.fetching import Fetcher
from interlock_auth.identity_links import IdentityLinks
from interlock_auth.issuer_keys import IssuerKeys
from interlock_auth.issuer_settings import IssuerRules
from interlock_auth.issuer_store import IssuerStore
from interlock_auth.issuers import Issuers
from interlock_auth.oauth_sessions import BrowserSessions
from interlock_auth.outlet import Outlet
from interlock_auth.provider_login import ProviderLogins
from interlock_auth.providers import Providers
from interlock_auth.provisioning import Provisioning
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_common.messages import issuers as contracts
from interlock_common.messages import subjects
from interlock_common.messages.common import Page
from interlock_common.messages.identities import ByName
from interlock_common.messages.issuers import IssuerSettings
from interlock_common.sealing import Sealer


@dataclass(frozen=True)
class FederationRules:
    """What authorization servers may be said to be, and those that the file of settings names."""

    issuers: IssuerRules
    described: tuple[IssuerSettings, ...] = field(default=())


class Federation:
    """The stories about authorization servers of others."""

    def __init__(
        self, engine: AsyncEngine, fetcher: Fetcher, directory: Directory, sessions: BrowserSessions, outlet: Outlet,
        sealer: Sealer | None, rules: FederationRules, clock: Clock,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._rules = rules
        self._clock = clock
        self.keys = IssuerKeys(engine, Providers(fetcher), outlet, clock)
        self.issuers = Issuers(engine, self.keys, outlet, sealer, rules.issuers, clock)
        self.links = IdentityLinks(engine, outlet, clock)
        provisioning = Provisioning(engine, directory, self.links, outlet, clock)
        self.logins = ProviderLogins(
            engine, fetcher, self.keys, sessions, provisioning, self.issuers.secret, outlet, clock
        )

    def bind(self, bus: Bus) -> None:
        """Say which story answers which subject."""
        bus.endpoint(subjects.AUTH_ISSUER_SET, contracts.SetIssuer, self.issuers.set)
        bus.endpoint(subjects.AUTH_ISSUER_LIST, Page, self.issuers.list)
        bus.endpoint(subjects.AUTH_ISSUER_GET, ByName, self.issuers.get)
        bus.endpoint(subjects.AUTH_ISSUER_DELETE, ByName, self.issuers.delete)
        bus.endpoint(subjects.AUTH_ISSUER_REFRESH, ByName, self.issuers.refresh)
        bus.endpoint(subjects.AUTH_ISSUER_KEY_WANTED, contracts.KeyWanted, self.keys.wanted)
        bus.endpoint(subjects.AUTH_IDENTITY_LINK, contracts.LinkIdentity, self.links.link)
        bus.endpoint(subjects.AUTH_IDENTITY_UNLINK, contracts.UnlinkIdentity, self.links.unlink)
        bus.endpoint(subjects.AUTH_IDENTITY_LIST, contracts.IdentityPage, self.links.list)
        bus.endpoint(subjects.AUTH_PROVIDER_START, contracts.StartProviderLogin, self.logins.start)
        bus.endpoint(subjects.AUTH_PROVIDER_FINISH, contracts.FinishProviderLogin, self.logins.finish)

    async def reconcile(self) -> None:
        """Take what the file of settings says, and publish everything again, as after the loss of the buckets."""
        await self.issuers.apply(self._rules.described)
        await self.keys.publish_changed(everything=True)
        await self.links.publish(unpublished_only=False)

    async def read_keys(self) -> None:
        """Read the keys that are due; housekeeping tries again what fails."""
        with suppress(InterlockError, SQLAlchemyError, OSError):
            await self.keys.read_due()

    async def tidy(self) -> None:
        """Publish what the bus missed, read keys that are due, forget logins and assertions that are over."""
        await self.keys.publish_changed()
        await self.links.publish(unpublished_only=True)
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            await store.prune_logins(now)
            await store.prune_assertions(now)
        await self.keys.read_due()
