"""libs/common/testing/faults.py: a bus in memory that forgets, lags and changes the order."""

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import TASKS
from clusterodm.libs.common.messages.placement import FINISH_REPORTED, FinishReported
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import InstanceId, NodeTaskId, TaskId
from clusterodm.libs.common.ports import Change
from clusterodm.libs.common.testing.faults import the_last_first
from clusterodm.libs.common.testing.memory_bus import MemoryBus

TASK = Task(id=TaskId("t"), name="t", upload_owner=InstanceId("p"), created_at_ms=1, committed_at_ms=1, images_count=1)


def finished(name: str) -> FinishReported:
    return FinishReported(node_task_id=NodeTaskId(name))


async def test_an_event_may_be_lost_and_the_next_is_heard() -> None:
    bus, heard = MemoryBus(), []

    async def hear(event: FinishReported) -> None:
        heard.append(event.node_task_id)

    async with bus.subscribe(FINISH_REPORTED, hear):
        bus.faults.lose(FINISH_REPORTED)
        await bus.publish(FINISH_REPORTED, finished("a"))
        await bus.publish(FINISH_REPORTED, finished("b"))
    assert heard == ["b"]
    assert len(bus.published) == 2


async def test_a_lost_request_is_not_carried_out_and_one_whose_answer_is_lost_is() -> None:
    bus, asked = MemoryBus(), []

    async def get(ref: TaskRef) -> TaskRecord:
        asked.append(ref.task)
        return TaskRecord(task=TASK, revision=1)

    async with bus.serve("scheduler", {GET_TASK: get}):
        bus.faults.lose(GET_TASK)
        with pytest.raises(BusFailed):
            await bus.request(GET_TASK, TaskRef(task=TaskId("lost")))
        bus.faults.lose_answers(GET_TASK)
        with pytest.raises(BusFailed):
            await bus.request(GET_TASK, TaskRef(task=TaskId("unanswered")))
        assert (await bus.request(GET_TASK, TaskRef(task=TaskId("t")))).task == TASK
    assert asked == ["unanswered", "t"]


async def test_what_is_held_back_comes_later_in_the_order_that_the_test_wants() -> None:
    bus, heard = MemoryBus(), []
    bucket = await bus.bucket(TASKS)

    async def hear(event: FinishReported) -> None:
        heard.append(event.node_task_id)

    async with bus.subscribe(FINISH_REPORTED, hear), bucket.watch() as steps:
        assert await anext(steps) is None
        bus.faults.hold_back()
        await bus.publish(FINISH_REPORTED, finished("a"))
        await bus.publish(FINISH_REPORTED, finished("b"))
        await bucket.put("t", TASK)
        assert heard == []
        assert "held=3" in repr(bus.faults)
        await bus.faults.let_go(the_last_first)
        step = await anext(steps)
        assert isinstance(step, Change)
        assert heard == ["b", "a"]
        await bus.publish(FINISH_REPORTED, finished("c"))
    assert heard == ["b", "a", "c"]
