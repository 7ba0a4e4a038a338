"""Clients register themselves (RFC 7591), where that is on, or administrators register them."""

import secrets
import uuid
from dataclasses import dataclass

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.errors import NotContained
from interlock_auth.oauth_clients import AUTHORIZATION_CODE, TOKEN_EXCHANGE, Client, client_of_metadata
from interlock_auth.oauth_errors import (
    ClientNotFound,
    InvalidClientMetadata,
    RegistrationOff,
    RegistrationsSaturated,
)
from interlock_auth.oauth_grants import GrantFamilies
from interlock_auth.oauth_models import ClientRow
from interlock_auth.oauth_store import OAuthStore, digest_of
from interlock_auth.outlet import Outlet
from interlock_auth.standing import standing
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.common import Actor, ById, Empty, Page
from interlock_common.messages.oauth import ClientList, ClientSummary, RegisterClient, RegisteredClient

PERMISSION = "admin.system_config"
_MAX_PAGE = 200


@dataclass(frozen=True)
class RegistrationRules:
    """Whether clients may register themselves; how many there may be, and how many in a minute.

    One that nobody has granted anything for ``unused`` seconds makes room for others; after ``forgotten`` seconds it
    goes in any case.
    """

    dynamic: bool = False
    most: int = 1000
    per_minute: int = 30
    unused: int = 86400
    forgotten: int = 30 * 86400


class Registration:
    """The clients that are known by an id of ours."""

    def __init__(
        self, engine: AsyncEngine, families: GrantFamilies, outlet: Outlet, rules: RegistrationRules, clock: Clock
    ) -> None:
        self._engine = engine
        self._families = families
        self._outlet = outlet
        self._rules = rules
        self._clock = clock

    async def register(self, request: RegisterClient) -> RegisteredClient:
        """A new client; its secret, if it has one, is shown in this answer only."""
        if request.actor is None and not self._rules.dynamic:
            raise RegistrationOff("clients do not register themselves here: an administrator registers them")
        client = client_of_metadata(str(uuid.uuid4()), request.metadata)
        if request.actor is None and TOKEN_EXCHANGE in client.grant_types:
            raise InvalidClientMetadata("a client that exchanges tokens is registered by an administrator")
        secret = secrets.token_urlsafe(32) if client.auth_method.startswith("client_secret") else None
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            store = OAuthStore(session)
            if request.actor is None:
                by = ""
                await self._make_room(store, now)
            else:
                by = await _administrator(Store(session), request.actor)
            await store.add(ClientRow(
                id=client.id, name=client.name, secret_digest=None if secret is None else digest_of(secret),
                auth_method=client.auth_method, redirect_uris=_json(client.redirect_uris),
                jwks=_json(client.keys) if client.keys else None,
                grant_types=_json(client.grant_types), registered_by=by, created_at=now,
                certificate_bound=client.certificate_bound,
            ))  # fmt: skip
        await self._outlet.record(
            "client.registered", by or "anonymous", client.id, name=client.name, redirect_uris=client.redirect_uris
        )
        return _answer(client, secret, now)

    async def list(self, request: Page) -> ClientList:
        """Clients, newest first, for administrators; the cursor is the last id of the page before."""
        limit = max(1, min(request.limit, _MAX_PAGE))
        async with transaction(self._engine) as session:
            await _administrator(Store(session), request.actor)
            store = OAuthStore(session)
            before = await store.client(request.cursor[:64]) if request.cursor else None
            rows = await store.clients(limit + 1, before)
        shown = tuple(map(_summary, rows[:limit]))
        return ClientList(shown, shown[-1].client_id if len(rows) > limit else None)

    async def remove(self, request: ById) -> Empty:
        """Forget a client, and end everything that it was granted."""
        async with transaction(self._engine) as session:
            by = await _administrator(Store(session), request.actor)
            store = OAuthStore(session)
            if not await store.remove_client(request.id[:64]):
                raise ClientNotFound(f"there is no client {request.id[:64]}")
            grants = await store.grants_of_client(request.id)
        for grant in grants:
            await self._families.end(grant, "its client was removed")
        await self._outlet.record("client.removed", by, request.id)
        return Empty()

    async def forget_unused(self) -> None:
        """Forget clients that registered themselves and that nobody has granted anything for a long time."""
        async with transaction(self._engine) as session:
            await OAuthStore(session).prune_unused_clients(int(self._clock.time()) - self._rules.forgotten)

    async def _make_room(self, store: OAuthStore, now: int) -> None:
        if await store.count_self_registered(now - 60) >= self._rules.per_minute:
            raise RegistrationsSaturated("too many clients register at once, try again in a minute", retry_after=60)
        if await store.count_self_registered() < self._rules.most:
            return
        await store.prune_unused_clients(now - self._rules.unused)
        if await store.count_self_registered() >= self._rules.most:
            raise RegistrationsSaturated(f"there are {self._rules.most} registered clients already", retry_after=3600)


async def _administrator(store: Store, actor: Actor) -> str:
    principal, held = await standing(store, actor)
    if not principal.is_admin or not held.may(PERMISSION) or held.server_id is not None:
        raise NotContained(f"clients are for platform administrators, with the permission {PERMISSION}")
    return principal.name


def _answer(client: Client, secret: str | None, now: int) -> RegisteredClient:
    responses = ("code",) if AUTHORIZATION_CODE in client.grant_types else ()
    return RegisteredClient(
        client_id=client.id, client_id_issued_at=now, client_name=client.name, redirect_uris=client.redirect_uris,
        grant_types=client.grant_types, response_types=responses, token_endpoint_auth_method=client.auth_method,
        client_secret=secret, client_secret_expires_at=None if secret is None else 0,
        tls_client_certificate_bound_access_tokens=client.certificate_bound,
    )  # fmt: skip


def _summary(row: ClientRow) -> ClientSummary:
    uris = msgspec.json.decode(row.redirect_uris, type=tuple[str, ...])
    return ClientSummary(row.id, row.name, uris, row.auth_method, row.registered_by, row.created_at)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
