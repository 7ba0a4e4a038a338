"""The TLS context that the next handshake gets, and the files that it follows."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509
from opentelemetry.metrics import CallbackOptions, Observation

from interlock_common import telemetry
from interlock_common.clock import Clock
from interlock_common.tls_handshake import ServerContext
from interlock_gateway.tls_front.automatic import Automatic, listed_names
from interlock_gateway.tls_front.lifetime import Lifetime
from interlock_gateway.tls_front.material import (
    Named,
    UnusableFrontEnd,
    check_authorities,
    check_moment,
    check_pair,
    doubts,
)
from interlock_gateway.tls_front.settings import TlsSettings

_log = structlog.get_logger()
LOOKED_AT_EVERY = 1.0
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_ENSURED_EVERY = 3600.0

type Stamp = tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the certificate of the front end, its key and the authorities of clients are."""

    cert: Named
    key: Named
    password: str | None
    authorities: Named | None
    demand: ssl.VerifyMode
    depth: int
    minimum: ssl.TLSVersion
    automatic: Automatic | None = None

    @classmethod
    def of(cls, settings: TlsSettings, clock: Clock) -> "Source | None":
        """What the settings ask for, None for plain HTTP; raises ConfigurationError when they contradict each other."""
        if not settings.ssl:
            _check_plain(settings)
            return None
        automatic = None
        if settings.cert_file is None and settings.key_file is None:
            directory = settings.auto_cert_dir or settings.identity_dir / "front"
            names = listed_names(settings.auto_cert_sans)
            automatic = Automatic(directory, names, settings.auto_cert_key, clock)
            cert, key = Named("AUTO_CERT_DIR", automatic.cert), Named("AUTO_CERT_DIR", automatic.key)
        else:
            cert = _brought("CERT_FILE", settings.cert_file, "the certificate of KEY_FILE")
            key = _brought("KEY_FILE", settings.key_file, "the private key of CERT_FILE")
        password = settings.key_file_password
        return cls(
            cert,
            key,
            password.get_secret_value() if password is not None else None,
            _authorities(settings),
            ssl.VerifyMode(settings.cert_reqs),
            settings.cert_chain_depth,
            _VERSIONS[settings.tls_minimum_version],
            automatic,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(named.path for named in (self.cert, self.key, self.authorities) if named is not None)

    def stamp(self) -> Stamp:
        """Changes when a file does, or when what a link leads to does (as Kubernetes swaps Secrets)."""
        return tuple(_stamp(path) for path in self.files)

    def load(self, moment: datetime) -> tuple[ServerContext, x509.Certificate]:
        """A new context from the files as they are, and the leaf it shows; raises UnusableFrontEnd.

        Reads the files twice, because OpenSSL does so by itself: they must not change meanwhile.
        """
        chain_pem, key_pem = self.cert.read(), self.key.read()
        leaf = check_pair(self.cert, chain_pem, self.key, key_pem, self.password)
        check_moment(self.cert, chain_pem, moment)
        context = ServerContext(self.depth)
        context.minimum_version = self.minimum
        try:
            # A passphrase is always given: without one, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self.cert.path, self.key.path, self.password or "")
        except (ssl.SSLError, OSError) as error:
            raise UnusableFrontEnd(f"{self.cert} and {self.key} are not taken: {error.strerror or error}") from None
        if (chain_pem, key_pem) != (self.cert.read(), self.key.read()):
            raise UnusableFrontEnd(f"{self.cert} and {self.key} changed while they were read")
        if self.authorities is not None and self.demand is not ssl.CERT_NONE:
            pem = self.authorities.read()
            check_authorities(self.authorities, pem, moment)
            try:
                context.demand_client_certificates(self.demand, pem.decode("ascii", "ignore"))
            except ssl.SSLError as error:
                raise UnusableFrontEnd(f"{self.authorities} is not taken: {error.strerror}") from None
        return context, leaf

    def doubts(self) -> list[str]:
        return doubts(self.cert, self.cert.read())


class TlsFront:
    """The context of the moment; it is replaced as a whole, and connections that are open keep theirs."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._ensured = clock.monotonic()
        self._lifetime = Lifetime(clock)
        if source.automatic is not None:
            source.automatic.ensure()
        self._seen = source.stamp()
        self._context, self.leaf = source.load(clock.now())
        telemetry.meter().create_observable_gauge(
            telemetry.CERTIFICATE_TIME_LEFT, [self._observe], unit="s",
            description="how long the certificate of the front end still counts",
        )  # fmt: skip
        for doubt in source.doubts():
            _log.warning("clients may not take the certificate", doubt=doubt)
        self._say("TLS is served")

    def context(self) -> ssl.SSLContext:
        """For one handshake."""
        return self._context

    async def follow(self, changed: Callable[[], Awaitable[None]] | None = None) -> None:
        """Look at the files for ever, and serve what they hold as soon as it is usable."""
        while True:
            await self._clock.sleep(LOOKED_AT_EVERY)
            if await self.look() and changed is not None:
                await changed()

    async def look(self) -> bool:
        """Take what the files hold now; True when the next handshake gets something new."""
        await self._keep_automatic()
        self._lifetime.look(self.leaf)
        stamp = self._source.stamp()
        if stamp == self._seen:
            return False
        # In a thread: a passphrase is meant to be slow to check. Before loading: a change during it is seen next time.
        self._seen = stamp
        try:
            self._context, self.leaf = await asyncio.to_thread(self._source.load, self._clock.now())
        except UnusableFrontEnd as error:
            _log.warning("TLS goes on with the certificate it has: the new one is not usable", reason=error.detail)
            return False
        self._say("the next handshake gets what was replaced on disk")
        return True

    async def _keep_automatic(self) -> None:
        automatic, now = self._source.automatic, self._clock.monotonic()
        if automatic is not None and now - self._ensured >= _ENSURED_EVERY:
            self._ensured = now
            await asyncio.to_thread(automatic.ensure)

    def _observe(self, _options: CallbackOptions) -> list[Observation]:
        left = (self.leaf.not_valid_after_utc - self._clock.now()).total_seconds()
        return [Observation(left, {telemetry.IDENTITY: "front end"})]

    def _say(self, event: str) -> None:
        source = self._source
        _log.info(
            event, file=str(source.cert.path), subject=self.leaf.subject.rfc4514_string(),
            serial=f"{self.leaf.serial_number:x}", not_after=self.leaf.not_valid_after_utc.isoformat(),
            client_certificates=source.demand.name,
        )  # fmt: skip


def _brought(setting: str, path: Path | None, what: str) -> Named:
    if path is None:
        raise UnusableFrontEnd(f"SSL is on and {setting} is not set: it has to name {what}")
    return Named(setting, path)


def _authorities(settings: TlsSettings) -> Named | None:
    if settings.ca_certs is not None:
        if not settings.cert_reqs:
            _log.warning("CA_CERTS has no effect: CERT_REQS=0 asks clients for no certificate")
        return Named("CA_CERTS", settings.ca_certs)
    if settings.cert_reqs:
        raise UnusableFrontEnd(
            f"CERT_REQS={settings.cert_reqs} asks clients for certificates, and CA_CERTS does not say who issues them"
        )
    return None


def _check_plain(settings: TlsSettings) -> None:
    if settings.cert_reqs:
        raise UnusableFrontEnd(f"CERT_REQS={settings.cert_reqs} asks clients for certificates, and SSL is off")
    if settings.cert_file is not None or settings.key_file is not None:
        _log.warning("CERT_FILE and KEY_FILE have no effect: SSL is off")


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
