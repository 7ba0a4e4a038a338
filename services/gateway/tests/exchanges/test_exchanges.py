"""Asking upstreams over a real bus: what comes back, what does not, and who finds out."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from interlock_common.bus import Bus
from interlock_common.errors import TooLarge
from interlock_common.flushing import flushed
from interlock_common.messages import subjects
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import SESSION_KEY_HEADER
from interlock_common.subscriptions import Subscriptions
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.exchanges.client import ExchangeClient
from interlock_gateway.exchanges.server import Asked, ExchangeServer
from interlock_gateway.upstreams.bus import BusTransport, worker_name
from interlock_gateway.upstreams.room import NoRoom, Room
from interlock_gateway.upstreams.transport import UpstreamRequest

UPSTREAM = Upstream(
    "u1", "files", "files", "stdio:files", "legacy", "2025-11-25", "root@example.com", transport="stdio"
)
WORKER = msgspec.structs.replace(UPSTREAM, id="u2", name="sums", transport="worker", url="worker://sums", era="modern")
NOTE = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":%d}}'


@dataclass
class Script:
    """What the server's side of an exchange does, and what it saw."""

    before: int = 0
    hangs: bool = False
    large: int = 0
    fails: Exception | None = None
    asked: list[Asked] = field(default_factory=list[Asked])
    answers: list[bytes] = field(default_factory=list[bytes])
    ended: int = 0
    said: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def open(self, asked: Asked) -> AsyncGenerator["Script"]:
        self.asked.append(asked)
        if self.fails is not None:
            raise self.fails
        try:
            yield self
        finally:
            self.ended += 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(self.before):
            yield NOTE % number
        if self.hangs:
            yield b'{"jsonrpc":"2.0","id":"mine","method":"roots/list"}'
            await self.said.wait()
        request = jsonrpc.parse(self.asked[-1].payload)
        assert not isinstance(request.id, msgspec.UnsetType)
        yield jsonrpc.answer(request.id, b'{"text":"%s"}' % (b"x" * self.large))

    async def answer(self, message: bytes) -> None:
        self.answers.append(message)
        self.said.set()


@dataclass
class World:
    embedded: EmbeddedBus
    edge: Bus
    connector: Bus
    transport: BusTransport
    server: ExchangeServer
    script: Script = field(default_factory=Script)

    async def serve(self) -> None:
        listening = Subscriptions(self.connector)
        await listening.add(
            subjects.connector("u1"), lambda m: self.server.take(m, self.script.open), queue="connector"
        )
        await flushed(self.connector.nc)

    async def ask(self, upstream: Upstream = UPSTREAM, **changes: Any) -> list[bytes]:
        async with self.transport.open(request_to(upstream, **changes)) as exchange:
            return [message async for message in exchange]


def request_to(upstream: Upstream = UPSTREAM, **changes: Any) -> UpstreamRequest:
    fields: dict[str, Any] = {"method": "tools/call", "name": "read", "params": b'{"name":"read"}'}
    fields |= {"principal": "ada@example.com", "session_key": "k1", "capabilities": b'{ "roots":\n {} }'} | changes
    return UpstreamRequest(upstream, **fields)


async def subscribe(worker: Bus, answer: Callable[[Any], Awaitable[None]]) -> None:
    await worker.nc.subscribe("mcp.worker.sums", cb=answer)  # pyright: ignore[reportUnknownMemberType]
    await flushed(worker.nc)


def result_of(message: bytes) -> Any:
    return msgspec.json.decode(message)["result"]


@pytest.fixture
async def world(embedded_bus: EmbeddedBus) -> AsyncGenerator[World]:
    edge, connector = embedded_bus.bus("gateway"), embedded_bus.bus("connector")
    await asyncio.gather(edge.start(), connector.start())
    client = ExchangeClient(edge, Subscriptions(edge), max_answer=100_000, silence=1.0)
    await client.start()
    server = ExchangeServer(connector, Subscriptions(connector), concurrency=4, sign_of_life=0.2)
    await server.start()
    yield World(embedded_bus, edge, connector, BusTransport(client), server)
    await server.stop()
    await asyncio.gather(edge.stop(), connector.stop())


