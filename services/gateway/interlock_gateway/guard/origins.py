"""Which pages of browsers may call, and what their browsers are told of that (CORS, WHATWG Fetch, section 3.3).

Two questions: may a page call at all (``Origins``, the check against DNS rebinding that MCP asks for), and may a page
of another origin read the answers (``Cors``). The second is never answered with ``*``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from interlock_common.errors import ConfigurationError

_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LOOPBACK = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_PREFLIGHT_SECONDS = b"600"
_MAX_NAMED = 2048
_READABLE = (
    b"mcp-session-id, mcp-protocol-version, interlock-audit, ratelimit-limit, ratelimit-remaining, ratelimit-reset, "
    b"ratelimit-policy, retry-after, www-authenticate, location"
)
_MAY_SEND = frozenset({b"accept", b"authorization", b"content-type", b"last-event-id", b"traceparent", b"tracestate"})

type Pairs = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Origins:
    """Origins that were named, and with ``loopback`` those of any port of the browser's own machine."""

    named: frozenset[str]
    loopback: bool = False

    @classmethod
    def of(cls, text: str, *, loopback: bool = False, more: Iterable[str] = ()) -> "Origins":
        """Of a comma-separated setting; raises ConfigurationError for what is no origin, ``*`` among it."""
        named = {part.strip().rstrip("/") for part in text.split(",") if part.strip()}
        wrong = sorted(origin for origin in named if not _ORIGIN.fullmatch(origin))
        if wrong:
            raise ConfigurationError(
                f"ALLOWED_ORIGINS is origins as https://app.example.com, comma-separated; {wrong[0][:100]} is none"
            )
        return cls(frozenset({*named, *more}), loopback)

    def __contains__(self, origin: object) -> bool:
        if origin in self.named:
            return True
        return self.loopback and isinstance(origin, str) and _LOOPBACK.fullmatch(origin) is not None


@dataclass(frozen=True, slots=True)
class Cors:
    """What browsers are told; ``credentials`` lets pages send cookies along."""

    origins: Origins
    credentials: bool = False
    enabled: bool = True
    _more: Pairs = field(init=False)

    def __post_init__(self) -> None:
        shown: Pairs = ((b"access-control-allow-credentials", b"true"),) if self.credentials else ()
        object.__setattr__(self, "_more", (*shown, (b"vary", b"origin")))

    def readable(self, origin: bytes) -> Pairs:
        """The headers of an answer to a page of ``origin``."""
        if not self._allows(origin):
            return ((b"vary", b"origin"),) if self.enabled else ()
        return ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", _READABLE), *self._more)

    def preflight(self, origin: bytes, asked: bytes) -> Pairs | None:
        """What a browser that asks first is told besides ``readable``; None where the page may not call at all."""
        if not self._allows(origin):
            return None
        wanted = (name.strip().lower() for name in asked[:_MAX_NAMED].split(b","))
        allowed = [name for name in wanted if name in _MAY_SEND or name.startswith(b"mcp-")]
        return (
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", b", ".join(allowed)),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
        )

    def _allows(self, origin: bytes) -> bool:
        return self.enabled and origin.decode("latin-1") in self.origins
