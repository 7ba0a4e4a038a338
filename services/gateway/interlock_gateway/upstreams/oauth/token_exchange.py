"""A token of an upstream's own authorization server, for a principal that we vouch for (RFC 8693).

The subject token is an assertion that auth signs for this one purpose: never the token the client came with.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from interlock_common.clock import Clock
from interlock_common.messages.catalog import Credential, Upstream
from interlock_gateway.upstreams.credentials import CredentialUnusable, Headers, SealedSecrets
from interlock_gateway.upstreams.oauth.token_endpoint import Token, TokenEndpoints

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_OPTIONAL = ("scope", "resource", "audience")
_MARGIN_SECONDS = 30.0
_MARGIN_SHARE = 0.1
_FRESH_SECONDS = 5.0
_REST_SECONDS = 2.0
_MAX_HELD = 10_000


class Vouching(Protocol):
    """Says who a principal is, to one audience."""

    async def assertion(self, principal: str, audience: str) -> str:
        """A JWT of a minute; raises what asking auth raises."""
        ...


@dataclass(slots=True, repr=False)
class _Held:
    """The token of one principal for one upstream, and whoever asks for it; moments are monotonic."""

    credential: Credential
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    access: str = ""
    since: float = 0.0
    until: float = 0.0
    refused_until: float = 0.0
    refusal: str = ""


class TokenExchange:
    """Provider of the kind ``token_exchange``.

    ``public`` has ``token_endpoint`` and may have ``client_id``, ``scope``, ``resource``, ``audience``, and
    ``assertion_audience`` where that of the assertion is not the token endpoint; the secret is ``client_secret``.
    """

    def __init__(self, secrets: SealedSecrets, endpoints: TokenEndpoints, vouching: Vouching, clock: Clock) -> None:
        self._secrets = secrets
        self._endpoints = endpoints
        self._vouching = vouching
        self._clock = clock
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        held = self._of(upstream, principal)
        if self._clock.monotonic() >= held.until:
            async with held.asking:
                if self._clock.monotonic() >= held.until:
                    await self._renew(upstream, principal, held)
        return {"Authorization": f"Bearer {held.access}"}

    def invalid(self, upstream: Upstream, principal: str, challenge: str) -> bool:
        """A token that was refused when it was fresh will not be better when asked for again."""
        del challenge
        held = self._held.get((upstream.id, principal))
        if held is None or not held.access or self._clock.monotonic() - held.since < _FRESH_SECONDS:
            return False
        held.until = 0.0
        return True

    def _of(self, upstream: Upstream, principal: str) -> _Held:
        key = (upstream.id, principal)
        held = self._held.get(key)
        if held is None or held.credential != upstream.credential:
            held = self._held[key] = _Held(upstream.credential)
        self._held.move_to_end(key)
        if len(self._held) > _MAX_HELD:
            self._held.popitem(last=False)
        return held

    async def _renew(self, upstream: Upstream, principal: str, held: _Held) -> None:
        if self._clock.monotonic() < held.refused_until:
            raise CredentialUnusable(held.refusal)
        try:
            token = await self._exchange(upstream, principal)
        except CredentialUnusable as error:
            held.refusal, held.refused_until = error.detail, self._clock.monotonic() + _REST_SECONDS
            raise
        now = self._clock.monotonic()
        held.access, held.since = token.access, now
        held.until = now + token.lifetime - min(_MARGIN_SECONDS, token.lifetime * _MARGIN_SHARE)

    async def _exchange(self, upstream: Upstream, principal: str) -> Token:
        public = upstream.credential.public
        endpoint = public.get("token_endpoint")
        if not endpoint:
            raise CredentialUnusable(f"the credential of upstream {upstream.name} has no token_endpoint")
        form = {
            "grant_type": _GRANT, "subject_token_type": _JWT, "requested_token_type": _ACCESS,
            "subject_token": await self._vouching.assertion(principal, public.get("assertion_audience") or endpoint),
        }  # fmt: skip
        form |= {name: public[name] for name in _OPTIONAL if public.get(name)}
        client_id = public.get("client_id")
        client = (client_id, self._secrets.of(upstream, "client_secret")) if client_id else None
        return await self._endpoints.ask(endpoint, form, client=client, whose=upstream.name)
