"""Clients show who they are at the token, introspection and revocation endpoints: by a secret or by a key of theirs.

With a key they sign an assertion (RFC 7523, section 3), which counts once, and for this gateway only.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Self, cast

import jwt
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.issuer_store import IssuerStore
from interlock_auth.jwks import claims_signed_by, counts_now
from interlock_auth.oauth_clients import GRANT_TYPES, PRIVATE_KEY_JWT, Client, client_of_row, is_document_url
from interlock_auth.oauth_errors import AssertionsSaturated, InvalidClient
from interlock_auth.oauth_store import OAuthStore
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.oauth import IntrospectToken, RevokeGrantedToken, TokenRequest

LIFETIME = 300
"""Seconds that an assertion may count; for so long it is remembered that it was used."""
_MOST = 20_000
_MAX_ASSERTION = 8192
_MAX_ID = 255
_PLACES = ("", "/oauth/token", "/oauth/introspect", "/oauth/revoke")


@dataclass(frozen=True, slots=True)
class ClientProof:
    """Who a client says it is, and what it shows for it in which way; ``own_url`` is what the gateway is called by."""

    client_id: str
    secret: str
    method: str
    own_url: str

    @classmethod
    def of(cls, request: TokenRequest | RevokeGrantedToken | IntrospectToken) -> Self:
        return cls(request.client_id, request.client_secret, request.auth_method, request.own_url)


class ClientAuthentication:
    """Who a client is, once it has shown that."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def client(self, shown: ClientProof) -> Client:
        """The client that shows who it is; raises InvalidClient.

        One whose id is the address of its metadata has no secret: what it shows is bound to that id.
        """
        client_id = shown.client_id or (_subject(shown.secret) if shown.method == PRIVATE_KEY_JWT else "")
        if is_document_url(client_id):
            client = Client(client_id, client_id, (), GRANT_TYPES)
        else:
            async with transaction(self._engine) as session:
                row = await OAuthStore(session).client(client_id[:_MAX_ID])
            if row is None:
                raise InvalidClient("this client is not known here")
            client = client_of_row(row)
        if shown.method == PRIVATE_KEY_JWT and client.auth_method == PRIVATE_KEY_JWT:
            await self._use(client, shown)
        else:
            client.authenticate(shown.secret, shown.method)
        return client

    async def _use(self, client: Client, shown: ClientProof) -> None:
        """Let an assertion count, this once."""
        now = self._clock.time()
        try:
            if len(shown.secret) > _MAX_ASSERTION:
                raise InvalidClient(f"an assertion has at most {_MAX_ASSERTION} characters")
            claims = claims_signed_by(client.keys, shown.secret)
        except jwt.InvalidTokenError:
            raise InvalidClient("the assertion is not signed by a key of this client") from None
        if reason := _unfit(claims, client.id, shown.own_url, now):
            raise InvalidClient(f"the assertion does not count: {reason}")
        digest = hashlib.sha256(f"{client.id} {claims['jti']}".encode()).digest()
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            if await store.count_assertions() >= _MOST:
                await store.prune_assertions(int(now))
                if await store.count_assertions() >= _MOST:
                    raise AssertionsSaturated("too many assertions at once, try again in a minute", retry_after=60)
            first = await store.use_assertion(digest, int(now) + LIFETIME * 2)
        if not first:
            raise InvalidClient("the assertion was used already")


def _unfit(claims: dict[str, Any], client_id: str, own_url: str, now: float) -> str:
    """Why an assertion is not this client's, or not for us (RFC 7523, section 3); empty where it is."""
    said_by = [str(claims.get(name, "")) for name in ("iss", "sub")]
    if not all(hmac.compare_digest(name.encode(), client_id.encode()) for name in said_by):
        return "iss and sub are not the id of the client"
    audience = claims.get("aud")
    audiences = cast("list[object]", audience) if isinstance(audience, list) else [audience]
    if not own_url or not any(f"{own_url}{place}" in audiences for place in _PLACES):
        return "it is for another audience than this authorization server"
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_ID:
        return f"jti has 1 to {_MAX_ID} characters"
    if not counts_now(claims, now):
        return "it has expired, or does not count yet"
    return f"it counts for more than {LIFETIME} seconds" if claims["exp"] - now > LIFETIME else ""


def _subject(assertion: str) -> str:
    """Whose assertion it says that it is; nothing is believed of that."""
    try:
        claims = jwt.decode(assertion[:_MAX_ASSERTION], options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get("sub", ""))[:_MAX_ID]
