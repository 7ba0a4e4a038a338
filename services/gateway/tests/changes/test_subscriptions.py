"""Who hears of what: over ``subscriptions/listen``, from real changes of the catalog and a scripted upstream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from interlock_common.messages.catalog import Credential, Definition, Upstream, VirtualServer
from interlock_common.testing.waiting import until
from interlock_gateway.errors import UpstreamUnreachable
from interlock_gateway.testing.asking import Answer, ask, modern_call
from interlock_gateway.testing.callers import ADA, EVE, ROOT
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import upstream_at

ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
URI = "notes+test://watched"


class Announcer:
    """Upstreams that can be listened to: what is put into ``says`` they say; ``breaks`` ends the next connection."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, tuple[str, ...]]] = []
        self.says: asyncio.Queue[bytes | None] = asyncio.Queue()

    @asynccontextmanager
    async def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        del session_key
        self.opened.append((principal, tuple(uris)))
        yield self._said(upstream)

    async def _said(self, upstream: Upstream) -> AsyncIterator[bytes]:
        while (message := await self.says.get()) is not None:
            yield message
        raise UpstreamUnreachable(f"upstream {upstream.name} went away")

    def update(self, uri: str = "test://watched") -> None:
        params = {"uri": uri}
        self.says.put_nowait(
            msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})
        )


def watched(**changes: Any) -> Upstream:
    resource = Definition("test://watched", msgspec.Raw(b'{"uri":"test://watched","name":"w"}'), "sha256:w")
    capable = msgspec.Raw(b'{"resources":{"subscribe":true}}')
    return upstream_at("http://x/", resources=(resource,), capabilities=capable, **changes)


