"""What upstreams announce, on a real bus."""

from interlock_common.subscriptions import Subscriptions
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.changes.notices import Notices

CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}'


async def test_an_upstream_that_announces_without_end_is_heard_once_a_second(embedded_bus: EmbeddedBus) -> None:
    bus = embedded_bus.bus("gateway")
    await bus.start()
    clock, heard = ManualClock(), list[tuple[str, bytes]]()
    notices = Notices(bus, Subscriptions(bus), clock)
    await notices.start(lambda upstream, message: heard.append((upstream, message)))
    try:
        for _ in range(1000):
            notices.say("u1", CHANGED)
        await until(lambda: len(heard) == 1)
        for _ in range(1000):
            notices.say("u1", CHANGED)
        for count in (2, 2):  # what was said meanwhile is said once more, and then nothing is left to say
            await clock.until_asleep()
            clock.advance(1.1)
            await until(lambda count=count: len(heard) == count)
        await until(lambda: not notices._saying)  # pyright: ignore[reportPrivateUsage]
        notices.say("u1", CHANGED)
        notices.say("u2", CHANGED)
        await until(lambda: len(heard) == 4)
    finally:
        await notices.stop()
        await bus.stop()
    assert sorted(heard) == [("u1", CHANGED)] * 3 + [("u2", CHANGED)]


async def test_what_is_too_long_is_passed_over(embedded_bus: EmbeddedBus) -> None:
    bus = embedded_bus.bus("gateway")
    notices = Notices(bus, Subscriptions(bus))
    notices.say("u1", b"x" * 65_537)
    assert not notices._saying  # pyright: ignore[reportPrivateUsage]
    await notices.stop()
