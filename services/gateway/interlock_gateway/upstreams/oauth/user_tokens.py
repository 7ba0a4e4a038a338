"""A user's own access token for an upstream (MCP, authorization): from a grant, refreshed ahead of its end.

A refresh token may be good for one use only, so of all edges one refreshes at a time, and the others wait for what it
stores (RFC 9700, section 4.14).
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from interlock_common.clock import Clock
from interlock_common.errors import Conflict, InterlockError, NotFound
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.grants import ClaimGrant, Grant, StoreGrant, grant_key
from interlock_gateway.upstreams.credentials import CredentialUnusable, Headers
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded, Grants, Tokens, Vault, place_of
from interlock_gateway.upstreams.oauth.token_endpoint import Token, TokenEndpoints, TokenRefused

_log = structlog.get_logger()
_MARGIN_SECONDS = 60.0
_MARGIN_SHARE = 0.1
_LONGEST_SECONDS = 10 * 366 * 86400.0
_CLAIM_SECONDS = 30.0
_WAIT_SECONDS = 12.0
_FRESH_SECONDS = 5.0
_REST_SECONDS = 2.0
_MAX_HELD = 10_000
_LOST = frozenset({"invalid_grant", "unauthorized_client"})
"""The errors that say that asking again is of no use (RFC 6749, section 5.2)."""

type Link = Callable[[Upstream, str], tuple[str, str]]
"""Makes the address of the page on which a principal consents to an upstream, and the id of this request."""


def no_link(_upstream: Upstream, _principal: str) -> tuple[str, str]:
    """Where nobody can be sent to a page."""
    return "", ""


@dataclass(slots=True, repr=False)
class _Held:
    """A grant as it was read last, opened; the moments are monotonic."""

    grant: Grant
    tokens: Tokens
    since: float
    refresh_at: float
    forced: bool = False
    refused_until: float = 0.0
    refusal: str = ""
    unsaved: StoreGrant | None = None
    """What could not be stored yet: the tokens before it are of no use any more."""


class UserTokens:
    """Provider of the kind ``oauth``: each principal's own token, and nobody else's."""

    def __init__(
        self,
        grants: Grants,
        vault: Vault,
        endpoints: TokenEndpoints,
        clock: Clock,
        *,
        holder: str,
        link: Link = no_link,
    ) -> None:
        self._grants = grants
        self._vault = vault
        self._endpoints = endpoints
        self._clock = clock
        self._holder = holder
        self._link = link
        self._held: dict[str, _Held] = {}
        self._renewing: dict[str, asyncio.Task[_Held]] = {}

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        """Raises ConsentNeeded where the principal has to be asked first."""
        key = grant_key(upstream.id, principal)
        held = await self._read(upstream, principal, key)
        if held.forced or held.unsaved is not None or self._clock.monotonic() >= held.refresh_at:
            held = await asyncio.shield(self._renewal(upstream, principal, key))
        return {"Authorization": f"Bearer {held.tokens.access}"}

    def invalid(self, upstream: Upstream, principal: str, challenge: str) -> bool:
        """A token that was refused when it was fresh will not be better when refreshed again."""
        del challenge
        held = self._held.get(grant_key(upstream.id, principal))
        if held is None or self._clock.monotonic() - held.since < _FRESH_SECONDS:
            return False
        held.forced = True
        return True

    def needed(self, upstream: Upstream, principal: str) -> ConsentNeeded:
        """What is raised where a principal has to consent."""
        url, request_id = self._link(upstream, principal)
        return ConsentNeeded(
            f"upstream {upstream.name} waits for the consent of {principal}", upstream=upstream.name, url=url,
            id=request_id,
        )  # fmt: skip

    async def stop(self) -> None:
        """Let refreshes that run come to their end: what they give must not be lost."""
        await asyncio.gather(*self._renewing.values(), return_exceptions=True)

    def _renewal(self, upstream: Upstream, principal: str, key: str) -> asyncio.Task[_Held]:
        """The one refresh of a grant that runs here; it goes on when whoever wanted it has left."""
        task = self._renewing.get(key)
        if task is None:
            task = asyncio.create_task(self._renewed(upstream, principal, key), name=f"refresh for {upstream.name}")
            self._renewing[key] = task
            task.add_done_callback(lambda done: self._renewal_ended(key, done))
        return task

    def _renewal_ended(self, key: str, task: asyncio.Task[_Held]) -> None:
        del self._renewing[key]
        if not task.cancelled():
            task.exception()  # looked at, even where nobody waits any more

    async def _read(self, upstream: Upstream, principal: str, key: str) -> _Held:
        """The grant as it is known by now; raises ConsentNeeded."""
        grant = await self._grants.held(upstream.id, principal)
        held = self._held.get(key)
        if grant is None:
            self._held.pop(key, None)
            raise self.needed(upstream, principal)
        if held is None or held.grant != grant:
            held = self._opened(upstream, principal, key, grant)
        if held is None or held.tokens.place != place_of(upstream):
            raise self.needed(upstream, principal)
        return held

    def _opened(self, upstream: Upstream, principal: str, key: str, grant: Grant) -> _Held | None:
        tokens = self._vault.tokens(upstream.id, principal, grant)
        if tokens is None:
            return None
        return self._keep(key, grant, tokens, since=-math.inf)

    def _keep(self, key: str, grant: Grant, tokens: Tokens, *, since: float) -> _Held:
        left = tokens.expires_at - self._clock.time()
        until = self._clock.monotonic() + left - min(_MARGIN_SECONDS, max(0.0, left) * _MARGIN_SHARE)
        held = _Held(grant, tokens, since, until if tokens.refresh else self._clock.monotonic() + left)
        if len(self._held) >= _MAX_HELD and key not in self._held:
            del self._held[next(iter(self._held))]
        self._held[key] = held
        return held

    async def _renewed(self, upstream: Upstream, principal: str, key: str) -> _Held:
        """The grant with a token that counts."""
        held = await self._read(upstream, principal, key)
        if held.unsaved is not None:
            held = await self._save(upstream, principal, key, held)
        if not held.forced and self._clock.monotonic() < held.refresh_at:
            return held
        if not held.tokens.refresh:
            await self._lose(upstream, principal, key, held)
        usable = not held.forced and self._clock.time() < held.tokens.expires_at
        try:
            return await self._refreshed(upstream, principal, key, held, usable=usable)
        except ConsentNeeded:
            raise
        except InterlockError as error:
            if isinstance(error, TokenRefused) and error.reason in _LOST:
                await self._lose(upstream, principal, key, held)
            held.refusal, held.refused_until = error.detail, self._clock.monotonic() + _REST_SECONDS
            if usable:  # a token that still counts is good enough while its refresh fails
                return held
            raise

    async def _refreshed(self, upstream: Upstream, principal: str, key: str, held: _Held, *, usable: bool) -> _Held:
        """Refresh a grant, or wait for whoever does; where its token is ``usable``, nobody waits."""
        if self._clock.monotonic() < held.refused_until:
            raise CredentialUnusable(held.refusal)
        claim = ClaimGrant(upstream.id, principal, held.grant.generation, self._holder, _CLAIM_SECONDS)
        if await self._grants.claim(claim):
            token = await self._refresh(upstream, held.tokens)
            return await self._take(upstream, principal, key, held, token)
        return held if usable else await self._of_another(upstream, principal, key, held)

    async def _refresh(self, upstream: Upstream, tokens: Tokens) -> Token:
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh, "client_id": tokens.client.id}
        if tokens.resource:
            form["resource"] = tokens.resource
        client = tokens.client
        return await self._endpoints.ask(
            tokens.token_endpoint, form, client=client.pair, auth=client.auth, whose=upstream.name
        )

    async def _take(self, upstream: Upstream, principal: str, key: str, held: _Held, token: Token) -> _Held:
        """Keep what a refresh gave; a refresh token that was not replaced stays good (RFC 6749, section 6)."""
        tokens = msgspec.structs.replace(
            held.tokens, access=token.access, expires_at=expiry(self._clock, token),
            refresh=token.refresh or held.tokens.refresh, scope=token.scope or held.tokens.scope,
        )  # fmt: skip
        request = StoreGrant(
            upstream.id, principal, self._vault.seal(upstream.id, principal, tokens), tokens.scope, tokens.expires_at,
            held.grant.generation,
        )  # fmt: skip
        fresh = self._keep(key, held.grant, tokens, since=self._clock.monotonic())
        fresh.unsaved = request
        return await self._save(upstream, principal, key, fresh)

    async def _save(self, upstream: Upstream, principal: str, key: str, held: _Held) -> _Held:
        """Store what is not stored yet; while that fails it is used all the same, and stored later."""
        if held.unsaved is None:
            return held
        try:
            grant = await self._grants.store(held.unsaved)
        except (Conflict, NotFound):  # consented anew, or revoked, meanwhile
            self._held.pop(key, None)
            return await self._read(upstream, principal, key)
        except InterlockError as error:
            _log.warning("refreshed tokens are not stored yet", upstream=upstream.name, reason=error.detail)
            return held
        return self._keep(key, grant, held.tokens, since=held.since)

    async def _of_another(self, upstream: Upstream, principal: str, key: str, held: _Held) -> _Held:
        """Somebody else refreshes it: what that gives is ours too."""
        try:
            await self._grants.newer(upstream.id, principal, held.grant.generation, _WAIT_SECONDS)
        except TimeoutError:
            raise CredentialUnusable(
                f"the token of {principal} for upstream {upstream.name} is being refreshed, which takes its time"
            ) from None
        return await self._read(upstream, principal, key)

    async def _lose(self, upstream: Upstream, principal: str, key: str, held: _Held) -> None:
        """The grant is of no use any more: forget it, and ask the principal again."""
        self._held.pop(key, None)
        await self._grants.drop(upstream.id, principal, held.grant.generation)
        raise self.needed(upstream, principal)


def expiry(clock: Clock, token: Token) -> int:
    """When a token that came just now ends, in seconds since the epoch."""
    return int(clock.time() + min(token.lifetime, _LONGEST_SECONDS))
