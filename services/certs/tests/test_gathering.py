import asyncio

import pytest

from interlock_certs.gathering import Gathered


async def test_many_who_ask_at_once_share_one_run_that_began_after_they_asked() -> None:
    begun, finish = 0, asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        await finish.wait()

    gathered = Gathered(work)
    first = asyncio.create_task(gathered())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == 1
    late = [asyncio.create_task(gathered()) for _ in range(20)]
    await asyncio.sleep(0)
    assert begun == 1
    finish.set()
    await asyncio.gather(first, *late)
    assert begun == 2


async def test_a_failure_reaches_everybody_who_waited_and_the_next_run_is_a_new_one() -> None:
    failures = [OSError("away")]

    async def work() -> None:
        if failures:
            raise failures.pop()

    gathered = Gathered(work)
    for result in await asyncio.gather(gathered(), gathered(), return_exceptions=True):
        assert isinstance(result, OSError)
    await gathered()


async def test_who_gives_up_does_not_stop_the_work_for_the_others() -> None:
    done, finish = 0, asyncio.Event()

    async def work() -> None:
        nonlocal done
        await finish.wait()
        done += 1

    gathered = Gathered(work)
    impatient, patient = asyncio.create_task(gathered()), asyncio.create_task(gathered())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    finish.set()
    await patient
    assert done == 1
