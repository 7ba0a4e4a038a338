"""Consents of users at one edge: what leads to them and what they give, put together."""

from collections.abc import Callable

from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.grants import Grant
from interlock_common.mirror import Mirror
from interlock_common.sealing import Sealer
from interlock_gateway.consents.grants import EdgeGrants, UsedOnce
from interlock_gateway.upstreams.assembly import Transports
from interlock_gateway.upstreams.oauth.consents import Consents
from interlock_gateway.upstreams.oauth.grants import Vault
from interlock_gateway.upstreams.oauth.user_tokens import UserTokens


def consents_at(
    bus: Bus, mirror: Mirror[Grant], find: Callable[[str], Upstream | None], transports: Transports, sealer: Sealer,
    clock: Clock, *, base: str,
) -> Consents:  # fmt: skip
    """The consents, whose grants ``transports`` use from now on; ``base`` is what browsers call the gateway by."""
    grants = EdgeGrants(bus, mirror)
    consents = Consents(find, grants, sealer, transports.endpoints, UsedOnce(bus), clock, base=base)
    transports.for_users(
        UserTokens(grants, Vault(sealer), transports.endpoints, clock, holder=bus.instance, link=consents.link)
    )
    return consents
