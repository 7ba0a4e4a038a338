import asyncio

import pytest

from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.testing.callers import a_caller


async def work(live: LiveWork, token_id: str, started: asyncio.Event) -> None:
    with live.on_behalf_of(a_caller(token_id=token_id)):
        started.set()
        await asyncio.Event().wait()


async def begun(live: LiveWork, token_id: str) -> asyncio.Task[None]:
    started = asyncio.Event()
    task = asyncio.create_task(work(live, token_id, started))
    await started.wait()
    return task


async def test_a_revocation_ends_all_work_of_its_token_and_none_of_others() -> None:
    live = LiveWork()
    mine, also_mine, other = await begun(live, "t-1"), await begun(live, "t-1"), await begun(live, "t-2")
    assert live.end("t-1") == 2
    for task in (mine, also_mine):
        with pytest.raises(Ended):
            await task
        assert task.cancelling() == 0
    assert not other.done()
    assert live.end("t-1") == 0
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_a_cancellation_by_somebody_else_is_no_revocation() -> None:
    live = LiveWork()
    task = await begun(live, "t-1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("revoked_first", [True, False])
async def test_a_cancellation_at_the_moment_of_a_revocation_is_not_swallowed(*, revoked_first: bool) -> None:
    live = LiveWork()
    task = await begun(live, "t-1")
    if revoked_first:
        live.end("t-1")
    task.cancel()
    live.end("t-1")
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_part_of_watched_work_is_watched_once() -> None:
    live = LiveWork()
    seen: list[str] = []

    async def nested() -> None:
        with live.on_behalf_of(a_caller()):
            try:
                with live.on_behalf_of(a_caller()):
                    await asyncio.Event().wait()
            except Ended:
                seen.append("inner")
                raise

    task = asyncio.create_task(nested())
    await asyncio.sleep(0)
    assert live.end("t-1") == 1
    assert live.end("t-1") == 1  # said twice, it is still one cancellation
    with pytest.raises(Ended):
        await task
    assert (seen, task.cancelling()) == (["inner"], 0)
    assert live.end("t-1") == 0


async def test_work_goes_on_being_watched_after_a_part_of_it_is_done() -> None:
    live = LiveWork()

    async def two_parts() -> None:
        with live.on_behalf_of(a_caller()):
            with live.on_behalf_of(a_caller()):
                pass
            await asyncio.Event().wait()

    task = asyncio.create_task(two_parts())
    await asyncio.sleep(0)
    live.end("t-1")
    with pytest.raises(Ended):
        await task


async def test_nothing_is_kept_of_work_that_is_done() -> None:
    live = LiveWork()
    for n in range(100):
        with live.on_behalf_of(a_caller(token_id=f"t-{n}")):
            pass
    assert all(live.end(f"t-{n}") == 0 for n in range(100))
