"""common/process/threads.py: what comes of work in a thread, also when nobody waits for it any more."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from clusterodm.libs.common.process.threads import in_thread


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_what_is_returned_in_the_thread_is_returned_here(threads: Executor) -> None:
    assert await in_thread(threads, threading.get_ident) != threading.get_ident()


async def test_what_is_raised_in_the_thread_is_raised_here(threads: Executor) -> None:
    def fail() -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await in_thread(threads, fail)


@pytest.mark.parametrize("fails", [False, True], ids=["works", "fails"])
async def test_who_is_cancelled_leaves_when_the_work_has_ended(threads: Executor, *, fails: bool) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)
        ended.set()
        if fails:
            raise OSError("the disk")

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(in_thread(threads, work))
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        go_on.set()
    assert waiting.cancelled()
    assert ended.is_set()
