"""What ends when somebody is not let in any more."""

from dataclasses import dataclass

import structlog

from interlock_common.messages.auth import Principal, SigningKey, revocation_key
from interlock_common.messages.certs import RevokedCertificate
from interlock_common.messages.issuers import LinkedIdentity
from interlock_common.messages.revocation import FOR_EVER
from interlock_gateway.held.holding import Holding
from interlock_gateway.live import LiveWork
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.wiring.mirrors import Mirrors


@dataclass(frozen=True, slots=True)
class Revoking:
    """Ends work that runs (``live``) and work that waits (``holding``)."""

    live: LiveWork
    holding: Holding[ModernCall]

    def follow(self, mirrors: Mirrors) -> None:
        """From now on, whatever may take a right away ends what stood on that right."""
        mirrors.revocations.on_change(self._revoked)
        mirrors.revocations.on_replaced(self.end_revoked)
        mirrors.principals.on_change(self._principal_changed)
        mirrors.keys.on_change(self._key_changed)
        mirrors.issuers.on_change(lambda _key, _issuer: self.end_revoked())
        mirrors.identities.on_change(self._identity_changed)
        mirrors.revoked_certificates.on_change(self._certificate_changed)

    def end_revoked(self) -> None:
        """End whatever runs or waits for somebody who would not be let in any more."""
        if ended := self.live.end_revoked():
            structlog.get_logger().info("work of revoked credentials ended", count=ended)
        self.holding.end_revoked()

    def _revoked(self, key: str, before: int | None) -> None:
        if before == FOR_EVER:
            self.live.end(key.removeprefix(revocation_key("")))
            self.holding.end_revoked()
        elif before is not None:
            self.end_revoked()

    def _principal_changed(self, _key: str, principal: Principal | None) -> None:
        if principal is None or not principal.active:
            self.end_revoked()

    def _certificate_changed(self, _key: str, revoked: RevokedCertificate | None) -> None:
        if revoked is not None:
            self.end_revoked()

    def _identity_changed(self, _key: str, identity: LinkedIdentity | None) -> None:
        if identity is None:
            self.end_revoked()

    def _key_changed(self, _kid: str, key: SigningKey | None) -> None:
        if key is None:
            self.end_revoked()
