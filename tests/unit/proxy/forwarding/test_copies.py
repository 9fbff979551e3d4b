"""A task's directory that was copied from another proxy's spool: the proxy that its record names does everything, this one says so once."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.messages.tasks import KnownAttempt, KnownEnd
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId
from clusterodm.services.proxy.spool.core.history import History
from tests.forwarding import TASK, World
from tests.waiting import until

ANOTHER = InstanceId("another")
NODE = NodeId("n")
TRIED = KnownAttempt(number=1, node=NODE, hostname="h", port=1, node_task_id=NodeTaskId("on-1"))
ENDED = KnownEnd(state=TaskState.CANCELED, at_ms=1)


@pytest.mark.parametrize("state", list(TaskState))
@pytest.mark.parametrize(
    "history",
    [None, History(), History(attempts=(TRIED,)), History(attempts=(TRIED,), end=ENDED)],
    ids=["of an earlier version", "as it was committed", "after an attempt", "after its end"],
)
async def test_a_copy_is_said_once_and_nothing_is_done_for_it(world: World, state: TaskState, history: History | None):
    async with world.proxy(start=False):
        await world.commit(webhook="http://client.example/hook")
        if history is not None:
            await world.spool.remember(TASK, history)
        world.scheduler.holder = ANOTHER
        world.scheduler.submit()
        attempt = Attempt(number=1, node=NODE, node_task_id=NodeTaskId("on-2"), state=AttemptState.FORWARDING)
        world.scheduler.change(state=state, attempts=(attempt,) if state is not TaskState.WAITING else ())
    before = world.spool.find(TASK)
    with capture_logs() as lines:
        async with world.proxy():
            await until(lambda: world.scheduler.asked[TASK] == 1, what="it has asked")
            for number in (2, 3):
                world.scheduler.change(name=f"changed {number}", state=other(world))
                await until(lambda number=number: world.scheduler.asked[TASK] == number, what="it has asked again")
                await until(lambda: quiet(lines), what="it has been told")
    assert [line["folder"] for line in lines if line["event"] == "upload.ignored"] == [folder(world)]
    assert [
        line for line in lines if line["log_level"] in {"warning", "error"} and line["event"] != "upload.ignored"
    ] == []
    assert (world.client.told, world.scheduler.adopted, world.scheduler.failed, world.nodes.begun) == ([], [], [], [])
    after = world.spool.find(TASK)
    assert before is not None
    assert after is not None
    assert (after.history, after.marks) == (before.history, before.marks)


async def test_a_copy_of_a_task_that_was_removed_goes(world: World):
    async with world.proxy(start=False):
        await world.commit()
        await world.spool.remember(TASK, History())
        world.scheduler.holder = ANOTHER
        world.scheduler.submit()
    async with world.proxy():
        await until(lambda: world.scheduler.asked[TASK] == 1, what="it has asked")
        world.scheduler.remove()
        await world.lets_go()


async def test_a_copy_whose_original_was_lost_is_taken_over_by_one_of_them(world: World):
    async with world.proxy(start=False):
        await world.commit()
        await world.spool.remember(TASK, History())
    async with world.proxy():
        await until(lambda: world.scheduler.adopted, what="it has submitted it, since nobody holds it")
        await world.reaches(TaskState.RUNNING)


def other(world: World) -> TaskState:
    """Another state than that of the record: the mirror shows something new."""
    now = world.scheduler.tasks[TASK].state
    return TaskState.RUNNING if now is not TaskState.RUNNING else TaskState.COMPLETED


def quiet(lines: list[Any]) -> bool:
    return any(line["event"] == "upload.ignored" for line in lines)


def folder(world: World) -> str:
    return str(world.spool.path(TASK, "x").parent)
