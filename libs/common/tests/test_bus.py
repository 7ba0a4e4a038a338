import asyncio
from typing import Any

import msgspec
import pytest

from interlock_common import kv
from interlock_common.audit_log import AuditLog
from interlock_common.errors import NotFound, Unavailable
from interlock_common.messages import resources, subjects
from interlock_common.messages.auth import Principal
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until


class Ask(msgspec.Struct, frozen=True):
    text: str


class Told(msgspec.Struct, frozen=True):
    text: str


async def test_a_request_is_answered_and_known_errors_come_back_as_themselves(embedded_bus: EmbeddedBus) -> None:
    auth, gateway = embedded_bus.bus("auth"), embedded_bus.bus("gateway")

    async def echo(ask: Ask) -> Told:
        if ask.text == "missing":
            raise NotFound("no such thing", thing=ask.text)
        if ask.text == "broken":
            raise RuntimeError("an internal detail")
        return Told(ask.text.upper())

    auth.endpoint("svc.auth.test.echo", Ask, echo)
    await auth.start()
    await gateway.start()
    assert (await gateway.request("svc.auth.test.echo", Ask("hello"), Told)).text == "HELLO"
    with pytest.raises(NotFound, match="no such thing") as refused:
        await gateway.request("svc.auth.test.echo", Ask("missing"), Told)
    assert refused.value.fields == {"thing": "missing"}
    with pytest.raises(Exception, match="unexpected failure") as broken:
        await gateway.request("svc.auth.test.echo", Ask("broken"), Told)
    assert "internal detail" not in str(broken.value)
    with pytest.raises(Unavailable):
        await gateway.request("svc.plugins.hook.run", Ask("nobody"), Told)
    await gateway.stop()
    await auth.stop()


async def test_rotation_of_both_sides_loses_no_request(embedded_bus: EmbeddedBus) -> None:
    auth, gateway = embedded_bus.bus("auth"), embedded_bus.bus("gateway")

    async def slow_echo(ask: Ask) -> Told:
        await asyncio.sleep(0.005)
        return Told(ask.text)

    auth.endpoint("svc.auth.test.echo", Ask, slow_echo, workers=16)
    await auth.start()
    await gateway.start()
    answered = 0
    stopping = False

    async def caller() -> None:
        nonlocal answered
        while not stopping:
            assert (await gateway.request("svc.auth.test.echo", Ask(str(answered)), Told, timeout=5)).text
            answered += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        for _ in range(5):
            await auth.rotate(embedded_bus.identity("auth").client_context())
            await gateway.rotate(embedded_bus.identity("gateway").client_context())
        stopping = True
    assert answered > 20
    await gateway.stop()
    await auth.stop()


async def test_a_mirror_is_complete_follows_changes_and_survives_a_bus_restart(embedded_bus: EmbeddedBus) -> None:
    auth, gateway = embedded_bus.bus("auth"), embedded_bus.bus("gateway")
    await auth.start()
    await gateway.start()
    await kv.ensure_bucket(auth, resources.PRINCIPALS)
    for name in ("ada", "bob"):
        await kv.put(auth, resources.PRINCIPALS, name, Principal(name))
    mirror = Mirror(gateway, resources.PRINCIPALS, Principal)
    changes: asyncio.Queue[tuple[str, Principal | None]] = asyncio.Queue()
    mirror.on_change(lambda key, value: changes.put_nowait((key, value)))
    await mirror.start()
    await mirror.wait_complete()
    assert set(mirror.items) == {"ada", "bob"}

    async def seen(key: str, value: Principal | None) -> None:
        async with asyncio.timeout(15):
            while await changes.get() != (key, value):
                pass

    await kv.delete(auth, resources.PRINCIPALS, "bob")
    await seen("bob", None)
    assert set(mirror.items) == {"ada"}

    assert mirror.stale_since is None
    await embedded_bus.stop(kill=True)
    await until(lambda: mirror.stale_since is not None)
    await embedded_bus.start()
    await until(lambda: auth.connected, 15)
    await kv.put(auth, resources.PRINCIPALS, "eve", Principal("eve"))
    await seen("eve", Principal("eve"))
    assert set(mirror.items) == {"ada", "eve"}
    assert mirror.stale_since is None
    await mirror.stop()
    await gateway.stop()
    await auth.stop()


async def test_a_value_that_cannot_be_read_is_named_and_never_passed_over(embedded_bus: EmbeddedBus) -> None:
    auth = embedded_bus.bus("auth")
    await auth.start()
    await kv.ensure_bucket(auth, resources.PRINCIPALS)
    await kv.put(auth, resources.PRINCIPALS, "bad", Told("no principal"))
    mirror = Mirror(auth, resources.PRINCIPALS, Principal)
    await mirror.start()
    await until(lambda: "does not fit its contract: bad" in (mirror.problem() or ""))
    assert not mirror.complete
    await kv.put(auth, resources.PRINCIPALS, "bad", Principal("mended"))
    await mirror.wait_complete()
    assert mirror.problem() is None
    await kv.put(auth, resources.PRINCIPALS, "bad", Told("spoilt again"))
    await until(lambda: mirror.problem() is not None)
    assert mirror.items["bad"] == Principal("mended")
    await kv.delete(auth, resources.PRINCIPALS, "bad")
    await until(lambda: mirror.problem() is None)
    assert not mirror.items
    await mirror.stop()
    await auth.stop()


