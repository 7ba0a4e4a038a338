"""A connector as a process of its own, on a real bus, with real servers over stdio."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock_common import kv
from interlock_common.errors import UpstreamFailed
from interlock_common.messages import subjects
from interlock_common.messages.catalog import upstream_key
from interlock_common.messages.gateway import DESCRIBE
from interlock_common.messages.resources import CATALOG
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions
from interlock_common.testing.waiting import until
from interlock_gateway.connector.testing import World, call
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.upstreams.transport import UpstreamRequest


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_tool_of_a_command_is_called(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    await world.until_answered(upstream)
    assert await world.ask(upstream, "echo", text="grüße", deep={"a": [1, 2]}) == {
        "text": "grüße",
        "deep": {"a": [1, 2]},
    }
    assert await world.ask(upstream, "garbage") == "survived"


async def test_progress_comes_under_the_token_of_whoever_asked_and_never_collides(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    await world.until_answered(upstream)
    answers = await asyncio.gather(
        *(world.messages(upstream, "progress", meta={"progressToken": "mine"}) for _ in range(8))
    )
    for messages in answers:
        assert [message["params"] for message in messages[:-1]] == [
            {"progressToken": "mine", "progress": step} for step in range(3)
        ]
        assert messages[-1]["id"] is not None


async def test_a_request_of_the_server_reaches_the_call_it_belongs_to(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    await world.until_answered(upstream)
    async with world.transport.open(call(upstream, "ask")) as exchange:
        incoming = aiter(exchange)
        asked = msgspec.json.decode(await anext(incoming))
        assert asked["method"] == "sampling/createMessage"
        await exchange.answer(
            msgspec.json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": {"role": "assistant"}})
        )
        last = msgspec.json.decode(await anext(incoming))
    assert msgspec.json.decode(last["result"]["content"][0]["text"]) == {"role": "assistant"}


async def test_a_cancelled_call_is_cancelled_at_the_server(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    await world.until_answered(upstream)
    async with world.transport.open(call(upstream, "hang")):
        await until(lambda: "hanging with" in world.log())
    await until(lambda: "cancelled " in world.log())


async def test_what_belongs_to_no_request_is_told_to_everyone(world: World) -> None:
    upstream = await world.register()
    heard: list[bytes] = []
    listening = Subscriptions(world.edge)
    await listening.add(subjects.changed("u1"), lambda message: heard.append(message.data))
    await world.connector()
    await world.until_answered(upstream)
    await world.ask(upstream, "change")
    await until(lambda: len(heard) == 2)
    assert [msgspec.json.decode(one)["method"] for one in heard] == [
        "notifications/tools/list_changed", "notifications/resources/updated"
    ]  # fmt: skip


async def test_each_principal_has_a_process_unless_it_is_shared(world: World) -> None:
    own, shared = await world.register(), await world.register(upstream_id="u2", shared=True)
    await world.connector()
    await asyncio.gather(world.until_answered(own), world.until_answered(shared))
    assert await world.ask(own, "pid") == await world.ask(own, "pid") != await world.ask(own, "pid", "eve")
    assert await world.ask(shared, "pid") == await world.ask(shared, "pid", "eve")


async def test_a_killed_server_fails_its_calls_once_and_is_back_for_the_next(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    pid = await world.until_answered(upstream)
    async with world.transport.open(call(upstream, "hang")) as exchange:
        await until(lambda: "hanging with" in world.log())
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(UpstreamUnreachable, match="notes-u1: the server process of notes-u1 ended by SIGKILL"):
            await anext(aiter(exchange))
    assert await world.ask(upstream, "pid") != pid


async def test_what_keeps_ending_is_tried_ever_later(world: World) -> None:
    upstream = await world.register((*world.raw, "--fail"))
    await world.connector()
    await world.until_refused(upstream, "exit code 3; 2 times in a row", UpstreamUnreachable)


async def test_a_killed_connector_takes_its_servers_along_and_another_takes_over(world: World) -> None:
    upstream = await world.register()
    first = await world.connector()
    pid = await world.until_answered(upstream)
    await world.connector()
    await until(lambda: "serving" in world.log(1), timeout=20)
    async with world.transport.open(call(upstream, "hang")) as exchange:
        await until(lambda: "hanging with" in world.log())
        first.kill()
        with pytest.raises(UpstreamUnreachable, match="no sign of life"):
            await anext(aiter(exchange))
    await until(lambda: not alive(pid))
    assert await world.until_answered(upstream) != pid


async def test_a_connector_that_is_asked_to_end_hands_over_at_once(world: World) -> None:
    upstream = await world.register()
    first = await world.connector()
    pid = await world.until_answered(upstream)
    await world.connector()
    await until(lambda: "serving" in world.log(1), timeout=20)
    first.terminate()
    await first.wait()
    began = time.monotonic()
    assert await world.until_answered(upstream) != pid
    assert time.monotonic() - began < 3  # far below the lease
    assert not alive(pid)
    assert first.returncode == 0


async def test_two_connectors_never_run_the_same_upstream(world: World) -> None:
    upstreams = [await world.register(upstream_id=f"u{n}") for n in range(6)]
    await asyncio.gather(world.connector(), world.connector())
    pids = await asyncio.gather(*map(world.until_answered, upstreams))
    assert await asyncio.gather(*(world.ask(upstream, "pid") for upstream in upstreams)) == pids


async def test_the_environment_is_what_was_registered_and_secrets_stay_out_of_logs(world: World, tmp_path: Any) -> None:
    sealed = Sealer(b"deployment secret").seal("environment", b'{"API_KEY":"hunter2hunter2"}', b"u1")
    upstream = await world.register(environment={"MODE": "test"}, sealed_environment=sealed, directory=str(tmp_path))
    await world.connector(AUTH_ENCRYPTION_SECRET="deployment secret", OTHER_SECRET="not for servers")
    await world.until_answered(upstream)
    environment = await world.ask(upstream, "environment")
    assert {"MODE", "API_KEY", "PATH", "HOME"} <= environment.keys()
    assert not {"AUTH_ENCRYPTION_SECRET", "OTHER_SECRET", "BUS_URL"} & environment.keys()
    assert environment["API_KEY"] == "hunter2hunter2"
    assert environment["cwd"] == str(tmp_path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await world.ask(upstream, "hang")
    assert "hanging with [redacted]" in world.log()
    assert "hunter2" not in world.log()


async def test_a_sealed_environment_needs_the_secret(world: World) -> None:
    sealed = Sealer(b"another").seal("environment", b"{}", b"u1")
    upstream = await world.register(sealed_environment=sealed)
    await world.connector()
    await world.until_refused(upstream, "AUTH_ENCRYPTION_SECRET is not set", UpstreamMisbehaved)


async def test_only_allowed_commands_run(world: World) -> None:
    upstream = await world.register()
    await world.connector(CONNECTOR_COMMANDS="npx, /usr/bin/true")
    await world.until_refused(upstream, "CONNECTOR_COMMANDS does not allow", UpstreamMisbehaved)


async def test_a_server_over_its_memory_is_killed_and_says_so(world: World) -> None:
    upstream = await world.register(memory=64 * 2**20)
    await world.connector()
    await world.until_answered(upstream)
    with pytest.raises(UpstreamUnreachable, match="MiB of memory, of 64 MiB allowed"):
        await world.ask(upstream, "hoard", size=80 * 2**20)
    assert await world.until_answered(upstream) > 0


async def test_a_line_over_the_bound_ends_the_server_and_nobody_else(world: World) -> None:
    upstream, other = await world.register(), await world.register(upstream_id="u2")
    await world.connector(MAX_MESSAGE_BYTES="65536")
    await asyncio.gather(world.until_answered(upstream), world.until_answered(other))
    pid = await world.ask(other, "pid")
    with pytest.raises(UpstreamUnreachable, match="wrote a line over 65536 bytes"):
        await world.ask(upstream, "long", size=1_000_000)
    assert await world.ask(other, "pid") == pid
    assert await world.until_answered(upstream) > 0


async def test_idle_servers_end_and_begin_again(world: World) -> None:
    upstream = await world.register(idle_seconds=0.5)
    await world.connector()
    pid = await world.until_answered(upstream)
    await until(lambda: not alive(pid))
    assert await world.ask(upstream, "pid") != pid


async def test_a_new_command_replaces_the_running_one_and_a_deleted_upstream_ends_it(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    pid = await world.until_answered(upstream)
    changed = await world.register(environment={"MODE": "new"})
    await until(lambda: not alive(pid))
    pid = await world.ask(changed, "pid")
    await kv.delete(world.catalog, CATALOG, upstream_key("u1"))
    await until(lambda: not alive(pid))
    with pytest.raises(UpstreamFailed):
        await world.ask(changed, "pid")


@pytest.mark.parametrize("known", ["", "2025-11-25"])
async def test_a_server_says_its_era(world: World, known: str) -> None:
    upstream = await world.register(world.sdk, era="legacy", protocol_version=known)
    await world.connector()
    await until(lambda: "serving" in world.log(), timeout=20)

    async def describe() -> Any:
        request = UpstreamRequest(upstream, DESCRIBE, "", b"{}", "svc:catalog", "discovery")
        async with world.transport.open(request) as exchange:
            return [msgspec.json.decode(message)["result"] async for message in exchange][-1]

    async with asyncio.timeout(30):
        while True:
            try:
                said = await describe()
                break
            except UpstreamUnreachable:
                continue
    assert said["era"] == ("legacy" if known else "modern")
    assert said["instructions"] == "ask me"
    assert "tools" in said["capabilities"]


async def test_listening_lasts_as_long_as_the_server(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    pid = await world.until_answered(upstream)
    async with world.transport.listen(upstream, "ada", "s1", ["file:///a"]) as notifications:
        waiting = asyncio.ensure_future(anext(aiter(notifications), None))
        request = call(upstream, "pid", session="s1")
        async with world.transport.open(replace(request, capabilities=b"{}")) as exchange:
            last = [msgspec.json.decode(message) async for message in exchange][-1]
        own = msgspec.json.decode(last["result"]["content"][0]["text"])
        assert own != pid  # a session that said nothing of its client has a server of its own
        assert not waiting.done()
        os.kill(own, signal.SIGKILL)
        assert await asyncio.wait_for(waiting, 5) is None


async def test_a_session_that_ends_ends_its_server(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    pid = await world.until_answered(upstream)
    await world.transport.end_session(upstream, "another")
    assert alive(pid)
    await world.transport.end_session(upstream, "s1")
    await until(lambda: not alive(pid))


async def test_what_a_client_says_reaches_the_server_of_its_session_and_begins_none(world: World) -> None:
    upstream = await world.register()
    await world.connector()
    pid = await world.until_answered(upstream)
    changed = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'
    for principal, session in (("ada", "another"), ("eve", "s1"), ("ada", "s1")):
        await world.transport.notify(upstream, principal, session, changed)
    await until(lambda: "heard of other roots" in world.log())
    assert world.log().count("heard of other roots") == 1
    assert f"{pid} heard of other roots" in world.log()
    assert world.log().count("a server process is ready") == 1
