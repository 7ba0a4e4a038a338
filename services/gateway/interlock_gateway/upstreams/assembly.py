"""Every way to upstreams that an edge or the catalog has, put together."""

from collections.abc import Mapping

from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.messages.catalog import Kind
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.exchanges.client import ExchangeClient
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.bus import BusTransport
from interlock_gateway.upstreams.connections import Bounds, Ways
from interlock_gateway.upstreams.credentials import BasicProvider, Credentials, HeaderProvider, SealedSecrets
from interlock_gateway.upstreams.http.sse import SseTransport
from interlock_gateway.upstreams.http.transport import HttpTransport
from interlock_gateway.upstreams.oauth.client_credentials import ClientCredentials
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints
from interlock_gateway.upstreams.oauth.token_exchange import TokenExchange
from interlock_gateway.upstreams.oauth.user_tokens import UserTokens
from interlock_gateway.upstreams.oauth.vouching import AuthVouches
from interlock_gateway.upstreams.rest.transport import RestTransport
from interlock_gateway.upstreams.sessions import SharedSessions
from interlock_gateway.upstreams.transport import Transport


class Transports:
    """The transports by the kind of upstream they lead to, and what they stand on."""

    def __init__(
        self, bus: Bus, subscriptions: Subscriptions, sealer: Sealer, clock: Clock, *,
        bounds: Bounds, policy: AddressPolicy, session_lifetime: float,
    ) -> None:  # fmt: skip
        self.ways = Ways(bounds, policy, clock=clock)
        self.endpoints = TokenEndpoints(policy)
        self.exchanges = ExchangeClient(bus, subscriptions, max_answer=bounds.max_answer, room=self.ways.room)
        secrets = SealedSecrets(sealer)
        self._users: UserTokens | None = None
        credentials = self.credentials = Credentials({
            "header": HeaderProvider(secrets),
            "basic": BasicProvider(secrets),
            "client_credentials": ClientCredentials(secrets, self.endpoints, clock),
            "token_exchange": TokenExchange(secrets, self.endpoints, AuthVouches(bus), clock),
        })  # fmt: skip
        over_bus = BusTransport(self.exchanges)
        self._over_sse = SseTransport(self.ways, credentials)
        self.by_kind: Mapping[Kind, Transport] = {
            "http": HttpTransport(self.ways, SharedSessions(bus, lifetime=session_lifetime), credentials),
            "sse": self._over_sse,
            "rest": RestTransport(self.ways, credentials),
            "stdio": over_bus,
            "reverse": over_bus,
            "worker": over_bus,
        }

    def for_users(self, users: UserTokens) -> None:
        """Take what users granted as the credential of the kind ``oauth``."""
        self._users = users
        self.credentials.add("oauth", users)

    async def start(self) -> None:
        """The bus is connected."""
        await self.exchanges.start()

    async def stop(self) -> None:
        await self._over_sse.stop()
        await self.ways.stop()
        if self._users is not None:
            await self._users.stop()
        await self.endpoints.close()
