"""Logging in with an OpenID provider: authorization code, PKCE, nonce, and a state that is this browser's alone.

Who somebody is here is said by the issuer and the subject of the ID token (OpenID Connect Core, section 3.1.3.7).
"""

import hmac
import secrets
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlencode

import jwt
import msgspec
from authlib.oauth2.rfc7636 import challenge as pkce  # pyright: ignore[reportMissingTypeStubs] - it has none
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.errors import LoginsSaturated, ProviderLoginRefused, ProviderUnreachable
from interlock_auth.fetching import Fetcher
from interlock_auth.issuer_keys import AGAIN, IssuerKeys, endpoints_of, keys_of, settings_of
from interlock_auth.issuer_models import IssuerRow, ProviderLoginRow
from interlock_auth.issuer_settings import MAX_SUBJECT
from interlock_auth.issuer_store import IssuerStore
from interlock_auth.jwks import UnknownKey, claims_signed_by, counts_now
from interlock_auth.oauth_sessions import BrowserSessions
from interlock_auth.oauth_store import digest_of
from interlock_auth.outlet import Outlet
from interlock_auth.provisioning import Provisioning
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.issuers import (
    FinishProviderLogin,
    IssuerSettings,
    LoginSettings,
    ProviderLogin,
    ProviderSession,
    StartProviderLogin,
)

LIFETIME = 600
"""Seconds that a browser may stay at the provider."""
_MOST = 10_000
_MAX_VALUE = 4096
_MAX_TOKEN = 16 * 1024
_OK = 200


class _Tokens(msgspec.Struct, frozen=True):
    """What a token endpoint answers (OpenID Connect Core, section 3.1.3.3), as far as it matters here."""

    id_token: str = ""


