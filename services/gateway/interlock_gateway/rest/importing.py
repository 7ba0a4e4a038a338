"""Bringing the deployment to what a configuration document says, item by item; what fails takes nothing along."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec
from pydantic import ValidationError

from interlock_common.errors import DeadlineExceeded, InterlockError
from interlock_common.messages import subjects
from interlock_common.messages.catalog import (
    CatalogItem,
    CreateServer,
    CreateUpstream,
    UpdateServer,
    UpdateUpstream,
    Upstream,
    VirtualServer,
)
from interlock_common.messages.common import Actor
from interlock_gateway.rest.configuration_document import GatewayEntry, ServerEntry
from interlock_gateway.rest.dependencies import Requests, View
from interlock_gateway.rest.import_names import Names, is_as_wanted
from interlock_gateway.rest.seen import Seen
from interlock_gateway.rest.upstreams import DISCOVERY_SECONDS

IMPORT_SECONDS = 300.0
_AT_A_TIME = 8

type Outcome = Literal["created", "updated", "unchanged", "failed"]


class ImportItem(msgspec.Struct, frozen=True):
    """What became of one item, or would; ``missing_secrets`` names what an export leaves out and a use needs."""

    kind: Literal["gateway", "server"]
    name: str
    outcome: Outcome
    id: str | None = None
    reason: str = ""
    missing_secrets: tuple[str, ...] = ()


class ImportReport(msgspec.Struct, frozen=True):
    """What an import did, or would do."""

    dry_run: bool
    created: int
    updated: int
    unchanged: int
    failed: int
    items: tuple[ImportItem, ...]


@dataclass
class Import:
    """One import on behalf of an actor.

    ``replace_secrets`` hands on the secrets of a document even where nothing else differs: what is sealed cannot
    be compared.
    """

    actor: Actor
    bus: Requests
    mirror: View[CatalogItem]
    dry_run: bool
    replace_secrets: bool
    _names: Names = field(init=False)

    def __post_init__(self) -> None:
        self._seen = Seen(self.actor, self.mirror)
        self._names = Names(self._seen.upstreams())
        self._servers = {server.name: server for server in self._seen.servers()}

    async def run(self, gateways: list[Any], servers: list[Any]) -> ImportReport:
        """Gateways first: servers refer to them."""
        items: list[ImportItem] = []
        deadline = asyncio.timeout(IMPORT_SECONDS)
        try:
            async with deadline:
                items += await _each("gateway", gateways, self._gateway)
                items += await _each("server", servers, self._server)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeadlineExceeded(f"the import took over {IMPORT_SECONDS:g} s: run it again, or in parts") from None
        counts = {outcome: sum(item.outcome == outcome for item in items)
                  for outcome in ("created", "updated", "unchanged", "failed")}  # fmt: skip
        return ImportReport(self.dry_run, **counts, items=tuple(items))

    async def _gateway(self, given: Any) -> ImportItem:
        entry = GatewayEntry.model_validate(given)
        request = entry.request(self.actor)
        missing = tuple(entry.missing())
        present = self._names.upstream(request.name)
        if present is None:
            if missing:
                return _failed("gateway", request.name, "it needs secrets that are not given", missing)
            made = await self._create_gateway(request)
            return ImportItem("gateway", request.name, "created", made)
        if not self._seen.may_configure(present):
            return _failed("gateway", request.name, "it exists, and is not yours to change")
        secrets_given = bool(entry.secrets.credential or entry.secrets.environment)
        if is_as_wanted(present, request) and not (self.replace_secrets and secrets_given):
            return ImportItem("gateway", request.name, "unchanged", present.id)
        if missing and present.credential.kind != request.credential.kind:
            return _failed("gateway", request.name, "its new credential needs secrets that are not given", missing)
        if not self.dry_run:
            update = UpdateUpstream(present.id, request)
            await self.bus.request(subjects.CATALOG_UPSTREAM_UPDATE, update, Upstream, timeout=DISCOVERY_SECONDS)
        return ImportItem("gateway", request.name, "updated", present.id)

    async def _create_gateway(self, request: CreateUpstream) -> str | None:
        if self.dry_run:
            self._names.plan(request.name)
            return None
        made = await self.bus.request(subjects.CATALOG_UPSTREAM_CREATE, request, Upstream, timeout=DISCOVERY_SECONDS)
        self._names.add(made)
        return made.id

    async def _server(self, given: Any) -> ImportItem:
        entry = ServerEntry.model_validate(given)
        request = self._names.resolved(entry.request(self.actor), check=self.dry_run)
        present = self._servers.get(request.name)
        if present is None:
            made = None if self.dry_run else await self._create_server(request)
            return ImportItem("server", request.name, "created", made)
        if not self._seen.may_configure(present):
            return _failed("server", request.name, "it exists, and is not yours to change")
        request = msgspec.structs.replace(request, id=None)
        if is_as_wanted(present, request):
            return ImportItem("server", request.name, "unchanged", present.id)
        if not self.dry_run:
            update = UpdateServer(present.id, request)
            await self.bus.request(subjects.CATALOG_SERVER_UPDATE, update, VirtualServer)
        return ImportItem("server", request.name, "updated", present.id)

    async def _create_server(self, request: CreateServer) -> str:
        return (await self.bus.request(subjects.CATALOG_SERVER_CREATE, request, VirtualServer)).id


async def _each(
    kind: Literal["gateway", "server"], given: list[Any], story: Callable[[Any], Awaitable[ImportItem]]
) -> list[ImportItem]:
    """The outcome of each item, a few at a time."""
    turn = asyncio.Semaphore(_AT_A_TIME)

    async def one(item: Any, name: str) -> ImportItem:
        async with turn:
            try:
                return await story(item)
            except ValidationError as error:
                return _failed(kind, name, _what_does_not_fit(error))
            except InterlockError as error:
                return _failed(kind, name, error.detail)

    tasks: dict[str, asyncio.Task[ImportItem]] = {}
    items: list[ImportItem | asyncio.Task[ImportItem]] = []
    async with asyncio.TaskGroup() as group:
        for item in given:
            name = _name(item)
            if name in tasks:
                items.append(_failed(kind, name, "the document names it twice"))
            else:
                tasks[name] = group.create_task(one(item, name))
                items.append(tasks[name])
    return [item if isinstance(item, ImportItem) else item.result() for item in items]


def _failed(kind: Literal["gateway", "server"], name: str, reason: str, missing: Iterable[str] = ()) -> ImportItem:
    return ImportItem(kind, name, "failed", None, reason, tuple(missing))


def _name(item: Any) -> str:
    """What an item calls itself, whatever it is."""
    name = cast("dict[str, Any]", item).get("name") if isinstance(item, dict) else None
    return name.strip()[:100] if isinstance(name, str) else ""


def _what_does_not_fit(error: ValidationError) -> str:
    """The fields and the rules they break; values are not repeated, one could be a secret."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the item'}: {each['msg']}" for each in found[:5])
