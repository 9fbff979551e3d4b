"""Whoever takes over reads everything that is active: in the order of the commits, and without holding up its own lease."""

import asyncio

import msgspec

from clusterodm.libs.common.messages.buckets import TASKS
from tests.scheduling import a_play, task_id

RECORDS_COUNT = 3_000
SLICES_COUNT = 5
"""At the very least: so many records take some tens of milliseconds, and a slice four."""


async def test_many_records_are_read_in_the_order_of_their_commits_while_others_have_their_turn():
    async with a_play() as play:
        await play.commits("one")
        bucket = await play.bus.bucket(TASKS)
        for number in reversed(range(RECORDS_COUNT)):
            task = task_id(str(number))
            record = msgspec.structs.replace(play.task("one"), id=task, committed_at_ms=play.now_ms + 1 + number)
            await bucket.put(task, record)
        turns_count = 0

        async def others() -> None:
            nonlocal turns_count
            while True:
                await asyncio.sleep(0)
                turns_count += 1

        async with asyncio.TaskGroup() as group:
            running = group.create_task(others())
            await play.starts_up()
            running.cancel()
        found = list(play.scheduler.state.index.all)
        assert found == [task_id("one"), *(task_id(str(number)) for number in range(RECORDS_COUNT))]
        assert turns_count >= SLICES_COUNT
