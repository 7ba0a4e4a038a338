"""The identities that certs makes for itself and for the bus, which cannot ask for one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from interlock_common.clock import Clock
from interlock_common.enrolment import key_pem, new_key, renewal_moment, signing_request
from interlock_common.identity import Identity

from interlock_certs.authority import Authority


class OwnIdentity:
    """An identity whose key and leaf are both made here, renewed at two thirds of the lifetime."""

    def __init__(
        self,
        authority: Authority,
        name: str,
        trust_domain: str,
        directory: Path,
        lifetime: timedelta,
        clock: Clock,
        names: Sequence[str] = (),
    ) -> None:
        self.identity = Identity(name, trust_domain, directory, clock)
        self._authority = authority
        self._lifetime = lifetime
        self._clock = clock
        self._names = names

    def ensure(self) -> None:
        """Make the identity unless a usable one of our own root is there."""
        bundle = self.identity.bundle_path
        if not self.identity.is_usable() or bundle.read_bytes() != self._authority.bundle_pem:
            self.renew()

    def renew(self) -> None:
        key = new_key()
        request = signing_request(key).public_bytes(Encoding.DER)
        leaf = self._authority.issue(self.identity.service, request, self._lifetime, self._names)
        self.identity.install(key_pem(key), leaf.chain_pem, self._authority.bundle_pem)

    async def keep_fresh(self, renewed: Callable[[], Awaitable[None]]) -> None:
        """Renew in time, for ever, and call ``renewed`` after each."""
        while True:
            due = renewal_moment(self.identity.not_before, self.identity.not_after, jitter=0)
            await self._clock.sleep(max(0.0, (due - self._clock.now()).total_seconds()))
            await asyncio.to_thread(self.renew)
            await renewed()
