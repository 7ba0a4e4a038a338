"""Successors on a real bus, with the permissions of the deployment: certs publishes, an edge asks and follows."""

from pathlib import Path
from typing import Any

import pytest

from interlock_certs.authority import Authority
from interlock_certs.profiles import Profiles
from interlock_certs.requests import read_request
from interlock_certs.successors import Successors
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import InvalidInput
from interlock_common.messages import resources, subjects
from interlock_common.messages.certs import Succeed, Successor
from interlock_common.messages.common import Empty
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until

FIRST, SECOND = "A" * 43, "B" * 43


async def test_an_edge_names_a_successor_and_every_edge_knows_it(tmp_path: Path) -> None:
    embedded = EmbeddedBus(tmp_path)
    await embedded.start()
    certs, edge = embedded.bus("certs"), embedded.bus("gateway")
    successors = Successors(certs, SYSTEM_CLOCK)
    successors.bind()
    await certs.start()
    await edge.start()
    mirror = Mirror(edge, resources.CERTIFICATE_SUCCESSORS, Successor)
    try:
        await successors.ensure()
        await mirror.start()
        ends = int(SYSTEM_CLOCK.time()) + 3600
        said = Succeed(FIRST, SECOND, ends, "ada@example.com")
        await edge.request(subjects.CERTS_CERTIFICATE_SUCCEED, said, Empty)
        await until(lambda: mirror.get(FIRST) is not None)
        known = mirror.get(FIRST)
        assert known is not None
        assert (known.thumbprint, known.principal) == (SECOND, "ada@example.com")
        for wrong in (Succeed(FIRST, FIRST, ends), Succeed(FIRST, SECOND, 1), Succeed("../x", SECOND, ends)):
            with pytest.raises(InvalidInput):
                await edge.request(subjects.CERTS_CERTIFICATE_SUCCEED, wrong, Empty)
    finally:
        await edge.stop()
        await certs.stop()
        await embedded.stop()


async def test_a_renewal_goes_on_while_the_bus_is_away(
    tmp_path: Path, authority: Authority, profiles: Profiles, csr: Any
) -> None:
    request = read_request(csr())
    leaf = authority.issue("auth", request.key, profiles.grant("auth", request))
    successors = Successors(EmbeddedBus(tmp_path).bus("certs"), SYSTEM_CLOCK)
    await successors.renewed(leaf.certificate, leaf)
