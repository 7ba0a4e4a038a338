"""The authorization endpoint: whom a client may be sent back to, with what (RFC 6749, section 4.1; RFC 7636).

Until the client and its redirect URI are known to belong together, nothing is sent anywhere.
"""

import re
import secrets
import uuid

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.oauth_clients import Client, client_of_document, client_of_row, is_document_url
from interlock_auth.oauth_errors import ClientUnknown, InvalidClientMetadata, InvalidRequest, InvalidScope
from interlock_auth.oauth_grants import LifetimeRules, scopes_asked, scopes_held
from interlock_auth.oauth_models import CodeRow, GrantRow
from interlock_auth.oauth_sessions import BrowserSessions
from interlock_auth.oauth_store import OAuthStore, digest_of
from interlock_auth.outlet import Outlet
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Principal
from interlock_common.messages.oauth import Authorization, Authorize

CODE_SECONDS = 60
_MAX_URL = 2048
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of a SHA-256, without padding


class Authorizations:
    """What is asked of users, and what they decided."""

    def __init__(
        self, engine: AsyncEngine, sessions: BrowserSessions, outlet: Outlet, rules: LifetimeRules, clock: Clock
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._outlet = outlet
        self._rules = rules
        self._clock = clock

    async def authorize(self, request: Authorize) -> Authorization:
        """Say what has to happen next; a code only for someone who is logged in and approved.

        Raises ClientUnknown for a client, or an address to go back to, that is not known.
        """
        if max(len(request.client_id), len(request.redirect_uri), len(request.audience)) > _MAX_URL:
            raise ClientUnknown(f"client_id, redirect_uri and resource have at most {_MAX_URL} characters")
        principal = await self._sessions.principal(request.session)
        if is_document_url(request.client_id) and principal is None:
            return Authorization()  # addresses are fetched for those only who are known
        if is_document_url(request.client_id) and not request.document:
            return Authorization(principal=principal.name if principal else "", wants_document=True)
        client = await self._client(request)
        if not client.may_return_to(request.redirect_uri):
            raise ClientUnknown("redirect_uri is not one that this client registered")
        answer = Authorization(client_name=client.name, redirect_uri=request.redirect_uri)
        if error := _wrong(request):
            return msgspec.structs.replace(answer, error=error[0], error_description=error[1])
        if principal is None:
            return answer
        try:
            scopes = scopes_held(principal, scopes_asked(request.scope))
        except InvalidScope as error:
            return msgspec.structs.replace(answer, error=error.code, error_description=error.detail)
        answer = msgspec.structs.replace(answer, principal=principal.name, scopes=scopes)
        return await self._decided(request, client, principal, answer)

    async def _decided(
        self, request: Authorize, client: Client, principal: Principal, answer: Authorization
    ) -> Authorization:
        if request.approved is None:
            return answer
        if not request.approved:
            self._outlet.record_soon("grant.denied", principal.name, client.id, client=client.name)
            return msgspec.structs.replace(answer, error="access_denied", error_description="the user did not agree")
        code = secrets.token_urlsafe(32)
        grant_id = await self._grant(request, client, principal, answer.scopes, code)
        await self._outlet.record(
            "grant.given", principal.name, grant_id, client_id=client.id, client=client.name, scopes=answer.scopes,
            resource=request.audience,
        )  # fmt: skip
        return msgspec.structs.replace(answer, code=code)

    async def _grant(
        self, request: Authorize, client: Client, principal: Principal, scopes: tuple[str, ...], code: str
    ) -> str:
        now = int(self._clock.time())
        lasts = self._rules.grant if client.refreshes else CODE_SECONDS + self._rules.access
        grant = GrantRow(
            id=str(uuid.uuid4()), client_id=client.id, client_name=client.name, principal=principal.name,
            scopes=msgspec.json.encode(scopes).decode(), resource=request.audience, server_id=request.server_id,
            refreshable=client.refreshes, created_at=now, expires_at=now + lasts,
            certificate_bound=client.certificate_bound,
        )  # fmt: skip
        row = CodeRow(
            digest=digest_of(code), grant_id=grant.id, redirect_uri=request.redirect_uri,
            challenge=request.code_challenge, expires_at=now + CODE_SECONDS,
        )  # fmt: skip
        async with transaction(self._engine) as session:
            await OAuthStore(session).add(grant, row)
        return grant.id

    async def _client(self, request: Authorize) -> Client:
        try:
            if is_document_url(request.client_id) and request.document:
                return client_of_document(request.client_id, request.document)
        except InvalidClientMetadata as error:
            raise ClientUnknown(f"the client does not describe itself rightly: {error.detail}") from None
        async with transaction(self._engine) as session:
            row = await OAuthStore(session).client(request.client_id)
        if row is None:
            raise ClientUnknown("this client is not known here")
        return client_of_row(row)


def _wrong(request: Authorize) -> tuple[str, str] | None:
    """What the client is told it did wrong: an error code of RFC 6749, section 4.1.2.1, or of RFC 8707."""
    if request.response_type != "code":
        return "unsupported_response_type", "response_type must be code"
    if request.code_challenge_method != "S256" or not _CHALLENGE.fullmatch(request.code_challenge):
        return InvalidRequest.code, "PKCE is required: code_challenge_method S256, and its code_challenge"
    if not request.audience:
        return "invalid_target", "resource names neither this gateway nor one of its virtual servers"
    try:
        scopes_asked(request.scope)
    except InvalidScope as error:
        return error.code, error.detail
    return None
