"""How a service gets its first certificate (EST, RFC 7030) and keeps it fresh over the bus."""

import asyncio
import base64
import random
import ssl
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import aiohttp
import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from nats.errors import Error as NatsError

from interlock_common import problem, tls
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, Unauthenticated, Unavailable, UpstreamFailed
from interlock_common.identity import Identity
from interlock_common.messages.certs import IssuedLeaf, RenewLeaf
from interlock_common.messages.subjects import leaf_renew
from interlock_common.tls import UnusableIdentity

_log = structlog.get_logger()
_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
_ENROL_PATH = "/.well-known/est/simpleenroll"
_CAS_PATH = "/.well-known/est/cacerts"
_MAX_ANSWER = 256 * 1024
_REQUEST_SECONDS = 10.0
_RENEW_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_LONGEST_NAP = 60.0
"""Sleeping in naps, because a machine that was suspended does not count the time it missed."""

type Obtain = Callable[[], Awaitable[None]]


class RenewalBus(Protocol):
    """What renewal needs of the bus."""

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T: ...

    async def rotate(self, context: ssl.SSLContext) -> None: ...


def new_key() -> ec.EllipticCurvePrivateKey:
    """The key of a leaf: P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def signing_request(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """A request that names nobody: whoever issues decides the name by who is asking."""
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())


def renewal_moment(not_before: datetime, not_after: datetime, jitter: float) -> datetime:
    """Two thirds into the lifetime; ``jitter`` from -1 to 1 moves it by up to 5 % of the lifetime."""
    return not_before + (not_after - not_before) * (2 / 3 + 0.05 * jitter)


async def enrol(identity: Identity, url: str, join_dir: Path, *, timeout: float) -> None:
    """Join by the token and the bundle in ``join_dir``, trying again with a fresh token until ``timeout`` is over.

    A token that was used or has expired is replaced there, so the file is read anew each time. Raises the last
    refusal, or Unavailable when nobody answered; a request that is wrong in itself is not repeated.
    """
    clock = identity.clock
    deadline, pause = clock.monotonic() + timeout, _FIRST_PAUSE
    while True:
        try:
            await _enrol_once(identity, url, join_dir)
        except (UnusableIdentity, Unauthenticated, Unavailable, UpstreamFailed) as error:
            if clock.monotonic() + pause > deadline:
                raise
            _log.info("not enrolled yet", reason=error.detail)
        else:
            _log.info("enrolled", identity=identity.spiffe_id, not_after=identity.not_after.isoformat())
            return
        await clock.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load, keeps no secret
        pause = min(_LONGEST_PAUSE, pause * 2)


def is_left_behind(identity: Identity, join_dir: Path) -> bool:
    """Whether the CA was rotated while this service was away: its leaf is below no root of the bundle in its drop."""
    try:
        bundle = tls.read(join_dir / "bundle.pem")
    except UnusableIdentity:
        return False
    return not identity.is_verified_by(bundle)


async def _enrol_once(identity: Identity, url: str, join_dir: Path) -> None:
    token = tls.read(join_dir / "token").decode("ascii", "replace").strip()
    bundle = tls.read(join_dir / "bundle.pem")
    trust = tls.client_context(join_dir / "bundle.pem")
    key, server = new_key(), url.rstrip("/")
    authorities = _certificates(await _ask(server + _CAS_PATH, trust))
    body = base64.encodebytes(signing_request(key).public_bytes(_DER))
    headers = {
        "Authorization": aiohttp.encode_basic_auth(identity.service, token),
        "Content-Type": "application/pkcs10",
        "Content-Transfer-Encoding": "base64",
    }
    issued = _certificates(await _ask(server + _ENROL_PATH, trust, body, headers))
    identity.install(key_pem(key), _chain_of([*issued, *authorities], key), bundle)


async def _ask(
    url: str, trust: ssl.SSLContext, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes:
    limit = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
    method = "GET" if body is None else "POST"
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.request(method, url, data=body, headers=headers, ssl=trust, allow_redirects=False) as response,
        ):
            answer = await response.content.read(_MAX_ANSWER)
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"{url} does not answer: {error or type(error).__name__}") from None
    if status == 200:  # noqa: PLR2004
        return answer
    raise _refusal(url, status, answer)


def _refusal(url: str, status: int, answer: bytes) -> InterlockError:
    try:
        return problem.error_of(answer)
    except msgspec.DecodeError:
        return UpstreamFailed(f"{url} answered {status} and no problem document")


def _certificates(answer: bytes) -> list[x509.Certificate]:
    """The certificates of a certs-only PKCS#7: a set without an order of its own."""
    try:
        found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))
        for one in found:  # parsed as it is looked at: what is wrong inside shows here, and not later
            _ = (one.subject, one.issuer, one.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise UpstreamFailed("the enrolment answer is no base64 PKCS#7 (RFC 7030, section 4.2.3)") from None
    return found


def _chain_of(found: list[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> bytes:
    """The chain of the leaf that was issued for ``key``, leaf first, without the root."""
    chain = [certificate for certificate in found if certificate.public_key() == key.public_key()][:1]
    if not chain:
        raise UpstreamFailed("the enrolment answer has no certificate for the key that was sent")
    while (issuer := _issuer_of(chain[-1], found)) is not None and issuer not in chain:
        chain.append(issuer)
    return b"".join(certificate.public_bytes(_PEM) for certificate in chain)


def _issuer_of(certificate: x509.Certificate, candidates: list[x509.Certificate]) -> x509.Certificate | None:
    """The CA below the root that issued a certificate; CAs of one name differ in their keys."""
    return next((one for one in candidates if one.subject != one.issuer and _issued(certificate, one)), None)


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


class Renewer:
    """Keeps the leaf of a service fresh while it runs: a new key and leaf at 2/3 of the lifetime, then ``rotate``.

    ``obtain`` installs a new leaf (by default it asks certs over the bus); ``rejoin`` does so by a join token,
    where ``obtain`` failed and the leaf has expired or is ``left_behind`` by a rotation of the CA.
    """

    def __init__(
        self,
        identity: Identity,
        bus: RenewalBus,
        clock: Clock,
        *,
        obtain: Obtain | None = None,
        rejoin: Obtain | None = None,
        left_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._identity = identity
        self._bus = bus
        self._clock = clock
        self._obtain = obtain or self._obtain_over_bus
        self._rejoin = rejoin
        self._left_behind = left_behind
        self._one_at_a_time = asyncio.Lock()
        self._unshown = False  # a new leaf is installed that the bus has not seen yet
        self._jitter = _jitter()

    async def run(self) -> None:
        """Renew for ever; failures are logged and tried again for as long as it takes."""
        failures = 0
        while True:
            try:
                if self._seconds_left() <= 0:
                    await self.renew_now()
                elif self._unshown:
                    await self._show()
            except (InterlockError, NatsError, ssl.SSLError, OSError) as error:
                failures += 1
                _log.warning("certificate not renewed yet", error=str(error) or type(error).__name__, failures=failures)
                await self._clock.sleep(self._pause(failures))
            else:
                failures = 0
                await self._clock.sleep(min(_LONGEST_NAP, max(0.0, self._seconds_left())))

    async def renew_now(self) -> None:
        """Get a new leaf and present it on the bus; the old one stays in use when that fails."""
        async with self._one_at_a_time:
            await self._install_new()
            self._unshown, self._jitter = True, _jitter()
            _log.info("certificate renewed", identity=self._identity.spiffe_id,
                      not_after=self._identity.not_after.isoformat())  # fmt: skip
        await self._show()

    async def trust(self, bundle_pem: bytes, tainted: Collection[str]) -> None:
        """Verify by another bundle from now on; a leaf that it does not verify, or below a tainted root, goes first."""
        if self._identity.is_below(tainted) or not self._identity.is_verified_by(bundle_pem):
            await self.renew_now()
        async with self._one_at_a_time:
            self._unshown = self._identity.trust(bundle_pem) or self._unshown
        if self._unshown:
            await self._show()

    async def _install_new(self) -> None:
        try:
            await self._obtain()
        except (InterlockError, NatsError, OSError):
            if self._rejoin is None or (self._identity.is_usable() and not self._left_behind()):
                raise
            await self._rejoin()

    async def _show(self) -> None:
        async with self._one_at_a_time:
            await self._bus.rotate(self._identity.client_context())
            self._unshown = False

    async def _obtain_over_bus(self) -> None:
        key = new_key()
        request = RenewLeaf(csr=signing_request(key).public_bytes(_PEM).decode())
        subject = leaf_renew(self._identity.service)
        issued = await self._bus.request(subject, request, IssuedLeaf, timeout=_RENEW_SECONDS)
        self._identity.install(key_pem(key), issued.chain.encode(), issued.bundle.encode())

    def _seconds_left(self) -> float:
        """Until the leaf is due; a leaf that cannot be read is due."""
        try:
            moment = renewal_moment(self._identity.not_before, self._identity.not_after, self._jitter)
        except UnusableIdentity:
            return 0.0
        return (moment - self._clock.now()).total_seconds()

    def _pause(self, failures: int) -> float:
        """Back-off that leaves a short leaf many tries before it expires: from 1/60 to 1/6 of what is left to live."""
        try:
            lifetime: timedelta = self._identity.not_after - self._identity.not_before
        except UnusableIdentity:
            lifetime = timedelta(minutes=1)
        share = min(1 / 60 * 2 ** min(failures, 5), 1 / 6) * lifetime.total_seconds() / 3
        return min(60.0, max(0.1, share)) * random.uniform(0.75, 1.25)  # noqa: S311


def _jitter() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - spreads load, keeps no secret
