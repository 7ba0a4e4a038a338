"""Asking an OAuth token endpoint (RFC 6749, section 3.2), through the same guard as upstreams."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and for how many seconds it counts; ``refresh`` and ``scope`` are empty where none were given."""

    access: str
    lifetime: float
    refresh: str = ""
    scope: str = ""


class _Answer(msgspec.Struct, frozen=True):
    access_token: str = ""
    token_type: str = "Bearer"  # noqa: S105 - a type, RFC 6750
    expires_in: float | str | None = None
    refresh_token: str = ""
    scope: str = ""
    error: str = ""


_answer = msgspec.json.Decoder(_Answer)


class TokenEndpoints:
    """Asks token endpoints, each question bounded in time and size."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._http: aiohttp.ClientSession | None = None

    async def ask(self, url: str, form: Mapping[str, str], *, client: tuple[str, str] | None, whose: str) -> Token:
        """Send ``form``, with ``client`` id and secret as client_secret_basic (section 2.3.1), and answer the token.

        ``whose`` is the upstream that errors name. Raises CredentialUnusable and AddressForbidden.
        """
        address = URL(url)
        if address.scheme != "https" and not (address.scheme == "http" and self._policy.allow_private):
            raise CredentialUnusable(f"the token endpoint of upstream {whose} must have an https address")
        self._policy.check(address)
        headers = {"Accept": "application/json"}
        if client is not None:
            pair = ":".join(quote_plus(part) for part in client)
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        try:
            async with self._session().post(address, data=dict(form), headers=headers, allow_redirects=False) as answer:
                return _token(answer.status, await _read(answer), whose)
        except TimeoutError:
            raise CredentialUnusable(f"the token endpoint of upstream {whose} did not answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CredentialUnusable(f"the token endpoint of upstream {whose} failed: {type(error).__name__}") from None

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
        raise CredentialUnusable(f"the token endpoint of upstream {whose} refused: {code}")
    if answer.token_type.lower() != "bearer" or not _TOKEN.fullmatch(answer.access_token):
        raise CredentialUnusable(f"the token endpoint of upstream {whose} gave no bearer token")
    return Token(answer.access_token, _seconds(answer.expires_in), answer.refresh_token, answer.scope)


def _seconds(lifetime: float | str | None) -> float:
    """Some endpoints say the lifetime as text, some not at all."""
    try:
        return max(0.0, float(lifetime)) if lifetime is not None else _DEFAULT_LIFETIME
    except ValueError:
        return _DEFAULT_LIFETIME
