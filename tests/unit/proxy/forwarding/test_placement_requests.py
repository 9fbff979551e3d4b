"""How a proxy asks for slots: one question for all tasks that wait, and quick ones about those it does not know about."""

import asyncio

from clusterodm.libs.common.messages.health import LoopReport
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.placement import (
    PLACE_TASKS,
    PLACEMENT_POSSIBLE,
    RENEW_ATTEMPT,
    PlacementPossible,
    PlaceTasks,
    RenewAttempt,
)
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.process.lifecycle import SystemClock, monotonic_s
from clusterodm.libs.common.process.loops import Loops, watched
from clusterodm.libs.common.testing.faults import Faults
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import Mark
from tests.forwarding import QUICK, World
from tests.waiting import passed, until


async def test_tasks_that_wait_share_one_question_and_cost_no_other(world: World) -> None:
    tasks = [TaskId(f"task-{number}") for number in range(20)]
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        for task in tasks:
            await world.adopted(forwarder, task)
        await until(lambda: all(world.scheduler.asked[task] for task in tasks), what="each was asked about")
        await until(lambda: held_open(world), what="a question is open")
        for task in tasks:
            world.scheduler.change(task, name="nothing that matters")
        world.scheduler.slots_count = 1
        await until(lambda: world.nodes.committed, what="the oldest goes when there is a slot")
    assert world.nodes.committed == ["task-0#1"]
    assert all(world.scheduler.asked[task] == 1 for task in tasks[1:])


async def test_a_proxy_that_sends_as_much_as_it_may_keeps_its_question_open(world: World) -> None:
    first, second = TaskId("task-1"), TaskId("task-2")
    world.nodes.gate.clear()
    async with world.proxy(tasks_count=1) as forwarder:
        for task in (first, second):
            await world.adopted(forwarder, task)
        await until(lambda: world.nodes.sending_count, what="one is sent")
        await until(lambda: held_open(world), what="it says that it is there")
        open_question = held_open(world)[-1]
        assert (open_question.places_count, open_question.sending) == (1, {first: 1})
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING, second)
    assert world.nodes.committed == ["task-1#1", "task-2#1"]


async def test_a_proxy_without_waiting_tasks_keeps_no_question_open(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert held_open(world) == []


async def test_a_proxy_that_stops_says_that_it_sends_nothing_more(world: World) -> None:
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: held_open(world), what="a question is open")
    last = world.scheduler.questions[-1]
    assert (last.places_count, last.tasks) == (0, ())
    assert len({question.run for question in world.scheduler.questions}) == 1


async def test_the_next_leader_is_asked_as_soon_as_it_says_that_it_leads(world: World) -> None:
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: held_open(world), what="the old leader is asked")
        before_count = len(world.scheduler.questions)
        world.scheduler.epoch = 2
        began_s = monotonic_s()
        await world.bus.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(), epoch=2))
        await until(lambda: len(world.scheduler.questions) > before_count, what="the new one is asked")
        assert monotonic_s() - began_s < QUICK.hold_s


async def test_a_placement_that_comes_before_the_commit_was_answered_is_taken(world: World) -> None:
    early = TaskId("task-early")
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: held_open(world), what="a question is open")
        await world.commit(early)
        world.scheduler.submit(early)
        world.scheduler.slots_count = 2
        await world.reaches(TaskState.RUNNING, early)
        await forwarder.adopt(early)
        await until(lambda: world.scheduler.asked[early] == 2, what="it is looked after")
    assert len(world.nodes.committed) == 2


async def test_a_commit_that_is_answered_late_takes_no_note_of_an_attempt_back(world: World) -> None:
    early, disk = TaskId("task-early"), asyncio.Event()
    noted: list[TaskId] = []
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: held_open(world), what="a question is open")
        remember = world.spool.remember

        async def wait_for_the_disk(task: TaskId, history: History, *, durably: bool = True) -> None:
            noted.append(task)
            await disk.wait()
            await remember(task, history, durably=durably)

        world.spool.remember = wait_for_the_disk  # type: ignore[method-assign]
        await world.commit(early)
        world.scheduler.submit(early)
        world.scheduler.slots_count = 2
        await until(lambda: early in noted, what="its attempt is noted")
        async with asyncio.TaskGroup() as group:
            group.create_task(forwarder.adopt(early))
            await passed()
            disk.set()
        await world.reaches(TaskState.RUNNING, early)
        held = world.spool.find(early)
        assert held is not None
        assert held.history is not None
        assert [each.number for each in held.history.attempts] == [1]


async def test_a_commit_whose_task_was_placed_meanwhile_is_answered_when_that_is_noted(world: World) -> None:
    early, back = TaskId("task-early"), asyncio.Event()
    renewed: list[TaskId] = []

    async def answer_late(asked: RenewAttempt) -> Done:
        renewed.append(asked.task)
        await back.wait()
        return await world.scheduler.renew(asked)

    world.scheduler.slots_count = 0
    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {RENEW_ATTEMPT: answer_late}),
        world.proxy() as forwarder,
    ):
        await world.adopted(forwarder)
        await until(lambda: held_open(world), what="a question is open")
        await world.commit(early)
        world.scheduler.submit(early)
        world.scheduler.slots_count = 2
        await until(lambda: early in renewed, what="it was placed")
        await forwarder.adopt(early)
        held = world.spool.find(early)
        assert held is not None
        assert Mark.SUBMITTED in held.marks
        back.set()
        await world.reaches(TaskState.RUNNING, early)
        history = world.spool.find(early).history  # type: ignore[union-attr]
        assert history is not None
        assert [each.number for each in history.attempts] == [1]


def held_open(world: World) -> list[PlaceTasks]:
    """Which questions were to be held open."""
    return [question for question in world.scheduler.questions if question.hold_s]


async def test_the_loop_that_asks_says_that_nobody_answers_and_succeeds_when_somebody_does(world: World) -> None:
    world.scheduler.slots_count = 0
    loops = Loops(SystemClock())
    with watched(loops):
        async with world.proxy() as forwarder:
            world.bus.faults.lose(PLACE_TASKS, 1_000_000)
            await world.adopted(forwarder, TaskId("task"))
            await until(lambda: "nobody answers" in said_of(loops, "ask about tasks").error)
            world.bus.faults = Faults()
            await until(lambda: not said_of(loops, "ask about tasks").error, what="it was answered")


def said_of(loops: Loops, name: str) -> LoopReport:
    """Say how the loop of a name is."""
    [found] = [loop for loop in loops.report() if loop.name == name]
    return found
