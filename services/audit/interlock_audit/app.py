"""The only wiring of audit."""

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit.bus import Announcer, StreamSource, bind
from interlock_audit.config import Settings
from interlock_audit.reading import Trail
from interlock_audit.tile_files import TileFiles
from interlock_audit.writer import Writer, WriterRules
from interlock_common.bus import Bus
from interlock_common.database import open_engine
from interlock_common.errors import Unavailable
from interlock_common.identity import Identity
from interlock_common.kv import ensure_stream
from interlock_common.messages.resources import AUDIT, EVENTS
from interlock_common.runtime import Service, running

_RETRY_SECONDS = 0.5


def build_writer(settings: Settings, service: Service, engine: AsyncEngine) -> Writer:
    """The writer of this process, which may come to hold the lease."""
    source = StreamSource(service.bus, settings.fetch_batches, settings.max_ack_pending)
    rules = WriterRules(
        key_dir=settings.key_dir,
        origin=settings.origin,
        lease_seconds=settings.lease_seconds,
        checkpoint_interval=settings.checkpoint_interval,
        max_lag=settings.max_lag,
    )
    return Writer(engine, source, TileFiles(settings.tiles_dir), rules, service.clock, Announcer(service.bus))


async def ensure_streams(bus: Bus, service: Service) -> None:
    """Create the streams, trying until the bus takes it: JetStream may come up after the connection."""
    while True:
        try:
            for stream in (AUDIT, EVENTS):
                await ensure_stream(bus, stream)
        except (NatsError, JetStreamError, Unavailable, OSError):
            await service.clock.sleep(_RETRY_SECONDS)
        else:
            return


async def serve(settings: Settings) -> None:
    """Run audit with ``settings``."""
    engine = open_engine(settings.database_url, Identity("audit", settings.trust_domain, settings.identity_dir))
    try:
        async with running(settings, "audit", description="the tamper-evident record") as service:
            bind(service.bus, Trail(engine))
            writer = build_writer(settings, service, engine)
            service.health.ready_when("writer", writer.problem)

            async def start() -> None:
                await ensure_streams(service.bus, service)
                service.background(writer.run(), "audit writer")

            await service.run(on_connected=start)
    finally:
        await engine.dispose()