class ProviderLogins:
    """Logins that begin here and are decided at a provider; ``secret`` answers that of our client there."""

    def __init__(
        self, engine: AsyncEngine, fetcher: Fetcher, keys: IssuerKeys, sessions: BrowserSessions,
        provisioning: Provisioning, secret: Callable[[IssuerRow], str], outlet: Outlet, clock: Clock,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._fetcher = fetcher
        self._keys = keys
        self._sessions = sessions
        self._provisioning = provisioning
        self._secret = secret
        self._outlet = outlet
        self._clock = clock

    async def start(self, request: StartProviderLogin) -> ProviderLogin:
        """Where the browser goes; only it can finish what begins here, once."""
        row, login = await self._provider(request.name)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        now = int(self._clock.time())
        pending = ProviderLoginRow(
            digest=digest_of(state), name=row.name, browser=digest_of(request.browser), nonce=nonce, verifier=verifier,
            callback=request.callback, query=request.query, expires_at=now + LIFETIME,
        )  # fmt: skip
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            await store.prune_logins(now)
            if await store.count_logins() >= _MOST:
                raise LoginsSaturated("too many logins are under way, try again in a minute", retry_after=60)
            await store.add(pending)
        place = endpoints_of(row).authorization_endpoint
        challenge = cast("str", pkce.create_s256_code_challenge(verifier))  # pyright: ignore[reportUnknownMemberType]
        asked = urlencode({
            "response_type": "code", "client_id": login.client_id, "redirect_uri": request.callback,
            "scope": " ".join(login.scopes), "state": state, "nonce": nonce, "code_challenge": challenge,
            "code_challenge_method": "S256",
        })  # fmt: skip
        return ProviderLogin(f"{place}{'&' if '?' in place else '?'}{asked}")

    async def finish(self, request: FinishProviderLogin) -> ProviderSession:
        """A session for whoever the provider says it was, if that is somebody here; raises ProviderLoginRefused."""
        pending = await self._pending(request)
        row, login = await self._provider(pending.name)
        said = settings_of(row)
        if request.error:
            raise ProviderLoginRefused("the provider did not log you in")
        mixed_up = request.issuer != said.issuer
        if (request.issuer or endpoints_of(row).authorization_response_iss_parameter_supported) and mixed_up:
            raise ProviderLoginRefused("another provider answered than the one that was asked")
        token = await self._redeemed(row, login, pending, request.code)
        claims = await self._claims(row, token)
        if reason := _unfit(claims, said, login, pending.nonce, self._clock.time()):
            self._outlet.record_soon("login.refused", said.name, said.issuer, reason=reason)
            raise ProviderLoginRefused(f"what the provider said of you does not count: {reason}")
        principal = await self._provisioning.principal(said, login, claims)
        session = await self._sessions.begin(principal, issuer=said.issuer)
        return ProviderSession(session.session, session.principal, session.lifetime, pending.query)

    async def _pending(self, request: FinishProviderLogin) -> ProviderLoginRow:
        if max(map(len, (request.state, request.browser, request.code, request.issuer))) > _MAX_VALUE:
            raise ProviderLoginRefused("the provider's answer is too long")
        async with transaction(self._engine) as session:
            pending = await IssuerStore(session).take_login(digest_of(request.state))
        if pending is None or pending.expires_at <= self._clock.time():
            raise ProviderLoginRefused("this login is over, or was used already: begin anew")
        if not request.browser or not hmac.compare_digest(digest_of(request.browser), pending.browser):
            raise ProviderLoginRefused("this login was begun in another browser")
        return pending

    async def _provider(self, name: str) -> tuple[IssuerRow, LoginSettings]:
        async with transaction(self._engine) as session:
            row = await IssuerStore(session).issuer(name)
        login = None if row is None else settings_of(row).login
        if row is None or login is None or not endpoints_of(row).authorization_endpoint:
            raise ProviderLoginRefused("nobody logs in with this provider at the moment")
        return row, login

    async def _redeemed(self, row: IssuerRow, login: LoginSettings, pending: ProviderLoginRow, code: str) -> str:
        """The ID token for the code (RFC 6749, section 4.1.3)."""
        if not code:
            raise ProviderLoginRefused("the provider did not log you in")
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": pending.callback,
            "code_verifier": pending.verifier,
        }  # fmt: skip
        secret, basic = self._secret(row), None
        endpoints = endpoints_of(row)
        if secret and "client_secret_basic" in endpoints.token_endpoint_auth_methods_supported:
            basic = (login.client_id, secret)
        else:
            form |= {"client_id": login.client_id} | ({"client_secret": secret} if secret else {})
        answer = await self._fetcher.post(endpoints.token_endpoint, form, basic)
        try:
            token = msgspec.json.decode(answer.body, type=_Tokens).id_token if answer.status == _OK else ""
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderUnreachable("the provider answered with what are no tokens") from None
        if not token or len(token) > _MAX_TOKEN:
            raise ProviderLoginRefused("the provider gave no ID token for this login")
        return token

    async def _claims(self, row: IssuerRow, token: str) -> dict[str, Any]:
        """What the ID token says; a key that is not known yet is asked for once."""
        try:
            try:
                return claims_signed_by(self._fresh(row), token)
            except UnknownKey:
                await self._keys.read(row.name, AGAIN)
                row, _ = await self._provider(row.name)
                return claims_signed_by(self._fresh(row), token)
        except jwt.InvalidTokenError:
            raise ProviderLoginRefused("the provider's ID token is not signed by one of its keys") from None

    def _fresh(self, row: IssuerRow) -> Any:
        """The keys of the provider, as long as they count."""
        return keys_of(row) if self._clock.time() < row.keys_read_at + settings_of(row).key_grace else ()


def _unfit(claims: dict[str, Any], said: IssuerSettings, login: LoginSettings, nonce: str, now: float) -> str:
    """Why an ID token is not the one that was asked for (OpenID Connect Core, section 3.1.3.7); empty where it is."""
    audience = claims.get("aud")
    audiences = cast("list[object]", audience) if isinstance(audience, list) else [audience]
    if claims.get("iss") != said.issuer:
        return "it is of another issuer"
    if login.client_id not in audiences or claims.get("azp", login.client_id) != login.client_id:
        return "it is for another client"
    if len(audiences) > 1 and "azp" not in claims:
        return "it is for several clients, and does not say for which"
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        return "it names nobody"
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        return "it is of another login"
    return "" if counts_now(claims, now) else "it has expired, or does not count yet"
