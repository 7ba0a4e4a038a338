"""The ways from an edge to upstreams, and what upstreams tell it."""

from dataclasses import dataclass

from interlock_gateway.changes.hub import Changes
from interlock_gateway.changes.listeners import Listeners
from interlock_gateway.changes.notices import Notices
from interlock_gateway.consents.assembly import consents_at
from interlock_gateway.exchanges.server import ExchangeServer
from interlock_gateway.exchanges.tunnels import Tunnels
from interlock_gateway.held.holding import Holding
from interlock_gateway.held.request_state import RequestStates
from interlock_gateway.held.resuming import Resuming
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.assembly import Transports
from interlock_gateway.upstreams.connections import Bounds
from interlock_gateway.upstreams.dispatch import Upstreams
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.upstreams.eras.wrapping import Eras
from interlock_gateway.upstreams.oauth.consents import Consents
from interlock_gateway.wiring.ground import Ground


@dataclass(frozen=True, slots=True)
class UpstreamSide:
    """Everything that faces upstreams: ``upstreams`` calls them, ``changes`` is what they and the catalog tell."""

    transports: Transports
    consents: Consents
    answering: ExchangeServer
    tunnels: Tunnels
    resuming: Resuming
    upstreams: Upstreams
    listeners: Listeners
    notices: Notices
    changes: Changes


def upstreams_at(ground: Ground) -> UpstreamSide:
    """The ways to upstreams; the catalog's changes are followed from now on."""
    bus, subscribed, clock = ground.bus, ground.subscribed, ground.clock
    transports = _transports(ground)
    answering = ExchangeServer(bus, subscribed)
    resuming = Resuming(_holding(ground), transports.exchanges, answering, subscribed)
    upstreams = Upstreams(transports.by_kind, Eras(resuming.holding, resuming))
    listeners = Listeners(upstreams, clock)
    notices = Notices(bus, subscribed)
    changes = Changes(ground.catalog, listeners, notices.say)
    ground.mirrors.catalog.on_change(changes.take)
    return UpstreamSide(
        transports=transports,
        consents=consents_at(
            bus, ground.mirrors.grants, ground.catalog.upstreams.get, transports, ground.sealer, clock,
            base=ground.settings.own_url,
        ),
        answering=answering,
        tunnels=Tunnels(bus, subscribed, answering, clock=clock),
        resuming=resuming,
        upstreams=upstreams,
        listeners=listeners,
        notices=notices,
        changes=changes,
    )  # fmt: skip


def _transports(ground: Ground) -> Transports:
    settings = ground.settings
    return Transports(
        ground.bus,
        ground.subscribed,
        ground.sealer,
        ground.clock,
        bounds=Bounds(
            concurrency=settings.upstream_concurrency,
            idle_timeout=settings.call_timeout,
            call_timeout=settings.call_limit,
            max_answer=settings.max_answer_bytes,
            progress_resets=settings.progress_resets,
        ),
        policy=AddressPolicy.of(
            allow_private=settings.allow_private_upstreams, allowed=settings.allow_upstream_networks
        ),
        session_lifetime=settings.session_lifetime,
    )


def _holding(ground: Ground) -> Holding[ModernCall]:
    settings = ground.settings
    return Holding(
        RequestStates(ground.sealer, ground.clock),
        ground.clock,
        ground.bus.instance,
        lifetime=settings.held_call_lifetime,
        per_principal=settings.held_calls_per_principal,
        upstream_concurrency=settings.upstream_concurrency,
        total=settings.held_calls,
    )
