"""Two edges on a real bus: a call that one of them holds is gone on with at the other."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.flushing import flushed
from interlock_common.messages import subjects
from interlock_common.messages.gateway import Resume
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions
from interlock_common.testing.bus import EmbeddedBus
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.exchanges.client import ExchangeClient
from interlock_gateway.exchanges.server import ExchangeServer
from interlock_gateway.held.holding import Holding
from interlock_gateway.held.request_state import RequestStates
from interlock_gateway.held.resuming import Resuming
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.revisions import META_LOG_LEVEL
from interlock_gateway.testing.scripted import FORM, SAID, Scripted, Stage, call_of
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.upstreams.eras.wrapping import Eras


@dataclass
class Edge:
    """An edge process, as far as held calls go; ``upstream`` is what its calls reach."""

    bus: Bus
    upstream: Scripted

    async def start(self) -> None:
        await self.bus.start()
        subscriptions = Subscriptions(self.bus)
        self.client = ExchangeClient(self.bus, subscriptions, max_answer=1024 * 1024, silence=2.0)
        self.server = ExchangeServer(self.bus, subscriptions, sign_of_life=0.2)
        states = RequestStates(Sealer(b"the secret of the deployment"), SYSTEM_CLOCK)
        holding = Holding[ModernCall](states, SYSTEM_CLOCK, self.bus.instance)
        self.resuming = Resuming(holding, self.client, self.server, subscriptions)
        await self.client.start()
        await self.server.start()
        await self.resuming.start()
        await flushed(self.bus.nc)
        self.eras = Eras(holding, self.resuming)

    async def stop(self) -> None:
        await self.resuming.stop()
        await self.server.stop()
        await self.bus.stop()

    async def call(self, **params: Any) -> list[dict[str, Any]]:
        async with self.eras.open(self.upstream, call_of(**params), modern=True) as exchange:
            return [msgspec.json.decode(message) async for message in exchange]


async def two_questions(stage: Stage) -> None:
    first = await stage.ask("elicitation/create", **FORM)
    stage.notify("notifications/message", level="error", data="half way")
    stage.notify("notifications/progress", progressToken=1, progress=1)
    second = await stage.ask("elicitation/create", **FORM)
    stage.answer({"content": [first, second]})


@pytest.fixture
async def edges(embedded_bus: EmbeddedBus) -> AsyncGenerator[tuple[Edge, Edge]]:
    here = Edge(embedded_bus.bus("gateway"), Scripted(two_questions))
    there = Edge(embedded_bus.bus("gateway"), Scripted(two_questions))
    await asyncio.gather(here.start(), there.start())
    yield here, there
    await asyncio.gather(here.stop(), there.stop())


async def test_any_edge_goes_on_with_a_call_round_after_round(edges: tuple[Edge, Edge]) -> None:
    here, there = edges
    (one,) = await here.call()
    meta = {META_LOG_LEVEL: "info", "progressToken": "mine"}
    log, progress, two = await there.call(
        requestState=one["result"]["requestState"], inputResponses={"elicitation-1": SAID}, _meta=meta
    )
    assert (log["params"]["data"], progress["params"]["progressToken"]) == ("half way", "mine")
    declined = {"action": "decline"}
    (done,) = await there.call(requestState=two["result"]["requestState"], inputResponses={"elicitation-2": declined})
    assert done["result"] == {"content": [SAID, declined]}
    assert (len(here.upstream.opened), len(there.upstream.opened), here.upstream.cancelled) == (1, 0, 0)


async def test_a_holder_that_has_ended_holds_nothing(edges: tuple[Edge, Edge]) -> None:
    here, there = edges
    (one,) = await here.call()
    await here.stop()
    assert here.upstream.cancelled == 1
    with pytest.raises(RpcError, match="ask anew") as refused:
        await there.call(requestState=one["result"]["requestState"], inputResponses={})
    assert (refused.value.error.code, refused.value.error.data) == (-32602, {"code": "request_state_gone"})


async def test_a_call_that_is_over_is_told_so_by_its_holder(edges: tuple[Edge, Edge]) -> None:
    here, there = edges
    (one,) = await here.call()
    await here.resuming.stop()
    (refused,) = await there.call(requestState=one["result"]["requestState"], inputResponses={})
    assert (refused["error"]["code"], refused["error"]["data"]) == (-32602, {"code": "request_state_gone"})


async def test_a_client_that_leaves_the_other_edge_ends_the_call(edges: tuple[Edge, Edge]) -> None:
    here, there = edges
    asked = asyncio.Event()

    async def play(stage: Stage) -> None:
        await stage.ask("elicitation/create", **FORM)
        asked.set()

    here.upstream.play = play
    (one,) = await here.call()
    retry = there.call(requestState=one["result"]["requestState"], inputResponses={"elicitation-1": SAID})
    retrying = asyncio.create_task(retry)
    async with asyncio.timeout(5):
        await asked.wait()
    retrying.cancel()
    await asyncio.gather(retrying, return_exceptions=True)
    async with asyncio.timeout(5):
        await here.upstream.closed.wait()
    assert here.upstream.cancelled == 1


async def test_a_failure_of_the_upstream_comes_through_as_such(edges: tuple[Edge, Edge]) -> None:
    here, there = edges

    async def play(stage: Stage) -> None:
        await stage.ask("elicitation/create", **FORM)
        raise UpstreamUnreachable("upstream notes closed the connection")

    here.upstream.play = play
    (one,) = await here.call()
    with pytest.raises(UpstreamUnreachable, match="notes closed the connection"):
        await there.call(requestState=one["result"]["requestState"], inputResponses={"elicitation-1": SAID})


async def test_another_principal_gets_nothing_even_from_an_edge_that_asks_for_it(edges: tuple[Edge, Edge]) -> None:
    here, there = edges
    (one,) = await here.call()
    state = msgspec.Raw(msgspec.json.encode(one["result"]["requestState"]))
    hold = here.resuming.holding.states.open(state, call_of()).hold
    payload = msgspec.json.encode(Resume(hold, "eve@example.com", msgspec.Raw(b"{}")))
    async with there.client.open(subjects.edge(here.bus.instance, "resume"), payload, {}, "the edge") as asked:
        (refused,) = [msgspec.json.decode(message) async for message in asked]
    assert refused["error"]["data"] == {"code": "request_state_gone"}


async def test_what_does_not_fit_the_contract_is_refused(edges: tuple[Edge, Edge]) -> None:
    here, there = edges
    async with there.client.open(subjects.edge(here.bus.instance, "resume"), b"[]", {}, "the edge") as asked:
        with pytest.raises(UpstreamMisbehaved, match="contract"):
            await anext(aiter(asked))
