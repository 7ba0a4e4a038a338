"""By which credentials principals come in, day by day: who would miss tokens if they were switched off."""

from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.asking import asker
from interlock_auth.credential_store import DAY, CredentialStore
from interlock_auth.store import Store
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages import subjects
from interlock_common.messages.common import Empty
from interlock_common.messages.credential_uses import (
    MOST_DAYS,
    AskMigration,
    ClientCredentials,
    MigrationReport,
    ReportCredentials,
)

NEEDED = "admin.security_audit"
_MOST_CLIENTS = 1000


@dataclass(slots=True)
class _Client:
    counts: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    last: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))

    def shown(self, principal: str) -> ClientCredentials:
        counts = self.counts
        return ClientCredentials(
            principal, counts["token"], counts["certificate"], counts["both"], counts["proxy"], self.last["token"],
            max(self.last.values()), ready=not counts["token"],
        )  # fmt: skip


class CredentialUses:
    """Counts what edges tell, and reports it."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def bind(self, bus: Bus) -> None:
        bus.endpoint(subjects.AUTH_CREDENTIAL_USED, ReportCredentials, self.count)
        bus.endpoint(subjects.AUTH_CREDENTIAL_REPORT, AskMigration, self.report)

    async def count(self, said: ReportCredentials) -> Empty:
        """Count what an edge says it let in."""
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            store = CredentialStore(session)
            # One order, so that no two wait for each other.
            for use in sorted(said.uses, key=lambda each: (each.principal, each.credential)):
                await store.count(use, min(use.last_at, now))
        return Empty()

    async def report(self, asked: AskMigration) -> MigrationReport:
        """Who came with what; those first who came with a token alone, the last of them on top."""
        day = int(self._clock.time()) // DAY - asked.days + 1
        async with transaction(self._engine) as session:
            (await asker(Store(session), asked.actor)).require(NEEDED)
            rows = await CredentialStore(session).since(day)
        clients: defaultdict[str, _Client] = defaultdict(_Client)
        for principal, credential, count, last in rows:
            clients[principal].counts[credential] = count
            clients[principal].last[credential] = last
        shown = [client.shown(principal) for principal, client in clients.items()]
        shown.sort(key=lambda each: (each.ready, -each.last_token_at, each.principal))
        ready = sum(each.ready for each in shown)
        return MigrationReport(
            day * DAY, tuple(shown[:_MOST_CLIENTS]), ready, len(shown) - ready, more=len(shown) > _MOST_CLIENTS
        )

    async def reconcile(self) -> None:
        """No bucket has anything of it."""

    async def tidy(self) -> None:
        """Forget what no report asks for any more."""
        async with transaction(self._engine) as session:
            await CredentialStore(session).forget(int(self._clock.time()) // DAY - MOST_DAYS)
