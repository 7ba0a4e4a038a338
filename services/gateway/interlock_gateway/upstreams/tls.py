"""TLS towards upstreams: a context for each set of files, built anew when one of them changes.

A new context is built and only then takes the place of the old one; where that fails, the old one stays in use and
``problems`` says why. Connections that are open keep the context they began with.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from interlock_common.clock import Clock
from interlock_common.messages.catalog import Tls, Upstream
from interlock_gateway.errors import UpstreamUnreachable

_log = structlog.get_logger()
_LOOK_SECONDS = 1.0
_MAX_CONTEXTS = 1_000

type _Stamp = tuple[tuple[int, int, int] | None, ...]


class TlsUnusable(UpstreamUnreachable):
    """The files of an upstream's TLS settings cannot be used."""

    code = "upstream_tls_unusable"


class UnsafeSkipVerification:
    """Makes a context trust whoever answers: anybody on the way can read and change what passes."""

    def __init__(self, context: ssl.SSLContext, upstream: str) -> None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _log.warning("the certificate of an upstream is not verified", upstream=upstream)


@dataclass(slots=True)
class _Entry:
    context: ssl.SSLContext
    stamp: _Stamp
    look_at: float


@dataclass
class TlsContexts:
    """The contexts in use; files are looked at once a second at most."""

    clock: Clock
    problems: dict[str, str] = field(default_factory=dict[str, str])
    """By upstream id: why its files, as they are now, cannot be used."""
    _entries: dict[tuple[str, Tls], _Entry] = field(default_factory=dict[tuple[str, Tls], _Entry])

    def of(self, upstream: Upstream) -> ssl.SSLContext:
        """The context for ``upstream``; raises TlsUnusable where there has never been one."""
        settings = upstream.tls or Tls()
        key = (upstream.id, settings)
        entry = self._entries.get(key)
        now = self.clock.monotonic()
        if entry is not None and now < entry.look_at:
            return entry.context
        stamp = _stamp(settings)
        if entry is None or entry.stamp != stamp:
            entry = self._renewed(upstream, settings, entry, stamp)
        entry.look_at = now + _LOOK_SECONDS
        return entry.context

    def _renewed(self, upstream: Upstream, settings: Tls, old: _Entry | None, stamp: _Stamp) -> _Entry:
        try:
            context = build(settings, upstream.name)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = f"{type(error).__name__}: {getattr(error, 'reason', None) or getattr(error, 'strerror', None)}"
            self.problems[upstream.id] = reason
            if old is None:
                raise TlsUnusable(f"the TLS files of upstream {upstream.name} cannot be used: {reason}") from None
            _log.error("changed TLS files cannot be used, the old ones stay", upstream=upstream.name, reason=reason)
            old.stamp = stamp
            return old
        self.problems.pop(upstream.id, None)
        for other in [key for key in self._entries if key[0] == upstream.id]:
            del self._entries[other]
        if len(self._entries) >= _MAX_CONTEXTS:
            del self._entries[next(iter(self._entries))]
        entry = self._entries[upstream.id, settings] = _Entry(context, stamp, 0.0)
        return entry


def build(settings: Tls, upstream: str) -> ssl.SSLContext:
    """A context as ``settings`` ask for; raises OSError, ssl.SSLError or ValueError for files that are unfit."""
    context = ssl.create_default_context(cafile=settings.ca_bundle or None)
    context.check_hostname = settings.check_hostname
    if settings.certfile:
        # An empty password: a protected key is an error, not a question on the terminal.
        context.load_cert_chain(settings.certfile, settings.keyfile or None, password="")
    if not settings.verify:
        UnsafeSkipVerification(context, upstream)
    return context


def _stamp(settings: Tls) -> _Stamp:
    return tuple(_state(path) for path in (settings.ca_bundle, settings.certfile, settings.keyfile) if path)


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino, state.st_size
