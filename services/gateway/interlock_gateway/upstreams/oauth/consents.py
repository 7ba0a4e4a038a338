"""How a principal consents to an upstream: a page of ours, the authorization server's, and back (RFC 6749, 4.1).

Nothing is kept meanwhile: what a step needs to know is sealed into the address of the next. An address is good for one
use, for ten minutes, for one principal and upstream, and from the confirmation on for one browser.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlencode

import msgspec
import structlog
from yarl import URL

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, InvalidInput, NotFound
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.grants import NOBODY, RevokeGrant, StoreGrant
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway.upstreams.credentials import SealedSecrets
from interlock_gateway.upstreams.oauth.authorization_server import (
    AuthorizationServer,
    AuthorizationServers,
    same_issuer,
)
from interlock_gateway.upstreams.oauth.grants import Client, Grants, Tokens, Vault, place_of
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints
from interlock_gateway.upstreams.oauth.user_tokens import expiry

CALLBACK_PATH = "/oauth/upstreams/callback"
LIFETIME = 600.0
_START, _CALLBACK = "consent-start", "consent-callback"
_MAX_STATE = 8192
_MAX_CODE = 8192
_OK = 200
_log = structlog.get_logger()


class ConsentRefused(InvalidInput):
    """A step of a consent that does not follow from the one before it; the message is shown in the browser."""

    code = "consent_refused"


class Start(msgspec.Struct, frozen=True):
    """What the first page is about; ``until`` in seconds since the epoch."""

    upstream: str
    principal: str
    nonce: str
    until: int


class _Pending(msgspec.Struct, frozen=True):
    """What the callback has to know: who agreed to what, whom was asked, and the verifier of PKCE (RFC 7636)."""

    start: Start
    verifier: str
    server: AuthorizationServer
    client: Client
    resource: str
    place: str

    def __repr__(self) -> str:
        return f"_Pending(start={self.start!r})"


class Once(Protocol):
    """Tells first uses from later ones, at whichever edge."""

    async def first(self, key: str, seconds: float) -> bool: ...


class KeptGrants(Grants, Protocol):
    """Where grants are kept, and forgotten on request."""

    async def revoke(self, request: RevokeGrant) -> None: ...


class Consents:
    """Leads principals through their consents; ``base`` is what browsers call the gateway by."""

    def __init__(
        self,
        find: Callable[[str], Upstream | None],
        grants: KeptGrants,
        sealer: Sealer,
        endpoints: TokenEndpoints,
        once: Once,
        clock: Clock,
        *,
        base: str,
    ) -> None:
        self._find = find
        self._grants = grants
        self._sealer = sealer
        self._vault = Vault(sealer)
        self._secrets = SealedSecrets(sealer)
        self._endpoints = endpoints
        self._servers = AuthorizationServers(endpoints)
        self._once = once
        self._clock = clock
        self.base = base

    def link(self, upstream: Upstream, principal: str) -> tuple[str, str]:
        """The address of the page on which ``principal`` consents to ``upstream``, and the id of this request."""
        start = Start(upstream.id, principal, secrets.token_hex(16), int(self._clock.time() + LIFETIME))
        state = self._sealer.seal(_START, msgspec.json.encode(start))
        return f"{self.base}/oauth/upstreams/{upstream.id}/start?{urlencode({'state': state})}", start.nonce

    async def granted(self, upstream: Upstream, principal: str) -> bool:
        """Whether there is a grant that still fits."""
        grant = await self._grants.held(upstream.id, principal)
        tokens = None if grant is None else self._vault.tokens(upstream.id, principal, grant)
        return tokens is not None and tokens.place == place_of(upstream)

    def opened(self, upstream_id: str, state: str) -> tuple[Start, Upstream]:
        """What a first page is about; raises ConsentRefused."""
        start = self._open(_START, state, b"", Start)
        if start.upstream != upstream_id:
            raise ConsentRefused("this address is for another upstream")
        self._in_time(start)
        return start, self._upstream(upstream_id)

    async def begin(self, upstream_id: str, state: str, browser: str) -> str:
        """The principal confirmed in ``browser``: the address of the authorization server to go to.

        Raises ConsentRefused, and CredentialUnusable saying what is wrong with the server.
        """
        start, upstream = self.opened(upstream_id, state)
        if not await self._once.first(f"start.{start.nonce}", LIFETIME + 60):
            raise ConsentRefused("this address was used already: call the tool again for a new one")
        found = await self._servers.find(upstream)
        client = await self._client(upstream, found.server, found.scope)
        verifier = secrets.token_urlsafe(48)
        pending = _Pending(start, verifier, found.server, client, found.resource, place_of(upstream))
        query = {
            "response_type": "code", "client_id": client.id, "redirect_uri": client.redirect_uri,
            "code_challenge": challenge_of(verifier), "code_challenge_method": "S256", "resource": found.resource,
            "state": self._sealer.seal(_CALLBACK, msgspec.json.encode(pending), _context(browser)),
        } | ({"scope": found.scope} if found.scope else {})  # fmt: skip
        return str(URL(found.server.authorization_endpoint).update_query(query))

    async def finish(self, query: Mapping[str, str], browser: str) -> tuple[str, str]:
        """Take what the authorization server sent the browser back with; answers the upstream's name and the principal.

        Raises ConsentRefused, CredentialUnusable, and what storing the grant raises.
        """
        pending = self._open(_CALLBACK, query.get("state", ""), _context(browser), _Pending)
        start, server = pending.start, pending.server
        self._in_time(start)
        upstream = self._upstream(start.upstream)
        if pending.place != place_of(upstream):
            raise ConsentRefused("the upstream was registered anew meanwhile: call the tool again")
        _check_issuer(server, query.get("iss"))
        if not await self._once.first(f"callback.{start.nonce}", LIFETIME + 60):
            raise ConsentRefused("this answer was used already")
        if "error" in query:
            raise ConsentRefused(f"the authorization server did not grant it: {_word(query['error'])}")
        code = query.get("code", "")
        if not code or len(code) > _MAX_CODE:
            raise ConsentRefused("the authorization server sent no code")
        await self._keep(upstream, pending, code)
        return upstream.name, start.principal

    async def revoke(self, request: RevokeGrant) -> None:
        """Forget a grant, and tell the authorization server where it takes that (RFC 7009); raises NotFound."""
        upstream_id, principal = request.upstream_id, request.principal
        grant = await self._grants.held(upstream_id, principal)
        tokens = None if grant is None else self._vault.tokens(upstream_id, principal, grant)
        await self._grants.revoke(request)
        if tokens is None or not tokens.revocation_endpoint:
            return
        form = {"token": tokens.refresh or tokens.access, "client_id": tokens.client.id}
        form["token_type_hint"] = "refresh_token" if tokens.refresh else "access_token"
        try:
            answer = await self._endpoints.fetch(
                "POST", tokens.revocation_endpoint, what="the revocation endpoint", form=form,
                client=tokens.client.pair, auth=tokens.client.auth,
            )  # fmt: skip
            reason = "" if answer.status == _OK else f"HTTP {answer.status}"
        except InterlockError as error:
            reason = error.detail
        if reason:  # it is forgotten here, and ends there by itself
            _log.warning("a grant was not revoked at its server", upstream=upstream_id, reason=reason)

    async def _keep(self, upstream: Upstream, pending: _Pending, code: str) -> None:
        client, server = pending.client, pending.server
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": client.redirect_uri,
            "code_verifier": pending.verifier, "resource": pending.resource, "client_id": client.id,
        }  # fmt: skip
        token = await self._endpoints.ask(
            server.token_endpoint, form, client=client.pair, auth=client.auth, whose=upstream.name
        )
        tokens = Tokens(
            access=token.access, expires_at=expiry(self._clock, token), place=pending.place,
            token_endpoint=server.token_endpoint, client=client, refresh=token.refresh, scope=token.scope,
            resource=pending.resource, revocation_endpoint=server.revocation_endpoint,
        )  # fmt: skip
        principal = pending.start.principal
        sealed = self._vault.seal(upstream.id, principal, tokens)
        await self._grants.store(StoreGrant(upstream.id, principal, sealed, tokens.scope, tokens.expires_at))

    async def _client(self, upstream: Upstream, server: AuthorizationServer, scope: str) -> Client:
        """The gateway as this server knows it: as configured, as registered before, or registered now."""
        redirect_uri = self.base + CALLBACK_PATH
        configured = upstream.credential.public.get("client_id")
        if configured:
            methods = server.token_endpoint_auth_methods_supported
            secret = self._secrets.of(upstream, "client_secret") if upstream.credential.sealed else ""
            post = "client_secret_basic" not in methods and "client_secret_post" in methods
            auth = "none" if not secret else "client_secret_post" if post else "client_secret_basic"
            return Client(configured, secret, auth, server.issuer, redirect_uri)
        known = await self._grants.held(upstream.id, NOBODY)
        client = None if known is None else self._vault.client(upstream.id, NOBODY, known)
        if client is not None and (client.issuer, client.redirect_uri) == (server.issuer, redirect_uri):
            return client
        client = await self._servers.register(upstream, server, redirect_uri, scope)
        await self._grants.store(StoreGrant(upstream.id, NOBODY, self._vault.seal(upstream.id, NOBODY, client)))
        return client

    def _open[T](self, purpose: str, state: str, context: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._sealer.open(purpose, state[:_MAX_STATE], context), type=kind)
        except (SealBroken, msgspec.DecodeError):
            raise ConsentRefused("this address was not given out here, or not to this browser") from None

    def _in_time(self, start: Start) -> None:
        if start.until < self._clock.time():
            raise ConsentRefused("this address has expired: call the tool again for a new one")

    def _upstream(self, upstream_id: str) -> Upstream:
        upstream = self._find(upstream_id)
        if upstream is None or upstream.credential.kind != "oauth":
            raise NotFound("there is no such upstream that asks for consent")
        return upstream


def challenge_of(verifier: str) -> str:
    """The challenge of PKCE's method S256 (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _check_issuer(server: AuthorizationServer, iss: str | None) -> None:
    """The answer comes from the server that was asked (RFC 9207, section 2.4)."""
    if iss is None and server.authorization_response_iss_parameter_supported:
        raise ConsentRefused("the answer does not say which authorization server it comes from")
    if iss is not None and server.issuer and not same_issuer(iss, server.issuer):
        raise ConsentRefused("the answer comes from another authorization server than was asked")


def _context(browser: str) -> bytes:
    return hashlib.sha256(browser.encode()).digest()


def _word(text: str) -> str:
    """An error code that somebody else wrote, as far as it is one (RFC 6749, section 4.1.2.1)."""
    return "".join(c for c in text[:64] if c.isascii() and (c.isalnum() or c in "_-. "))
