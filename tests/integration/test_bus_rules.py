"""Who may connect to the bus, and who may say what there."""

import json
import ssl

import nats
import pytest
from nats.errors import Error as NatsError

from interlock_common.bus import Bus
from interlock_common.enrolment import enrol
from interlock_common.identity import Identity
from interlock_common.messages.access import SERVICES
from interlock_common.messages.subjects import audit_batch
from stories.stage import Stage


async def enrolled(stage: Stage, service: str, name: str) -> Identity:
    """An identity of its own for ``service``, got as services get theirs."""
    deployment = stage.deployment
    state = deployment.state
    identity = Identity(service, state.trust_domain, deployment.directory / name)
    await enrol(identity, deployment.placement.enrolment_url, state.join / service, timeout=20)
    return identity


async def test_a_connection_without_certificate_is_refused(stage: Stage) -> None:
    trusting = ssl.create_default_context(cafile=str(stage.deployment.state.bus / "bundle.pem"))
    with pytest.raises((NatsError, OSError)):
        await nats.connect(  # pyright: ignore[reportUnknownMemberType] - untyped callbacks
            stage.deployment.placement.bus_url, tls=trusting, allow_reconnect=False, connect_timeout=2, error_cb=_quiet
        )


async def test_a_service_cannot_publish_what_is_not_its_own(stage: Stage) -> None:
    identity = await enrolled(stage, "plugins", "plugins-again")
    bus = Bus("plugins", stage.deployment.placement.bus_url, identity)
    await bus.start()
    try:
        await bus.js.publish(audit_batch("plugins"), b'{"kind":"note"}', timeout=5)
        for foreign in (audit_batch("gateway"), "$KV.revocations.jti.x", "$KV.catalog.server.x"):
            with pytest.raises(NatsError, match="timeout"):
                await bus.js.publish(foreign, b"{}", timeout=0.5)
    finally:
        await bus.stop()


async def test_every_service_answers_the_services_protocol_with_real_figures(stage: Stage) -> None:
    identity = await enrolled(stage, "operator", "operator")
    bus = Bus("operator", stage.deployment.placement.bus_url, identity)
    await bus.start()
    try:
        for service in SERVICES:
            for verb, field in (("PING", "id"), ("INFO", "endpoints"), ("STATS", "started")):
                answer = json.loads((await bus.nc.request(f"$SRV.{verb}.{service}", timeout=5)).data)
                assert answer["name"] == service
                assert answer[field] or service in {"gateway", "connector"}  # those answer no request of a service
        stats = json.loads((await bus.nc.request("$SRV.STATS.auth", timeout=5)).data)
        login = next(endpoint for endpoint in stats["endpoints"] if endpoint["subject"] == "svc.auth.session.login")
        assert login["num_requests"] >= 1
        assert login["processing_time"] > 0
    finally:
        await bus.stop()


async def _quiet(_error: Exception) -> None:
    """The refusal is what ``connect`` raises."""