class Stream:
    """A ``subscriptions/listen`` under way."""

    def __init__(self, world: EdgeWorld, wants: dict[str, Any], principal: str, server_id: str | None = None) -> None:
        headers, body = modern_call("subscriptions/listen", None, notifications=wants)
        self.answer = Answer()
        self.task = asyncio.create_task(
            ask(world.endpoint(), body, headers, token=world.signer.token(principal, teams=["red"]),
                server_id=server_id, answer=self.answer)
        )  # fmt: skip

    @property
    def heard(self) -> list[dict[str, Any]]:
        lines = self.answer.body.split(b"\n")
        return [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: ")]

    @property
    def methods(self) -> list[str]:
        return [each["method"].removeprefix("notifications/") for each in self.heard if "method" in each]

    async def hears(self, *methods: str) -> None:
        await until(lambda: self.methods == ["subscriptions/acknowledged", *methods])


@pytest.fixture
async def announcer(world: EdgeWorld) -> AsyncGenerator[Announcer]:
    announcer = Announcer()
    world.listeners._upstreams = announcer  # pyright: ignore[reportPrivateUsage]
    yield announcer
    await world.listeners.stop()


@pytest.fixture
async def listen(world: EdgeWorld) -> AsyncGenerator[Any]:
    streams: list[Stream] = []

    def begin(wants: dict[str, Any], principal: str = ADA, **more: Any) -> Stream:
        streams.append(Stream(world, wants, principal, **more))
        return streams[-1]

    yield begin
    for stream in streams:
        stream.task.cancel()
    await asyncio.gather(*(stream.task for stream in streams), return_exceptions=True)


async def test_every_message_says_which_subscription_it_belongs_to(world: EdgeWorld, listen: Any) -> None:
    stream = listen(ALL)
    await stream.hears()
    world.register(upstream_at("http://x/"))
    await stream.hears("tools/list_changed")
    acknowledged, changed = stream.heard
    assert acknowledged["params"]["notifications"] == ALL
    metas = [message["params"]["_meta"] for message in (acknowledged, changed)]
    assert metas == [{"io.modelcontextprotocol/subscriptionId": 7}] * 2


async def test_nobody_hears_of_what_was_not_asked_for_or_may_not_be_seen(world: EdgeWorld, listen: Any) -> None:
    tools, prompts = listen({"toolsListChanged": True}), listen({"promptsListChanged": True})
    stranger = listen(ALL, EVE)
    server = listen(ALL, server_id="s1")
    world.serve(VirtualServer("s1", "s", ROOT))
    for stream in (tools, prompts, stranger):
        await stream.hears()
    world.register(watched(visibility="team", team="red"))
    await tools.hears("tools/list_changed")
    world.register(watched(visibility="team", team="red", tools=()))
    await until(lambda: tools.methods.count("tools/list_changed") == 2)
    assert prompts.methods == stranger.methods == ["subscriptions/acknowledged"]
    assert "tools/list_changed" not in server.methods


async def test_an_update_reaches_those_who_subscribed_under_the_name_they_know(
    world: EdgeWorld, listen: Any, announcer: Announcer
) -> None:
    world.register(watched())
    stream, other = listen({"resourceSubscriptions": [URI, "other+test://none"]}), listen(ALL)
    await stream.hears()
    await other.hears()
    assert stream.heard[0]["params"]["notifications"] == {"resourceSubscriptions": [URI]}
    await until(lambda: bool(announcer.opened))
    assert announcer.opened == [(ADA, ("test://watched",))]
    announcer.update("test://other")
    announcer.update()
    await stream.hears("resources/updated")
    assert stream.heard[1]["params"]["uri"] == URI
    assert other.methods == ["subscriptions/acknowledged"]


async def test_one_connection_serves_all_who_listen_for_one_principal_and_ends_with_the_last(
    world: EdgeWorld, listen: Any, announcer: Announcer
) -> None:
    world.register(watched())
    first, second = listen({"resourceSubscriptions": [URI]}), listen({"resourceSubscriptions": [URI]})
    await first.hears()
    await second.hears()
    announcer.update()
    await first.hears("resources/updated")
    await second.hears("resources/updated")
    assert len(announcer.opened) == 1
    for stream in (first, second):
        stream.task.cancel()
    await asyncio.gather(first.task, second.task, return_exceptions=True)
    assert world.listeners._listeners == {}  # pyright: ignore[reportPrivateUsage]


async def test_who_may_not_see_a_resource_any_more_hears_no_more_of_it(
    world: EdgeWorld, listen: Any, announcer: Announcer
) -> None:
    world.register(watched())
    stream, owner = listen({"resourceSubscriptions": [URI]}), listen({"resourceSubscriptions": [URI]}, ROOT)
    await stream.hears()
    await owner.hears()
    world.register(watched(visibility="private", owner=ROOT))
    await until(lambda: len(announcer.opened) == 1)
    announcer.update()
    await owner.hears("resources/updated")
    await stream.hears()


async def test_an_upstream_that_moved_is_listened_to_where_it_is_and_one_that_is_gone_nowhere(
    world: EdgeWorld, listen: Any, announcer: Announcer
) -> None:
    world.register(watched())
    stream = listen({"resourceSubscriptions": [URI]})
    await until(lambda: len(announcer.opened) == 1)
    world.register(msgspec.structs.replace(watched(), problem="it was slow"))
    world.register(msgspec.structs.replace(watched(), url="http://elsewhere/"))
    await until(lambda: len(announcer.opened) == 2)
    announcer.update()
    await stream.hears("resources/updated")
    world.changes.take("upstream.u1", None)
    assert world.listeners._listeners == {}  # pyright: ignore[reportPrivateUsage]


async def test_nobody_listens_with_the_credential_of_another(
    world: EdgeWorld, listen: Any, announcer: Announcer
) -> None:
    world.register(watched(credential=Credential("oauth")))
    for principal in (ADA, ROOT):
        await listen({"resourceSubscriptions": [URI]}, principal).hears()
    await until(lambda: len(announcer.opened) == 2)
    assert {principal for principal, _ in announcer.opened} == {ADA, ROOT}


async def test_a_principal_leaves_room_for_the_subscriptions_of_others(
    listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock_gateway.changes.subscriptions._MAX_PER_PRINCIPAL", 2)
    for _ in range(2):
        await listen(ALL).hears()
    refused = listen(ALL)
    await refused.task
    assert refused.answer.status == 429
    await listen(ALL, EVE).hears()


async def test_what_may_have_been_missed_while_nobody_listened_is_told(
    world: EdgeWorld, listen: Any, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock_gateway.changes.listeners._FIRST_PAUSE", 0.01)
    world.register(watched())
    stream = listen({"resourceSubscriptions": [URI]})
    await stream.hears()
    announcer.says.put_nowait(None)
    await stream.hears("resources/updated")
    assert len(announcer.opened) == 2


async def test_a_list_that_changed_at_the_upstream_is_told_to_whoever_finds_out_what_there_is(
    world: EdgeWorld, listen: Any, announcer: Announcer
) -> None:
    world.register(watched())
    stream = listen({"resourceSubscriptions": [URI]})
    await stream.hears()
    message = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    announcer.says.put_nowait(message)
    await until(lambda: world.said == [("u1", message[:-1] + b',"params":{}}')])


async def test_a_revocation_ends_the_stream(world: EdgeWorld, listen: Any) -> None:
    stream = listen(ALL)
    await stream.hears()
    world.revoke()
    await asyncio.wait_for(stream.task, 5)
    assert stream.answer.complete


async def test_an_edge_that_ends_says_so_with_the_response(world: EdgeWorld, listen: Any) -> None:
    stream = listen(ALL)
    await stream.hears()
    world.subscriptions.close()
    await asyncio.wait_for(stream.task, 5)
    assert stream.heard[-1]["result"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 7}


async def test_a_filter_of_another_shape_is_refused(world: EdgeWorld) -> None:
    headers, body = modern_call("subscriptions/listen", None, notifications={"toolsListChanged": "yes"})
    answer = await ask(world.endpoint(), body, headers, token=world.signer.token())
    assert (answer.status, answer.json()["error"]["code"]) == (400, -32602)
