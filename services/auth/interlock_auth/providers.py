"""What an authorization server says of itself and of its keys (OpenID Connect Discovery, RFC 8414, RFC 7517)."""

from urllib.parse import urlsplit

import msgspec

from interlock_auth.errors import KeysUnusable, ProviderUnreachable
from interlock_auth.fetching import Fetcher
from interlock_auth.jwks import read_keys
from interlock_common.messages.issuers import IssuerSettings, PinnedKey

_OK, _NOT_FOUND = 200, 404
_S256 = "S256"


class ProviderEndpoints(msgspec.Struct, frozen=True):
    """The metadata that matter here."""

    issuer: str = ""
    jwks_uri: str = ""
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    code_challenge_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False

    @property
    def origin(self) -> str:
        """Where a browser goes to log in."""
        parts = urlsplit(self.authorization_endpoint)
        return f"{parts.scheme}://{parts.netloc}"


_endpoints = msgspec.json.Decoder(ProviderEndpoints)


class Providers:
    """Asks authorization servers."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def read(self, settings: IssuerSettings) -> tuple[ProviderEndpoints, tuple[PinnedKey, ...]]:
        """Where it is asked, and its keys; raises ProviderUnreachable and KeysUnusable.

        The document is asked for only where something in it is needed.
        """
        endpoints = ProviderEndpoints(settings.issuer, settings.jwks_uri)
        if not settings.jwks_uri or settings.login is not None:
            endpoints = await self._discovered(settings)
        answer = await self._fetcher.get(settings.jwks_uri or endpoints.jwks_uri)
        if answer.status != _OK:
            raise ProviderUnreachable(f"the keys of {settings.issuer} were answered with HTTP {answer.status}")
        return endpoints, read_keys(answer.body, settings.algorithms)

    async def _discovered(self, settings: IssuerSettings) -> ProviderEndpoints:
        parts = urlsplit(settings.issuer)
        path = parts.path.rstrip("/")
        origin = f"{parts.scheme}://{parts.netloc}"
        answer = await self._fetcher.get(f"{origin}{path}/.well-known/openid-configuration")
        if answer.status == _NOT_FOUND:
            answer = await self._fetcher.get(f"{origin}/.well-known/oauth-authorization-server{path}")
        if answer.status != _OK:
            raise ProviderUnreachable(f"the metadata of {settings.issuer} were answered with HTTP {answer.status}")
        try:
            found = _endpoints.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderUnreachable(f"{settings.issuer} answered with what are no metadata") from None
        if found.issuer != settings.issuer:  # whoever answers there could speak for somebody else
            raise KeysUnusable("the metadata at the issuer's address are of another issuer")
        return found