async def test_messages_come_as_they_were_and_the_response_last(world: World) -> None:
    world.script.before = 3
    await world.serve()
    messages = await world.ask()
    assert messages[:3] == [NOTE % n for n in range(3)]
    assert result_of(messages[3]) == {"text": ""}
    asked = world.script.asked[0]
    assert (asked.principal, asked.session_key, asked.capabilities) == ("ada@example.com", "k1", b'{"roots":{}}')


async def test_nobody_there_is_known_at_once(world: World) -> None:
    async with asyncio.timeout(0.9):  # less than the silence that ends an exchange
        with pytest.raises(UpstreamUnreachable, match="upstream files is away"):
            await world.ask()


async def test_a_server_that_starts_meanwhile_is_found(world: World) -> None:
    asking = asyncio.create_task(world.ask())
    await asyncio.sleep(0)
    await world.serve()
    assert len(await asking) == 1


async def test_signs_of_life_keep_a_silent_exchange_open_and_a_dead_one_ends(world: World) -> None:
    world.script.hangs = True
    await world.serve()
    async with world.transport.open(request_to()) as exchange:
        incoming = aiter(exchange)
        assert jsonrpc.parse(await anext(incoming)).method == "roots/list"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):  # longer than the silence that would end it
                await anext(incoming)
    async with world.transport.open(request_to()) as exchange:
        await anext(aiter(exchange))
        await world.connector.stop()  # as a kill would: nobody says that it ends
        with pytest.raises(UpstreamUnreachable, match="no sign of life"):
            await anext(aiter(exchange))


async def test_a_request_of_the_server_is_answered_in_its_exchange(world: World) -> None:
    world.script.hangs = True
    await world.serve()
    async with world.transport.open(request_to()) as exchange:
        incoming = aiter(exchange)
        await anext(incoming)
        answer = b'{"jsonrpc":"2.0","id":"mine","result":{"roots":[]}}'
        await exchange.answer(answer)
        assert jsonrpc.parse(await anext(incoming)).method is None
    assert world.script.answers == [answer]


async def test_leaving_cancels_at_the_server_even_before_it_has_said_anything(world: World) -> None:
    world.script.hangs = True
    await world.serve()
    async with world.transport.open(request_to()) as exchange:
        await anext(aiter(exchange))
    await until(lambda: world.script.ended == 1)
    async with world.transport.open(request_to()):
        await until(lambda: len(world.script.asked) == 2)
    await until(lambda: world.script.ended == 2)


async def test_an_asker_that_is_gone_is_noticed(world: World) -> None:
    world.script.hangs = True
    await world.serve()
    opened = world.transport.open(request_to())
    await anext(aiter(await opened.__aenter__()))
    await world.edge.stop()
    await until(lambda: world.script.ended == 1)


async def test_an_answer_over_the_bound_is_a_misbehaviour(world: World) -> None:
    world.script.large = 100_001
    await world.serve()
    with pytest.raises(UpstreamMisbehaved, match="over 100000 bytes"):
        await world.ask()


async def test_messages_that_nobody_reads_are_bounded(world: World) -> None:
    world.script.before = 2000
    await world.serve()
    async with world.transport.open(request_to()) as exchange:
        await until(lambda: exchange.failure is not None)
        with pytest.raises(UpstreamMisbehaved, match="more than is read"):
            assert not [message async for message in exchange]


async def test_a_failure_of_the_way_is_told_in_words(world: World) -> None:
    world.script.fails = TooLarge("the answer is over 8 MiB")
    await world.serve()
    with pytest.raises(UpstreamMisbehaved, match="upstream files: the answer is over 8 MiB"):
        await world.ask()


