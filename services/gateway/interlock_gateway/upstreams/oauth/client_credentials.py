"""The gateway's own access token for an upstream (RFC 6749, section 4.4, with RFC 8707 resource indicators)."""

import asyncio
from dataclasses import dataclass, field

from interlock_common.clock import Clock
from interlock_common.messages.catalog import Credential, Upstream
from interlock_gateway.upstreams.credentials import CredentialUnusable, Headers, SealedSecrets
from interlock_gateway.upstreams.oauth.token_endpoint import Token, TokenEndpoints

_MARGIN_SECONDS = 30.0
_MARGIN_SHARE = 0.1
_FRESH_SECONDS = 5.0
_REST_SECONDS = 2.0
_OPTIONAL = ("scope", "resource", "audience")


@dataclass(slots=True)
class _Held:
    """The token of one upstream, and whoever asks for it."""

    credential: Credential
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    access: str = ""
    since: float = 0.0
    until: float = 0.0
    refused_until: float = 0.0
    refusal: str = ""


class ClientCredentials:
    """Provider of the kind ``client_credentials``.

    ``public`` has ``token_endpoint`` and ``client_id``, and may have ``scope``, ``resource`` and ``audience``; the
    secret is ``client_secret``. A token is asked for once, by whoever comes first, and kept until shortly before it
    expires or the upstream refuses it.
    """

    def __init__(self, secrets: SealedSecrets, endpoints: TokenEndpoints, clock: Clock) -> None:
        self._secrets = secrets
        self._endpoints = endpoints
        self._clock = clock
        self._held: dict[str, _Held] = {}

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        del principal  # the token is the gateway's own
        held = self._held.get(upstream.id)
        if held is None or held.credential != upstream.credential:
            held = self._held[upstream.id] = _Held(upstream.credential)
        if self._clock.monotonic() >= held.until:
            async with held.asking:
                if self._clock.monotonic() >= held.until:
                    await self._renew(upstream, held)
        return {"Authorization": f"Bearer {held.access}"}

    def invalid(self, upstream: Upstream, principal: str, challenge: str) -> bool:
        """A token that was refused when it was fresh will not be better when asked for again."""
        del principal, challenge
        held = self._held.get(upstream.id)
        if held is None or not held.access:
            return False
        fresh = self._clock.monotonic() - held.since < _FRESH_SECONDS
        if not fresh:
            held.until = 0.0
        return not fresh

    async def _renew(self, upstream: Upstream, held: _Held) -> None:
        now = self._clock.monotonic()
        if now < held.refused_until:
            raise CredentialUnusable(held.refusal)
        try:
            token = await self._ask(upstream)
        except CredentialUnusable as error:
            held.refusal, held.refused_until = error.detail, self._clock.monotonic() + _REST_SECONDS
            raise
        now = self._clock.monotonic()
        held.access, held.since = token.access, now
        held.until = now + token.lifetime - min(_MARGIN_SECONDS, token.lifetime * _MARGIN_SHARE)

    async def _ask(self, upstream: Upstream) -> Token:
        public = upstream.credential.public
        missing = [name for name in ("token_endpoint", "client_id") if not public.get(name)]
        if missing:
            raise CredentialUnusable(f"the credential of upstream {upstream.name} has no {' and no '.join(missing)}")
        form = {"grant_type": "client_credentials"} | {name: public[name] for name in _OPTIONAL if public.get(name)}
        client = (public["client_id"], self._secrets.of(upstream, "client_secret"))
        return await self._endpoints.ask(public["token_endpoint"], form, client=client, whose=upstream.name)
