"""What the gateway shows an upstream of itself: never anything of the client's.

A provider for each kind of credential makes the headers; kinds of other modules register theirs.
"""

import base64
from collections.abc import Mapping
from typing import Protocol

import msgspec

from interlock_common.messages.catalog import Upstream
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway.errors import UpstreamUnreachable

_PURPOSE = "credential"
_MAX_OPENED = 2_000
_secrets = msgspec.json.Decoder(dict[str, str])

type Headers = Mapping[str, str]


class CredentialUnusable(UpstreamUnreachable):
    """The upstream's credential cannot be used: not sealed under our secret, incomplete, or refused."""

    code = "upstream_credential_unusable"
    retryable = False


class Provider(Protocol):
    """Makes the headers of one kind of credential."""

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        """The headers for ``principal``; raises CredentialUnusable, or what a kind needs to be told to its user."""
        ...

    def invalid(self, upstream: Upstream, principal: str, challenge: str) -> bool:
        """The upstream answered 401, with this ``WWW-Authenticate``: forget what it refused.

        Answers whether asking for headers again can give others.
        """
        ...


class Credentials:
    """The credential of each upstream, as headers."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)

    def add(self, kind: str, provider: Provider) -> None:
        """Take a provider of one more kind."""
        self._providers[kind] = provider

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        """What to send to ``upstream`` for ``principal``; ask only where its kind is not ``none``."""
        kind = upstream.credential.kind
        if kind == "none":
            return {}
        provider = self._providers.get(kind)
        if provider is None:
            raise CredentialUnusable(f"upstream {upstream.name} has a credential of a kind that is not set up: {kind}")
        return await provider.headers(upstream, principal)

    def invalid(self, upstream: Upstream, principal: str, challenge: str = "") -> bool:
        """The upstream refused what it was shown; answers whether to try again."""
        provider = self._providers.get(upstream.credential.kind)
        return provider is not None and provider.invalid(upstream, principal, challenge)


class SealedSecrets:
    """Opens the sealed parts of credentials, and remembers them while they stay the same."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._opened: dict[tuple[str, str], dict[str, str]] = {}

    def of(self, upstream: Upstream, name: str) -> str:
        """The secret ``name`` of the upstream's credential; raises CredentialUnusable."""
        sealed = upstream.credential.sealed
        opened = self._opened.get((upstream.id, sealed))
        if opened is None:
            opened = self._open(upstream, sealed)
        value = opened.get(name)
        if not value:
            raise CredentialUnusable(f"the credential of upstream {upstream.name} has no {name}")
        return value

    def _open(self, upstream: Upstream, sealed: str) -> dict[str, str]:
        try:
            opened = _secrets.decode(self._sealer.open(_PURPOSE, sealed, upstream.id.encode()) if sealed else b"{}")
        except (SealBroken, msgspec.DecodeError):
            raise CredentialUnusable(
                f"the credential of upstream {upstream.name} was not sealed under this AUTH_ENCRYPTION_SECRET"
            ) from None
        for other in [key for key in self._opened if key[0] == upstream.id]:
            del self._opened[other]
        if len(self._opened) >= _MAX_OPENED:
            del self._opened[next(iter(self._opened))]
        self._opened[upstream.id, sealed] = opened
        return opened


class HeaderProvider:
    """A fixed header: ``public`` has its ``name`` and maybe a ``prefix`` of the value, the secret is ``value``."""

    def __init__(self, secrets: SealedSecrets) -> None:
        self._secrets = secrets

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        del principal
        public = upstream.credential.public
        value = public.get("prefix", "") + self._secrets.of(upstream, "value")
        if not (value.isascii() and value.isprintable()):
            raise CredentialUnusable(f"the credential of upstream {upstream.name} cannot be sent as a header")
        return {public.get("name", "Authorization"): value}

    def invalid(self, upstream: Upstream, principal: str, challenge: str) -> bool:
        del upstream, principal, challenge
        return False


class BasicProvider:
    """A user, in ``public`` as ``user``, and the secret ``password`` (RFC 7617)."""

    def __init__(self, secrets: SealedSecrets) -> None:
        self._secrets = secrets

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        del principal
        pair = f"{upstream.credential.public.get('user', '')}:{self._secrets.of(upstream, 'password')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def invalid(self, upstream: Upstream, principal: str, challenge: str) -> bool:
        del upstream, principal, challenge
        return False
