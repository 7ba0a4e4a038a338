"""The identities that certs makes for itself and for the bus, which cannot ask for one."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
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
    """An identity whose key and leaf are both made here, renewed at two thirds of the lifetime.

    ``files`` is held while its files change, for whoever must not be reading them then. With ``keeps_key`` each leaf
    is for the same key: the bus takes it though it has not read its new pins yet.
    """

    def __init__(
        self,
        issuing: Issuing,
        identity: Identity,
        bundle: Callable[[], bytes],
        lifetime: timedelta,
        clock: Clock,
        names: Sequence[str] = (),
        *,
        keeps_key: bool = False,
        files: asyncio.Lock | None = None,
    ) -> None:
        self.identity = identity
        self._issuing = issuing
        self._bundle = bundle
        self._lifetime = lifetime
        self._clock = clock
        self._names = tuple(names)
        self._keeps_key = keeps_key
        self._one_at_a_time = asyncio.Lock()
        self._files = files or asyncio.Lock()

    async def ensure(self) -> None:
        """Make the identity unless a usable one of our own root, with the names of the moment, is there."""
        if not self.identity.is_usable() or not self.identity.is_verified_by(self._bundle()) or not self._is_named():
            await self.renew()
        else:
            async with self._files:
                self.identity.trust(self._bundle())

    async def renew(self) -> None:
        """Make a new leaf, with a new key unless the key is kept."""
        async with self._one_at_a_time:
            key = self._key()
            request = signing_request(key).public_bytes(Encoding.DER)
            leaf = await self._issuing.issue_own(self.identity.service, request, self._lifetime, self._names)
            async with self._files:
                self.identity.install(key_pem(key), leaf.chain_pem, self._bundle())

    async def follow(self, tainted: Collection[str]) -> None:
        """Use the bundle of the moment, with a new leaf where this one is below a tainted root or none at all."""
        if self.identity.is_below(tainted):
            await self.renew()
        else:
            await self.ensure()

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

    def _key(self) -> ec.EllipticCurvePrivateKey:
        if self._keeps_key and self.identity.key_path.exists():
            kept = load_pem_private_key(tls.read(self.identity.key_path), None)
            if isinstance(kept, ec.EllipticCurvePrivateKey):
                return kept
        return new_key()

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
