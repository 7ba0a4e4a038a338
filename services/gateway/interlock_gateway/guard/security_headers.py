"""Headers that tell browsers what not to do with an answer; what an endpoint says of its own counts instead."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from interlock_common.errors import ConfigurationError

type Pairs = tuple[tuple[bytes, bytes], ...]
type Framing = Literal["DENY", "SAMEORIGIN"]

_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors {ancestors}"
_ANCESTORS: dict[Framing, str] = {"DENY": "'none'", "SAMEORIGIN": "'self'"}


@dataclass(frozen=True, slots=True)
class SecurityHeaders:
    """What is added to every answer. ``hsts_seconds`` of 0 means no Strict-Transport-Security (RFC 6797).

    ``content_policy`` replaces the policy that allows nothing.
    """

    enabled: bool = True
    framing: Framing = "DENY"
    hsts_seconds: int = 0
    content_policy: str = ""
    _fixed: Pairs = field(init=False)
    _strict: Pairs = field(init=False)

    def __post_init__(self) -> None:
        policy = self.content_policy or _POLICY.format(ancestors=_ANCESTORS[self.framing])
        if not policy.isascii() or not policy.isprintable():
            raise ConfigurationError("CONTENT_SECURITY_POLICY is one line of printable ASCII")
        fixed: Pairs = (
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", self.framing.encode()),
            (b"content-security-policy", policy.encode()),
            # Not no-referrer: with that, browsers send forms without saying the origin of their page.
            (b"referrer-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        )
        strict = ((b"strict-transport-security", b"max-age=%d" % self.hsts_seconds),) if self.hsts_seconds else ()
        object.__setattr__(self, "_fixed", fixed if self.enabled else ())
        object.__setattr__(self, "_strict", (*fixed, *strict) if self.enabled else ())

    def beside(self, headers: Iterable[tuple[bytes, bytes]], *, https: bool) -> Pairs:
        """Those of ours that ``headers`` lack."""
        ours = self._strict if https else self._fixed
        for name, _ in headers:
            if name in _OFTEN_SAID:
                said = dict(headers)
                return tuple(pair for pair in ours if pair[0] not in said)
        return ours


_OFTEN_SAID = frozenset({
    b"cache-control", b"content-security-policy", b"x-frame-options", b"referrer-policy", b"x-content-type-options",
    b"strict-transport-security",
})  # fmt: skip