async def test_an_expired_key_leaves_the_mirror(embedded_bus: EmbeddedBus) -> None:
    auth = embedded_bus.bus("auth")
    await auth.start()
    await kv.ensure_bucket(auth, resources.REVOCATIONS)
    mirror = Mirror(auth, resources.REVOCATIONS, Told)
    gone = asyncio.Event()
    mirror.on_change(lambda _key, value: gone.set() if value is None else None)
    await mirror.start()
    await mirror.wait_complete()
    await kv.put(auth, resources.REVOCATIONS, "jti.x", Told("x"), ttl=1)
    async with asyncio.timeout(10):
        await gone.wait()
    assert not mirror.items
    await mirror.stop()
    await auth.stop()


async def test_a_service_cannot_publish_what_is_not_its_own(embedded_bus: EmbeddedBus) -> None:
    auth, audit = embedded_bus.bus("auth"), embedded_bus.bus("audit")
    await audit.start()
    await auth.start()
    await kv.ensure_stream(audit, resources.AUDIT)
    await auth.js.publish(subjects.audit_batch("auth"), b"{}", timeout=5)
    with pytest.raises(Exception, match="timeout"):
        await auth.js.publish(subjects.audit_batch("gateway"), b"{}", timeout=0.5)
    with pytest.raises(Exception, match="timeout"):
        await auth.js.publish("$KV.catalog.upstream.x", b"{}", timeout=0.5)
    assert (await audit.js.stream_info("AUDIT")).state.messages == 1
    await auth.stop()
    await audit.stop()


async def test_records_of_the_moment_share_a_batch_and_survive_a_bus_that_is_away(embedded_bus: EmbeddedBus) -> None:
    audit, gateway = embedded_bus.bus("audit"), embedded_bus.bus("gateway")
    await audit.start()
    await gateway.start()
    await kv.ensure_stream(audit, resources.AUDIT)
    log = AuditLog(gateway)
    log.start()
    await asyncio.gather(*(log.record(Told(str(n))) for n in range(200)))
    first = (await audit.js.stream_info("AUDIT")).state.messages
    assert first < 20

    await embedded_bus.stop(kill=True)
    with pytest.raises(Unavailable):
        await log.record(Told("while away"), timeout=0.2)
    await embedded_bus.start()
    await log.record(Told("back"), timeout=15)
    await until(lambda: audit.connected, 15)
    stored = b"".join([
        (await audit.js.get_msg("AUDIT", seq=n)).data or b""
        for n in range(1, (await audit.js.stream_info("AUDIT")).state.messages + 1)
    ])  # fmt: skip
    assert stored.count(b"while away") == 1
    assert stored.count(b'"back"') == 1
    await log.stop()
    await gateway.stop()
    await audit.stop()


async def test_the_services_protocol_reports_real_figures(embedded_bus: EmbeddedBus) -> None:
    auth, gateway = embedded_bus.bus("auth"), embedded_bus.bus("gateway")

    async def echo(ask: Ask) -> Told:
        return Told(ask.text)

    auth.endpoint("svc.auth.test.echo", Ask, echo)
    await auth.start()
    await gateway.start()
    for _ in range(3):
        await gateway.request("svc.auth.test.echo", Ask("x"), Told)
    operator = embedded_bus.bus("operator")
    await operator.start()
    stats = msgspec.json.decode((await operator.nc.request("$SRV.STATS.auth", timeout=2)).data)
    assert stats["endpoints"][0]["num_requests"] == 3
    assert stats["endpoints"][0]["average_processing_time"] > 0
    assert msgspec.json.decode((await operator.nc.request("$SRV.PING.auth", timeout=2)).data)["id"] == auth.instance
    await operator.stop()
    await gateway.stop()
    await auth.stop()


async def test_a_bus_that_is_gone_leaves_nothing_open_at_the_end(embedded_bus: EmbeddedBus) -> None:
    auth = embedded_bus.bus("auth")

    async def echo(ask: Ask) -> Told:
        return Told(ask.text)

    auth.endpoint("svc.auth.test.echo", Ask, echo)
    await auth.start()
    link: Any = auth._link  # pyright: ignore[reportPrivateUsage]
    (subscriber,) = link._broker.subscribers
    assert subscriber.send_stream.statistics().open_send_streams == 1
    await embedded_bus.stop(kill=True)
    await until(lambda: not auth.connected)
    await auth.stop()
    assert subscriber.send_stream.statistics().open_send_streams == 0
    assert all(task.done() for task in subscriber.tasks)
