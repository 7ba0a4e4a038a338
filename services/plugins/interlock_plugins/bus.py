"""NATS in and out: hook calls, the listing, and the bindings that tell edges when to ask. No logic."""

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.common import Page
from interlock_common.messages.plugins import HookCall, PluginList
from interlock_common.messages.resources import BINDINGS
from interlock_plugins.chains import Chains


def bind(bus: Bus, chains: Chains) -> None:
    """Say what answers which subject."""

    async def listing(_page: Page) -> PluginList:
        return chains.listing()

    bus.endpoint(subjects.PLUGINS_HOOK_RUN, HookCall, chains.run)
    bus.endpoint(subjects.PLUGINS_PLUGIN_LIST, Page, listing)


async def publish_bindings(bus: Bus, chains: Chains) -> None:
    """Tell the edges which hooks to ask for; a hook without plugins has no key."""
    try:
        await kv.ensure_bucket(bus, BINDINGS)
        for hook, binding in chains.bindings().items():
            if binding is None:
                await kv.delete(bus, BINDINGS, hook)
            else:
                await kv.put(bus, BINDINGS, hook, binding)
    except (NatsError, JetStreamError) as error:
        raise Unavailable(f"bucket {BINDINGS.name} cannot be written: {type(error).__name__}") from error
