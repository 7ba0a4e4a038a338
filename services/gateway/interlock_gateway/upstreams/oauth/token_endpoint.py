"""Asking an OAuth token endpoint (RFC 6749, section 3.2), through the same guard as upstreams."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote_plus

import aiohttp
import msgspec
from yarl import URL

from interlock_gateway.upstreams.addresses import AddressPolicy, upstream_connector
from interlock_gateway.upstreams.credentials import CredentialUnusable

_SECONDS = 10.0
_ANSWER_BYTES = 64 * 1024
_DEFAULT_LIFETIME = 300.0
_OK = 200
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")

type ClientAuth = Literal["client_secret_basic", "client_secret_post", "none"]
"""How a client shows who it is (RFC 7591, section 2); all three that need no key pair."""


class TokenRefused(CredentialUnusable):
    """The token endpoint answered that it gives no token; ``reason`` is its error code (RFC 6749, section 5.2)."""

    code = "upstream_token_refused"

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token and for how many seconds it counts; ``refresh`` and ``scope`` are empty where none were given."""

    access: str
    lifetime: float
    refresh: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an authorization server, or an upstream about its own, answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Answer(msgspec.Struct, frozen=True):
    access_token: str = ""
    token_type: str = "Bearer"  # noqa: S105 - a type, RFC 6750
    expires_in: float | str | None = None
    refresh_token: str = ""
    scope: str = ""
    error: str = ""


_answer = msgspec.json.Decoder(_Answer)


class TokenEndpoints:
    """Asks token endpoints and what belongs to them, each question bounded in time and size."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._http: aiohttp.ClientSession | None = None

    async def ask(
        self, url: str, form: Mapping[str, str], *, client: tuple[str, str] | None, whose: str,
        auth: ClientAuth = "client_secret_basic",
    ) -> Token:  # fmt: skip
        """Send ``form``, with ``client`` id and secret in the way of ``auth`` (section 2.3.1), and answer the token.

        ``whose`` is the upstream that errors name. Raises CredentialUnusable, as TokenRefused where the endpoint
        gave a reason, and AddressForbidden.
        """
        what = f"the token endpoint of upstream {whose}"
        answer = await self.fetch("POST", url, what=what, form=form, client=client, auth=auth)
        return _token(answer.status, answer.body, whose)

    async def fetch(
        self, method: str, url: str, *, what: str, form: Mapping[str, str] | None = None, json: bytes | None = None,
        client: tuple[str, str] | None = None, auth: ClientAuth = "client_secret_basic",
    ) -> Fetched:  # fmt: skip
        """One exchange with an OAuth endpoint, ``what`` in the words of an error; redirects are answers like others."""
        address = self.checked(url, what)
        headers = {"Accept": "application/json"}
        if client is not None and auth == "client_secret_basic":
            pair = ":".join(quote_plus(part) for part in client)
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif client is not None:
            shown = {"client_id": client[0]} if auth == "none" else {"client_id": client[0], "client_secret": client[1]}
            form = {**(form or {}), **shown}
        if json is not None:
            headers["Content-Type"] = "application/json"
        data = json if form is None else dict(form)
        try:
            async with self._session().request(
                method, address, data=data, headers=headers, allow_redirects=False
            ) as answer:
                return Fetched(answer.status, answer.headers, await _read(answer))
        except TimeoutError:
            raise CredentialUnusable(f"{what} did not answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CredentialUnusable(f"{what} failed: {type(error).__name__}") from None

    def checked(self, url: str, what: str) -> URL:
        """``url`` as an address that may be asked; raises CredentialUnusable and AddressForbidden."""
        try:
            address = URL(url)
        except ValueError:
            raise CredentialUnusable(f"{what} has an address that is none") from None
        secure = address.scheme == "https" or (address.scheme == "http" and self._policy.allow_private)
        if not secure or not address.host:
            raise CredentialUnusable(f"{what} must have an https address")
        self._policy.check(address)
        return address

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=upstream_connector(policy=self._policy),
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._http


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _ANSWER_BYTES:
            raise ValueError
    return bytes(body)


def _token(status: int, body: bytes, whose: str) -> Token:
    try:
        answer = _answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CredentialUnusable(
            f"the token endpoint of upstream {whose} answered HTTP {status} with what is no token"
        ) from None
    if status != _OK or answer.error:
        code = answer.error if _ERROR_CODE.fullmatch(answer.error) else f"HTTP {status}"
        raise TokenRefused(f"the token endpoint of upstream {whose} refused: {code}", code)
    if answer.token_type.lower() != "bearer" or not _TOKEN.fullmatch(answer.access_token):
        raise CredentialUnusable(f"the token endpoint of upstream {whose} gave no bearer token")
    return Token(answer.access_token, _seconds(answer.expires_in), answer.refresh_token, answer.scope)


def _seconds(lifetime: float | str | None) -> float:
    """Some endpoints say the lifetime as text, some not at all."""
    try:
        return max(0.0, float(lifetime)) if lifetime is not None else _DEFAULT_LIFETIME
    except ValueError:
        return _DEFAULT_LIFETIME
