"""A store with a history: a hundred thousand tasks that have ended, beside those that run and wait, on a thousand nodes."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks.stages import NODES_COUNT, batches, node_record, task_record
from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.messages.buckets import ENDED, NODES, TASKS
from clusterodm.libs.common.model.tasks import AttemptState, Ended, Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.scheduler.task_life.transitions import UPLOAD_OWNER_AWAY
from tests.nats import NatsServer

RUNNING_COUNT, WAITING_COUNT = 1_000, 10_000
FIRST_ACTIVE = 1_000_000
"""Numbers of active tasks begin here, so that they are others than those that have ended."""
AT_ONCE = 256
PER_OWNER_COUNT = 100
"""So many tasks each owner may have under way: all have more, so that what waits goes on waiting."""


def running_task(number: int, port: int) -> Task:
    """Make the record of a task that runs."""
    task = task_record(FIRST_ACTIVE + number, port)
    attempt = msgspec.structs.replace(task.attempts[0], state=AttemptState.RUNNING, ended_at_ms=None)
    return msgspec.structs.replace(task, state=TaskState.RUNNING, ended_at_ms=None, known=None, attempts=(attempt,))


def waiting_task(number: int, port: int) -> Task:
    """Make the record of a task that waits, because its owner has enough under way."""
    task = task_record(FIRST_ACTIVE + RUNNING_COUNT + number, port)
    return msgspec.structs.replace(
        task,
        state=TaskState.WAITING,
        ended_at_ms=None,
        known=None,
        attempts=(),
        waiting_because=UPLOAD_OWNER_AWAY,
    )


def ended_task(number: int, port: int) -> Ended:
    """Make the record of a task that has ended."""
    task = task_record(number, port)
    known = msgspec.structs.replace(task.known, console_tail=()) if task.known else None
    return Ended(task=msgspec.structs.replace(task, known=known, console_kept=True), revision=number + 1)


async def write_history(nats: NatsServer, port: int, ended_count: int) -> float:
    """Fill an empty store; how many bytes of it each ended task takes."""
    await asyncio.to_thread(nats.start, "1s")
    try:
        async with connect(nats.url, "bench") as bus:
            nodes, tasks, ended = await bus.bucket(NODES), await bus.bucket(TASKS), await bus.bucket(ENDED)

            async def put_ended(number: int) -> None:
                await ended.put(task_record(number, port).id, ended_task(number, port))

            async def put_node(number: int) -> None:
                record = node_record(number, port)
                await nodes.put(record.id, record)

            def putting(make: Callable[[int, int], Task]) -> Callable[[int], Awaitable[None]]:
                async def put(number: int) -> None:
                    record = make(number, port)
                    await tasks.put(TaskId(record.id), record)

                return put

            await written(NODES_COUNT, put_node)
            before = stored_bytes(nats)
            await written(ended_count, put_ended)
            after = stored_bytes(nats)
            await written(RUNNING_COUNT, putting(running_task))
            await written(WAITING_COUNT, putting(waiting_task))
        return (after - before) / max(ended_count, 1)
    finally:
        await asyncio.to_thread(nats.stop)


async def written(count: int, put: Callable[[int], Awaitable[None]]) -> None:
    """Write so many records, many at once."""
    for numbers in batches(count, AT_ONCE):
        await asyncio.gather(*(put(number) for number in numbers))


def stored_bytes(nats: NatsServer) -> int:
    """Say how large the store is on the disk."""
    return sum(file.stat().st_size for file in nats.store.rglob("*.blk"))