async def test_too_many_exchanges_are_refused_and_then_taken_again(world: World) -> None:
    world.script.hangs = True
    await world.serve()
    waiting = [asyncio.create_task(world.ask()) for _ in range(4)]
    await until(lambda: len(world.script.asked) == 4)
    with pytest.raises(UpstreamUnreachable, match="4 exchanges already"):
        await world.ask()
    world.script.said.set()
    await asyncio.gather(*waiting)
    assert len(await world.ask()) == 2


async def test_a_server_that_ends_says_so(world: World) -> None:
    world.script.hangs = True
    await world.serve()
    async with world.transport.open(request_to()) as exchange:
        incoming = aiter(exchange)
        await anext(incoming)
        await world.server.stop()
        with pytest.raises(UpstreamUnreachable, match="connector is ending"):
            await anext(incoming)


async def test_rotating_certificates_on_both_sides_loses_no_message(world: World) -> None:
    world.script.before = 20
    await world.serve()
    done = asyncio.Event()
    asked = 0

    async def keep_asking() -> None:
        nonlocal asked
        while not done.is_set():
            assert len(await world.ask()) == 21
            asked += 1

    asking = [asyncio.create_task(keep_asking()) for _ in range(3)]
    for bus in (world.edge, world.connector, world.edge):
        await bus.rotate(world.embedded.identity(bus.service).client_context())
        before = asked
        await until(lambda before=before: asked > before + 5)
    done.set()
    await asyncio.gather(*asking)


async def test_a_long_exchange_survives_a_rotation(world: World) -> None:
    world.script.hangs = True
    await world.serve()
    async with world.transport.open(request_to()) as exchange:
        incoming = aiter(exchange)
        await anext(incoming)
        for bus in (world.edge, world.connector):
            await bus.rotate(world.embedded.identity(bus.service).client_context())
        await exchange.answer(b'{"jsonrpc":"2.0","id":"mine","result":{}}')
        assert jsonrpc.parse(await anext(incoming)).method is None


async def test_a_worker_needs_to_respond_but_once(world: World) -> None:
    worker = world.embedded.bus("worker")
    await worker.start()

    async def work(message: Any) -> None:
        assert SESSION_KEY_HEADER in message.headers
        await message.respond(jsonrpc.answer(msgspec.json.decode(message.data)["id"], b'{"sum":3}'))

    await subscribe(worker, work)
    (answer,) = await world.ask(WORKER)
    assert result_of(answer) == {"sum": 3}
    await worker.stop()


async def test_a_worker_that_speaks_no_json_rpc_is_named(world: World) -> None:
    worker = world.embedded.bus("worker")
    await worker.start()

    async def hello(message: Any) -> None:
        await message.respond(b"hello")

    await subscribe(worker, hello)
    with pytest.raises(UpstreamMisbehaved, match="upstream sums sent no JSON-RPC"):
        await world.ask(WORKER)
    await worker.stop()


async def test_long_answers_that_wait_to_be_read_share_the_room_of_the_edge(world: World) -> None:
    worker = world.embedded.bus("worker")
    await worker.start()
    long = b'{"jsonrpc":"2.0","id":1,"result":"%s"}' % (b"x" * 700_000)

    async def answer(message: Any) -> None:
        await message.respond(long)

    await subscribe(worker, answer)
    room = Room(1024 * 1024)
    client = ExchangeClient(world.edge, Subscriptions(world.edge), max_answer=1_000_000, room=room)
    await client.start()
    transport = BusTransport(client)
    async with transport.open(request_to(WORKER)) as first:
        await until(lambda: room.taken > 400_000)
        async with transport.open(request_to(WORKER)) as second:
            with pytest.raises(NoRoom, match="upstream sums answers at length"):
                await anext(aiter(second))
        assert await anext(aiter(first)) == long
        assert room.taken == 0
    async with transport.open(request_to(WORKER)):
        await until(lambda: room.taken > 400_000)
    assert room.taken == 0
    await worker.stop()


@pytest.mark.parametrize("url", ["worker://", "worker://a..b", "worker://a b", "worker://*", "http://a", "worker://>"])
def test_a_worker_name_is_no_wildcard(url: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        worker_name(url)
