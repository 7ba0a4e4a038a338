"""The identities that certs makes for itself and for the bus, which cannot ask for one."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.exc import SQLAlchemyError

from interlock_certs.issuing import Issuing
from interlock_common import tls
from interlock_common.clock import Clock
from interlock_common.enrolment import key_pem, new_key, renewal_moment, signing_request
from interlock_common.errors import InterlockError
from interlock_common.identity import Identity

_log = structlog.get_logger()
_LONGEST_NAP = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0

type Apply = Callable[[], Awaitable[None]]


class OwnIdentity:
    """An identity whose key and leaf are both made here, renewed at two thirds of the lifetime."""

    def __init__(
        self,
        issuing: Issuing,
        identity: Identity,
        bundle_pem: bytes,
        lifetime: timedelta,
        clock: Clock,
        names: Sequence[str] = (),
    ) -> None:
        self.identity = identity
        self._issuing = issuing
        self._bundle_pem = bundle_pem
        self._lifetime = lifetime
        self._clock = clock
        self._names = tuple(names)

    async def ensure(self) -> None:
        """Make the identity unless a usable one of our own root, with the names of the moment, is there."""
        identity = self.identity
        if not identity.is_usable() or tls.read(identity.bundle_path) != self._bundle_pem or not self._is_named():
            await self.renew()

    async def renew(self) -> None:
        key = new_key()
        request = signing_request(key).public_bytes(Encoding.DER)
        leaf = await self._issuing.issue_own(self.identity.service, request, self._lifetime, self._names)
        self.identity.install(key_pem(key), leaf.chain_pem, self._bundle_pem)

    async def keep_fresh(self, apply: Apply, *, applied: bool) -> None:
        """Renew in time, for ever, and ``apply`` each new leaf; both are tried until they succeed.

        With ``applied`` False the leaf that is there is applied first.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._seconds_left() <= 0:
                    await self.renew()
                    applied = False
                if not applied:
                    await apply()
                    applied = True
            except (InterlockError, SQLAlchemyError, OSError) as error:
                reason = error.detail if isinstance(error, InterlockError) else type(error).__name__
                _log.info("certificate not in use yet", identity=self.identity.service, reason=reason)
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                pause = _FIRST_PAUSE
                await self._clock.sleep(min(_LONGEST_NAP, max(0.0, self._seconds_left())))

    def _is_named(self) -> bool:
        names = self.identity.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = {str(name.value) for name in names if not isinstance(name, x509.UniformResourceIdentifier)}
        return found == set(self._names)

    def _seconds_left(self) -> float:
        try:
            due = renewal_moment(self.identity.not_before, self.identity.not_after, jitter=0)
        except tls.UnusableIdentity:
            return 0.0
        return (due - self._clock.now()).total_seconds()
