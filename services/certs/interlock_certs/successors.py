"""Which certificate was issued in place of which, so that tokens bound to the first work with the second."""

import base64

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from nats.errors import Error as NatsError

from interlock_certs.authority import Leaf
from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, InvalidInput
from interlock_common.messages import subjects
from interlock_common.messages.certs import Succeed, Successor
from interlock_common.messages.common import Empty
from interlock_common.messages.resources import CERTIFICATE_SUCCESSORS, REVOKED_CERTIFICATES

_log = structlog.get_logger()
_MAX_LIFETIME = 400 * 86400


class Successors:
    """Publishes successors; each is forgotten when it ends, as no token outlives what may be shown with it."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def ensure(self) -> None:
        """Make the bucket, and that of revoked certificates: an edge reads both before it serves."""
        for bucket in (CERTIFICATE_SUCCESSORS, REVOKED_CERTIFICATES):
            await kv.ensure_bucket(self._bus, bucket)

    def bind(self) -> None:
        """Answer those who say that a certificate was renewed, whichever CA did that."""
        self._bus.endpoint(subjects.CERTS_CERTIFICATE_SUCCEED, Succeed, self.succeed)

    async def renewed(self, before: x509.Certificate, leaf: Leaf) -> None:
        """Publish what certs issued itself; while the bus is away the owner has to say it, as no renewal waits."""
        said = Succeed(
            _thumbprint(before), _thumbprint(leaf.certificate), int(leaf.not_after.timestamp()), leaf.identity
        )  # fmt: skip
        try:
            await self.succeed(said)
        except (InterlockError, NatsError, TimeoutError) as error:
            _log.warning("successor not published", identity=leaf.identity, reason=str(error) or type(error).__name__)

    async def succeed(self, said: Succeed) -> Empty:
        """Publish a successor before anybody shows it; a second one for the same certificate takes the place."""
        now = int(self._clock.time())
        if said.certificate == said.successor:
            raise InvalidInput("a certificate is no successor of itself")
        if said.not_after <= now:
            raise InvalidInput("the successor has expired")
        lifetime = min(said.not_after - now, _MAX_LIFETIME)
        successor = Successor(said.successor, said.principal, now)
        await kv.put(self._bus, CERTIFICATE_SUCCESSORS, said.certificate, successor, ttl=lifetime)
        _log.info("certificate renewed", certificate=said.certificate, successor=said.successor, by=said.principal)
        return Empty()


def _thumbprint(certificate: x509.Certificate) -> str:
    """``x5t#S256`` (RFC 8705, section 3.1)."""
    return base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).decode().rstrip("=")
