"""An older store of NATS is restored under a proxy that runs: what it has noted of an end counts, whatever the records and a leader's memory say."""

from clusterodm.libs.common.messages.placement import PLACE_TASKS, NotWaiting, Placements, PlaceTasks, TaskPlacement
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.services.proxy.forwarding.handlers.forwarder import Forwarder
from tests.forwarding import TASK, World
from tests.waiting import until

FINISHES = 2
"""A task that has ended is asked for so often: whether its record is an older one, and how it ended."""


async def canceled(world: World, forwarder: Forwarder) -> Task:
    """Have a task canceled that waits, and noted so; its record of before."""
    world.keep_failed_s, world.scheduler.slots_count = 3600.0, 0
    await world.adopted(forwarder)
    before = world.scheduler.tasks[TASK]
    world.scheduler.change(state=TaskState.CANCELED, ended_at_ms=5)
    await until(lambda: world.history().end, what="its end is noted")
    return before


async def test_a_task_that_was_canceled_is_sent_nowhere_when_its_record_of_before_is_placed(world: World) -> None:
    world.keep_failed_s = 3600.0
    async with world.proxy() as forwarder:
        world.scheduler.tasks[TASK] = await canceled(world, forwarder)  # read by the next leader: nobody is told
        world.scheduler.slots_count = 1
        await until(lambda: world.scheduler.adopted, what="it is submitted again")
        await world.reaches(TaskState.CANCELED)
    assert world.nodes.committed == []
    assert world.nodes.sent == []


async def test_an_end_that_the_leader_knows_from_memory_alone_is_told_to_the_next(world: World) -> None:
    world.keep_failed_s = 3600.0
    memory: list[Task] = []
    asked_count = 0

    async def place(asked: PlaceTasks) -> Placements:
        if not memory:
            return await world.scheduler.place_tasks(asked)
        said = NotWaiting(state=TaskState.CANCELED)
        return Placements(tasks=tuple(TaskPlacement(task=each.task, answer=said) for each in asked.tasks))

    async def get(asked: TaskRef) -> TaskRecord:
        nonlocal asked_count
        asked_count += 1
        return TaskRecord(task=memory[0], revision=9) if memory else await world.scheduler.get(asked)

    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {PLACE_TASKS: place, GET_TASK: get}),
        world.proxy() as forwarder,
    ):
        before = await canceled(world, forwarder)
        memory.append(world.scheduler.tasks[TASK])
        asked_count = 0
        world.scheduler.put(before)
        await until(lambda: asked_count >= FINISHES, what="the leader says that it has ended")
        memory.clear()
        await until(lambda: world.scheduler.adopted, what="it is submitted again")
        await world.reaches(TaskState.CANCELED)
    assert world.nodes.committed == []
