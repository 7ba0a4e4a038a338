"""The consumer of the stream goes on when the service presents a new certificate."""

import msgspec

from interlock_audit.bus import StreamSource
from interlock_audit.testing import intent
from interlock_common.audit_log import AuditLog
from interlock_common.kv import ensure_stream
from interlock_common.messages.resources import AUDIT
from interlock_common.testing.bus import EmbeddedBus


async def test_deliveries_go_on_after_a_rotation_of_the_certificate(embedded_bus: EmbeddedBus) -> None:
    bus, edge = embedded_bus.bus("audit"), embedded_bus.bus("gateway")
    await bus.start()
    await edge.start()
    await ensure_stream(bus, AUDIT)
    log = AuditLog(edge)
    log.start()
    source = StreamSource(bus, batches=8, max_ack_pending=8)
    assert (await source.state()).last == 0
    assert await source.fetch() == []

    await log.record(intent(1))
    (first,) = await source.fetch()
    await bus.rotate(embedded_bus.identity("audit").client_context())
    await source.acknowledge([first])  # over the new connection, for a message that the old one brought
    await log.record(intent(2))
    found, complete = await source.recover(2, before=3)  # even if the old connection still got it
    assert complete
    assert found[0].sequence == (await source.state()).last == first.sequence + 1
    assert found[0].data == msgspec.json.encode(intent(2))
    assert found[0].message_id == f"{log.author}/2"
    assert found[0].subject == "audit.gateway"
    assert await source.lag() == 1

    await log.record(intent(3))
    assert (await source.fetch())[-1].data == msgspec.json.encode(intent(3))
    found, complete = await source.recover(1, before=3)
    assert [delivery.sequence for delivery in found] == [1, 2]
    assert complete
    await log.stop()
    await edge.stop()
    await bus.stop()
