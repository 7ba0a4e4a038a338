"""The one place from which auth asks addresses that others named: guarded, bounded in time, size and number."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote_plus

import aiohttp
from yarl import URL

from interlock_auth.errors import ProviderUnreachable
from interlock_common.addresses import AddressPolicy, GuardedResolver
from interlock_common.errors import UpstreamFailed

SECONDS = 5.0
MAX_BYTES = 64 * 1024
_AT_ONCE = 8
_MAX_URL = 2048
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Fetched:
    status: int
    body: bytes


class Fetcher(Protocol):
    """Asks one address; redirects are answers like others."""

    async def get(self, url: str) -> Fetched: ...

    async def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> Fetched: ...


class GuardedFetcher:
    """Reaches what the policy allows, over TLS; over plain HTTP only this machine, where the policy allows that."""

    def __init__(self, policy: AddressPolicy, seconds: float = SECONDS) -> None:
        self._policy = policy
        self._seconds = seconds
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def get(self, url: str) -> Fetched:
        """What is at ``url``; raises ProviderUnreachable."""
        return await self._ask("GET", url)

    async def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> Fetched:
        """What ``url`` answers to ``form``, sent with these credentials; raises ProviderUnreachable."""
        return await self._ask("POST", url, form, basic)

    async def _ask(
        self, method: str, url: str, form: Mapping[str, str] | None = None, basic: tuple[str, str] | None = None
    ) -> Fetched:
        address = self._checked(url)
        headers = {"Accept": "application/json"}
        if basic is not None:
            pair = ":".join(map(quote_plus, basic))  # RFC 6749, section 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        try:
            async with asyncio.timeout(self._seconds), self._slots, self._session() as session:
                sent = session.request(method, address, data=form, headers=headers, allow_redirects=False)
                async with sent as answer:
                    return Fetched(answer.status, await _read(answer))
        except TimeoutError:
            raise ProviderUnreachable(f"{address.host} did not answer within {self._seconds:g} s") from None
        except UpstreamFailed as error:
            raise ProviderUnreachable(error.detail) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderUnreachable(f"{address.host} could not be asked: {type(error).__name__}") from None

    def _session(self) -> aiohttp.ClientSession:
        """One for each question: questions are rare, and nothing is left open between them."""
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(self._policy), force_close=True)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    def _checked(self, url: str) -> URL:
        try:
            address = URL(url) if len(url) <= _MAX_URL else URL()
            local = self._policy.allow_private and address.host in _LOOPBACK
            if not address.host or address.scheme not in ({"https", "http"} if local else {"https"}):
                raise ProviderUnreachable("an authorization server is reached at an https address")
            self._policy.check(address)
        except UpstreamFailed as error:
            raise ProviderUnreachable(error.detail) from None
        except ValueError:
            raise ProviderUnreachable("the address of the authorization server is none") from None
        return address


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise ValueError
    return bytes(body)
