"""Getting CRLs and OCSP answers over HTTP: bounded, with a deadline, and never further than where it was sent."""

from urllib.parse import urlsplit

import aiohttp

from interlock_common.errors import ConfigurationError, UpstreamFailed

_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_SCHEMES = ("http", "https")
_OCSP = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


def check_url(setting: str, url: str) -> None:
    """Raise ConfigurationError for what cannot be fetched."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ConfigurationError(f"{setting}: {url} is no http or https address")


class Fetcher:
    """One session for all of it, made when it is first needed."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, limit: int) -> bytes:
        """The body of an answer of at most ``limit`` bytes; raises UpstreamFailed."""
        return await self._fetch("GET", url, None, limit)

    async def ask(self, url: str, body: bytes, limit: int) -> bytes:
        """What an OCSP responder answers to a request in DER; raises UpstreamFailed."""
        return await self._fetch("POST", url, body, limit)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, method: str, url: str, body: bytes | None, limit: int) -> bytes:
        if urlsplit(url).scheme not in _SCHEMES:
            raise UpstreamFailed("only http and https are fetched")
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        headers = None if body is None else _OCSP
        try:
            async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer:
                if answer.status != 200:  # noqa: PLR2004 - OK
                    raise UpstreamFailed(f"{url} answered {answer.status}")
                content = await answer.content.read(limit + 1)
                while len(content) <= limit and (more := await answer.content.read(limit + 1)):
                    content += more
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UpstreamFailed(f"{url} cannot be fetched: {error or type(error).__name__}") from None
        if len(content) > limit:
            raise UpstreamFailed(f"{url} answers more than {limit} bytes")
        return content
