"""The only wiring of plugins."""

import structlog

from interlock_common.errors import Unavailable
from interlock_common.runtime import Service, running
from interlock_plugins.bus import bind, publish_bindings
from interlock_plugins.chains import Chains
from interlock_plugins.config import Settings
from interlock_plugins.plugin_file import read_plugin_file

_RETRY_SECONDS = 0.5
_log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Run plugins with ``settings``; a plugin file that cannot be run ends it before the bus is reached."""
    path = settings.plugin_file()
    file = read_plugin_file(path)
    async with running(settings, "plugins", description="inspection and policy hooks") as service:
        chains = Chains(file, max_payload=settings.plugins_max_payload_bytes, clock=service.clock)
        _log.info("plugin file read", path=str(path or "packaged default"), plugins=len(file.plugins))
        bind(service.bus, chains)
        published: list[bool] = []
        service.health.ready_when("bindings", lambda: None if published else "the bindings are not published yet")

        async def publish() -> None:
            await _publish(service, chains)
            published.append(True)

        await service.run(on_connected=publish)


async def _publish(service: Service, chains: Chains) -> None:
    """Publish, trying until the bus takes it: JetStream may come up after the connection."""
    while True:
        try:
            await publish_bindings(service.bus, chains)
        except Unavailable as error:
            _log.warning("bindings will be published again", reason=error.detail)
            await service.clock.sleep(_RETRY_SECONDS)
        else:
            return
