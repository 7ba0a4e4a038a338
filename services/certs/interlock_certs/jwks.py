"""The keys of a cluster (JWKS, RFC 7517), from a file or over HTTPS, read anew as they rotate."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec
import structlog

from interlock_certs.errors import JoinRefused, KeySetAway
from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError

_log = structlog.get_logger()
_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"})
_MIN_RSA_BITS = 2048
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 64
_SECONDS = 5.0
_FRESH_SECONDS = 300.0
_STALE_SECONDS = 3600.0
"""Keys that could not be read again for this long count no longer."""
_PAUSE_SECONDS = 5.0
"""Between two readings, however many tokens name keys that nobody knows."""


class _KeySet(msgspec.Struct, frozen=True):
    keys: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Source:
    """Where the keys are: a path, or an ``https`` address, asked with ``token_file`` as bearer where there is one."""

    place: str
    ca_file: Path | None = None
    token_file: Path | None = None

    @property
    def is_remote(self) -> bool:
        return "://" in self.place

    def refuse_unusable(self) -> None:
        """Raise ConfigurationError for an address that is not safe to ask, or a file that is not there."""
        if self.is_remote and not self.place.startswith("https://"):
            raise ConfigurationError(f"KUBERNETES_JWKS {self.place}: keys come by https only, or from a file")
        if not self.is_remote and not Path(self.place).is_file():
            raise ConfigurationError(f"KUBERNETES_JWKS {self.place} is no file")
        if self.is_remote and self.ca_file is not None:
            _context(self.ca_file)


class KeySet:
    """The keys by their ``kid``."""

    def __init__(self, source: Source, clock: Clock) -> None:
        source.refuse_unusable()
        self._source = source
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._one_at_a_time = asyncio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK:
        """The key ``kid``; raises JoinRefused when the cluster has none such, KeySetAway when nobody can tell."""
        async with self._one_at_a_time:
            if self._is_due(kid):
                await self._read()
            known = self._keys.get(kid)
            if self._age() > _STALE_SECONDS:
                raise KeySetAway("the keys of the cluster cannot be read; the log of certs says why")
        if known is None:
            raise JoinRefused("the service-account token is signed by no key of the cluster")
        return known

    def _is_due(self, kid: str) -> bool:
        now = self._clock.monotonic()
        if self._tried_at is not None and now - self._tried_at < _PAUSE_SECONDS:
            return False
        return kid not in self._keys or self._age() > _FRESH_SECONDS

    def _age(self) -> float:
        return float("inf") if self._read_at is None else self._clock.monotonic() - self._read_at

    async def _read(self) -> None:
        self._tried_at = self._clock.monotonic()
        try:
            content = await self._fetch() if self._source.is_remote else await asyncio.to_thread(self._from_file)
            self._keys = _usable(content)
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError, RecursionError, ConfigurationError) as error:
            _log.warning("keys of the cluster not read", place=self._source.place, error=str(error) or repr(error))
            return
        self._read_at = self._tried_at

    def _from_file(self) -> bytes:
        with Path(self._source.place).open("rb") as file:
            return file.read(_MAX_BYTES + 1)

    async def _fetch(self) -> bytes:
        source, headers = self._source, {"Accept": "application/jwk-set+json, application/json"}
        if source.token_file is not None:  # read each time: it rotates
            token = await asyncio.to_thread(source.token_file.read_text, "ascii")
            headers["Authorization"] = f"Bearer {token.strip()}"
        context = await asyncio.to_thread(_context, source.ca_file)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.get(source.place, headers=headers, ssl=context, allow_redirects=False) as response,
        ):
            if response.status != 200:  # noqa: PLR2004
                raise ValueError(f"it answered {response.status}")
            content = bytearray()
            async for chunk in response.content.iter_chunked(16 * 1024):
                content += chunk
                if len(content) > _MAX_BYTES:
                    break
            return bytes(content)


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError):
            raise ConfigurationError(f"KUBERNETES_CA_FILE {ca_file} holds no PEM certificates") from None
    return context


def _usable(content: bytes) -> dict[str, jwt.PyJWK]:
    """The signing keys of a set; what is no public key for one of our algorithms is left out."""
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is over {_MAX_BYTES} bytes")
    found = msgspec.json.decode(content, type=_KeySet).keys
    if len(found) > _MAX_KEYS:
        raise ValueError(f"it has over {_MAX_KEYS} keys")
    keys: dict[str, jwt.PyJWK] = {}
    for entry in found:
        kid = entry.get("kid")
        if not isinstance(kid, str) or entry.get("kty") not in {"RSA", "EC", "OKP"} or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if key.algorithm_name in _ALGORITHMS and getattr(key.key, "key_size", _MIN_RSA_BITS) >= _least_bits(key):
            keys[kid] = key
    return keys


def _least_bits(key: jwt.PyJWK) -> int:
    return _MIN_RSA_BITS if key.key_type == "RSA" else 0
