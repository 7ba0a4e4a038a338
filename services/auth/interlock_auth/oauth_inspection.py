"""What a token is worth, for those who may ask (RFC 7662), and giving one back (RFC 7009)."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.client_assertions import ClientAuthentication, ClientProof
from interlock_auth.errors import NotContained, TokenNotFound
from interlock_auth.models import NEVER, PrincipalRow, TokenRow
from interlock_auth.oauth_clients import REFRESH_TOKEN
from interlock_auth.oauth_errors import InvalidClient
from interlock_auth.oauth_exchange import certificate_of_token, parents_of_token
from interlock_auth.oauth_grants import GrantFamilies, Revoker
from interlock_auth.oauth_models import GrantRow, RefreshRow
from interlock_auth.oauth_store import OAuthStore, digest_of
from interlock_auth.standing import standing
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Principal, RevokeToken, Scopes
from interlock_common.messages.common import Actor, Empty
from interlock_common.messages.oauth import Confirmation, Introspection, IntrospectToken, RevokeGrantedToken

PERMISSION = "tokens.read"
_MAX_TOKEN = 16 * 1024
_INACTIVE = Introspection(active=False)
_strings = msgspec.json.Decoder(tuple[str, ...])


class Inspection:
    """Tokens by what they are, not by their id."""

    def __init__(
        self,
        engine: AsyncEngine,
        families: GrantFamilies,
        clients: ClientAuthentication,
        revoker: Revoker,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._clients = clients
        self._families = families
        self._revoker = revoker
        self._clock = clock

    async def introspect(self, request: IntrospectToken) -> Introspection:
        """What is known of a token: of one's own, or of any for an administrator; else that it is not active.

        For a client that shows who it is (RFC 7662, section 2.1) its own are those that were issued to it.
        """
        client = None if request.actor is not None else await self._clients.client(ClientProof.of(request))
        if client is not None and client.auth_method == "none":
            raise InvalidClient("whoever asks about tokens shows who it is")
        digest = digest_of(request.token[:_MAX_TOKEN])
        async with transaction(self._engine) as session:
            store, oauth = Store(session), OAuthStore(session)
            asks = None if request.actor is None else await _reader(store, request.actor)
            token, refresh = await oauth.token_of(digest), await oauth.refresh_token(digest)
            access = None if token is None else await oauth.access(token.id)
            grant = access[1] if access else None if refresh is None else await oauth.grant(refresh.grant_id)
            whose = token.principal if token is not None else "" if grant is None else grant.principal
            owner = await store.principal(whose)
            ids = () if token is None else (token.id, *parents_of_token(request.token))
            revoked = any([await oauth.is_revoked(token_id) for token_id in ids])
        if asks is not None:
            may = asks.is_admin or whose == asks.name
        else:
            may = client is not None and grant is not None and grant.client_id == client.id
        if revoked or owner is None or not owner.active or not may:
            return _INACTIVE
        if token is not None:
            return self._of_token(token, grant, certificate_of_token(request.token))
        return _INACTIVE if grant is None or refresh is None else self._of_refresh(refresh, grant, owner)

    async def revoke(self, request: RevokeGrantedToken) -> Empty:
        """Let a token stop counting; one that is not there, or not the asker's, is passed over (RFC 7009, 2.2).

        With a refresh token ends everything that was issued for its grant. Raises InvalidClient.
        """
        client_id = None
        if request.actor is None:
            client_id = (await self._clients.client(ClientProof.of(request))).id
        digest = digest_of(request.token[:_MAX_TOKEN])
        async with transaction(self._engine) as session:
            oauth = OAuthStore(session)
            token, refresh = await oauth.token_of(digest), await oauth.refresh_token(digest)
            access = None if token is None else await oauth.access(token.id)
            grant = access[1] if access else None if refresh is None else await oauth.grant(refresh.grant_id)
            asks = None if request.actor is None else (await standing(Store(session), request.actor))[0].name
        if grant is not None and refresh is not None and (grant.client_id == client_id or grant.principal == asks):
            await self._families.end(grant, "its refresh token was revoked")
        elif token is not None and request.actor is not None:
            await self._revoke_for(request.actor, token)
        elif token is not None and grant is not None and grant.client_id == client_id:
            await self._revoke_for(Actor(token.principal), token)
        return Empty()

    async def _revoke_for(self, actor: Actor, token: TokenRow) -> None:
        try:
            await self._revoker.revoke(RevokeToken(actor, token.id, "RFC 7009"))
        except (TokenNotFound, NotContained):  # not theirs: whoever asks learns nothing of it
            return

    def _of_token(self, token: TokenRow, grant: GrantRow | None, certificate: str | None) -> Introspection:
        if token.expires_at <= self._clock.time():
            return _INACTIVE
        scopes = msgspec.json.decode(token.scopes, type=Scopes).permissions
        return Introspection(
            active=True, scope=" ".join(scopes) or None, client_id=None if grant is None else grant.client_id,
            username=token.principal, sub=token.principal, token_type="Bearer", jti=token.id, iat=token.created_at,  # noqa: S106 - a type
            aud=self._families.rules.audience if grant is None else grant.resource,
            exp=None if token.expires_at == NEVER else token.expires_at, cnf=_bound(certificate),
        )  # fmt: skip

    def _of_refresh(self, refresh: RefreshRow, grant: GrantRow, owner: PrincipalRow) -> Introspection:
        if refresh.used_at is not None or grant.ended_at is not None or refresh.expires_at <= self._clock.time():
            return _INACTIVE
        return Introspection(
            active=True, scope=" ".join(_strings.decode(grant.scopes)), client_id=grant.client_id, username=owner.name,
            sub=owner.name, token_type=REFRESH_TOKEN, aud=grant.resource, iat=grant.created_at, exp=refresh.expires_at,
            cnf=_bound(grant.certificate),
        )  # fmt: skip


def _bound(certificate: str | None) -> Confirmation | None:
    return None if certificate is None else Confirmation(certificate)


async def _reader(store: Store, actor: Actor) -> Principal:
    """Whoever asks, once it is sure that they may ask about tokens at all."""
    principal, held = await standing(store, actor)
    if not held.may(PERMISSION) or held.server_id is not None:
        raise NotContained(f"asking about tokens needs the permission {PERMISSION}")
    return principal
