"""Whose upstream session a stateless request is served in, and how many there are."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace

from interlock_common.testing.waiting import until
from interlock_gateway.testing.scripted import Scripted, Stage, call_of
from interlock_gateway.upstreams.eras.pools import Pools, pool_key
from interlock_gateway.upstreams.transport import UpstreamRequest


async def silent(stage: Stage) -> None:
    del stage


def served_in(session: str, principal: str = "ada") -> UpstreamRequest:
    return replace(call_of(principal=principal), session_key=session)


def test_a_pool_of_sessions_belongs_to_one_principal_that_can_do_one_thing() -> None:
    ada = call_of(capabilities=b'{"roots":{}, "sampling":{}}')
    same = replace(ada, capabilities=b'{"sampling":{},"roots":{}}', params=b"{}")
    assert pool_key(ada, "") == pool_key(same, "")
    others = [replace(ada, principal="eve"), replace(ada, capabilities=b"{}"), replace(ada, capabilities=b"[")]
    keys = {pool_key(ada, ""), pool_key(ada, "debug"), *(pool_key(each, "") for each in others)}
    assert len(keys) == 5
    assert all(key.startswith("pool.") and "ada" not in key for key in keys)


async def test_the_session_not_used_for_longest_is_ended() -> None:
    pools, transport = Pools(per_principal=2), Scripted(silent)
    for session in ("a", "b", "a", "c"):
        with pools.using(transport, served_in(session)):
            pass
    await until(lambda: transport.sessions_ended == ["b"])
    with pools.using(transport, served_in("d", "eve")):
        pass
    await asyncio.sleep(0)
    assert transport.sessions_ended == ["b"]


async def test_a_session_in_use_is_not_ended() -> None:
    pools, transport = Pools(per_principal=1), Scripted(silent)
    with ExitStack() as stack:
        stack.enter_context(pools.using(transport, served_in("a")))
        stack.enter_context(pools.using(transport, served_in("a")))
        with pools.using(transport, served_in("b")):
            pass
        await until(lambda: transport.sessions_ended == ["b"])
    assert transport.sessions_ended == ["b"]


async def test_there_are_only_so_many_sessions_in_all() -> None:
    pools, transport = Pools(total=2), Scripted(silent)
    for principal in ("ada", "eve", "root"):
        with pools.using(transport, served_in(f"of {principal}", principal)):
            pass
    await until(lambda: transport.sessions_ended == ["of ada"])
