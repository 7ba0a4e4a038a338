"""What every part of an edge stands on."""

import secrets
from dataclasses import dataclass

from pydantic import SecretStr

from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.runtime import Service
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.config import Settings
from interlock_gateway.routing import Catalog
from interlock_gateway.wiring.mirrors import Mirrors


@dataclass(frozen=True, slots=True)
class Ground:
    """Settings and service of one edge, what it knows, and what it seals with; ``subscribed`` ends with the edge."""

    settings: Settings
    service: Service
    mirrors: Mirrors
    catalog: Catalog
    sealer: Sealer
    subscribed: Subscriptions

    @classmethod
    def of(cls, settings: Settings, service: Service) -> "Ground":
        return cls(
            settings,
            service,
            Mirrors.of(service.bus),
            Catalog(),
            Sealer(shared_secret(settings.auth_encryption_secret)),
            Subscriptions(service.bus),
        )

    @property
    def bus(self) -> Bus:
        return self.service.bus

    @property
    def clock(self) -> Clock:
        return self.service.clock


def shared_secret(setting: SecretStr | None) -> bytes:
    """A secret that edges share; without one, an edge has one of its own, and what it made no other understands."""
    return setting.get_secret_value().encode() if setting else secrets.token_bytes(32)
