"""The proxy's mirrors of the scheduler's records."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.messages.buckets import ENDED, NODES, OBSERVATIONS, TASKS
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import (
    Attempt,
    AttemptState,
    Ended,
    LastKnown,
    Observation,
    StatusCode,
    Task,
    TaskState,
)
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket, MemoryWatch
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.adapters import ClusterMirror, mirrored
from tests.waiting import until


def task(name: str, committed_at_ms: int = 1, **values: Any) -> Task:
    """A task of the cluster."""
    return Task(
        id=TaskId(name),
        name=name,
        upload_owner=InstanceId("i"),
        created_at_ms=1,
        committed_at_ms=committed_at_ms,
        images_count=1,
        **values,
    )


@pytest.fixture
async def cluster(bus: MemoryBus) -> AsyncIterator[ClusterMirror]:
    async with mirrored(bus) as cluster:
        await until(lambda: cluster.ready)
        yield cluster


async def test_it_follows_writes_and_deletions(bus: MemoryBus, cluster: ClusterMirror) -> None:
    heard: list[TaskId] = []
    cluster.on_task(heard.append)
    bucket = await bus.bucket(TASKS)

    await bucket.put("a", task("a"))
    await until(lambda: cluster.task(TaskId("a")))
    await bucket.delete("a")
    await until(lambda: cluster.task(TaskId("a")) is None)

    assert heard == ["a", "a"]
    assert list(cluster.tasks()) == []


def test_the_newer_of_two_records_stays() -> None:
    cluster = ClusterMirror()

    cluster.learn(TaskRecord(task=task("a", state=TaskState.RUNNING), revision=7))
    cluster.learn(TaskRecord(task=task("a", state=TaskState.WAITING), revision=6))

    assert cluster.task(TaskId("a")) == TaskRecord(task=task("a", state=TaskState.RUNNING), revision=7)


def test_what_was_forgotten_does_not_come_back_late() -> None:
    cluster = ClusterMirror()
    cluster.learn(TaskRecord(task=task("a"), revision=7))

    cluster.forget(TaskId("a"))
    cluster.learn(TaskRecord(task=task("a"), revision=7))
    assert cluster.task(TaskId("a")) is None

    cluster.learn(TaskRecord(task=task("a"), revision=8))
    assert cluster.task(TaskId("a")) is not None


async def test_an_ended_task_is_recalled_from_where_these_are_kept(bus: MemoryBus, cluster: ClusterMirror) -> None:
    assert await cluster.recall(TaskId("a")) is None
    await (await bus.bucket(ENDED)).put("a", Ended(task=task("a", state=TaskState.COMPLETED), revision=7))
    record = await cluster.recall(TaskId("a"))
    assert record == TaskRecord(task=task("a", state=TaskState.COMPLETED), revision=7, archived=True)
    assert cluster.task(TaskId("a")) == record
    assert list(cluster.tasks()) == []


def archived(revision: int, **values: Any) -> TaskRecord:
    return TaskRecord(task=task("a", **values), revision=revision, archived=True)


def test_an_active_task_counts_and_not_what_was_archived_of_it_before() -> None:
    cluster = ClusterMirror()
    cluster.learn(archived(7, state=TaskState.FAILED))
    cluster.learn(TaskRecord(task=task("a", state=TaskState.RUNNING), revision=9))
    assert cluster.task(TaskId("a")) == TaskRecord(task=task("a", state=TaskState.RUNNING), revision=9)
    cluster.learn(archived(7, state=TaskState.FAILED))
    assert cluster.task(TaskId("a")) == TaskRecord(task=task("a", state=TaskState.RUNNING), revision=9)


def test_an_archived_record_that_comes_late_does_not_count_when_the_task_has_run_again() -> None:
    cluster = ClusterMirror()
    cluster.learn(TaskRecord(task=task("a", state=TaskState.COMPLETED), revision=9))
    cluster.forget(TaskId("a"))
    cluster.learn(archived(7, state=TaskState.FAILED))
    assert cluster.task(TaskId("a")) is None
    cluster.learn(archived(9, state=TaskState.COMPLETED))
    assert cluster.task(TaskId("a")) == archived(9, state=TaskState.COMPLETED)


def test_an_archived_record_is_read_again_after_a_while() -> None:
    clock = FakeClock()
    cluster = ClusterMirror(clock)
    cluster.learn(archived(7))
    clock.pass_s(59)
    assert cluster.task(TaskId("a")) == archived(7)
    clock.pass_s(2)
    assert cluster.task(TaskId("a")) is None


def test_few_of_the_archived_tasks_are_remembered() -> None:
    cluster = ClusterMirror()
    for number in range(2_000):
        cluster.learn(TaskRecord(task=task(str(number)), revision=1, archived=True))
    assert cluster.task(TaskId("1999")) is not None
    assert cluster.task(TaskId("999")) is None


def test_tasks_are_listed_in_the_order_of_their_commits_and_wait_in_it() -> None:
    cluster = ClusterMirror()
    tasks = [task("c", 1), task("a", 2, state=TaskState.RUNNING), task("b", 3), task("d", 3)]
    for revision, each in enumerate(reversed(tasks), start=1):
        cluster.learn(TaskRecord(task=each, revision=revision))

    assert list(cluster.tasks()) == tasks
    assert [cluster.position(each) for each in tasks if each.state is TaskState.WAITING] == [1, 2, 3]

    cluster.learn(TaskRecord(task=task("c", 1, state=TaskState.FORWARDING), revision=9))
    assert cluster.position(tasks[2]) == 1


RUN = Attempt(number=1, node=NodeId("n"), node_task_id=NodeTaskId("a"), state=AttemptState.RUNNING, running_at_ms=5)


def seen(progress: float, looks_count: int, running_at_ms: int = 5) -> Observation:
    known = LastKnown(code=StatusCode.RUNNING, progress=progress, looks_count=looks_count)
    return Observation(node_task_id=RUN.node_task_id, running_at_ms=running_at_ms, known=known)


async def test_a_running_task_is_shown_with_what_was_last_seen_of_it(bus: MemoryBus, cluster: ClusterMirror) -> None:
    tasks, observations = await bus.bucket(TASKS), await bus.bucket(OBSERVATIONS)

    def progress() -> float | None:
        found = cluster.task(TaskId("a"))
        return found.task.known.progress if found and found.task.known else None

    await observations.put("a", seen(10, 1))
    await tasks.put("a", task("a", state=TaskState.RUNNING, attempts=(RUN,)))
    await until(lambda: progress() == 10)
    await observations.put("a", seen(20, 2))
    await until(lambda: progress() == 20)
    await observations.delete("a")
    await tasks.put("b", task("b"))
    await until(lambda: cluster.task(TaskId("b")))
    assert progress() == 20
    again = msgspec.structs.replace(RUN, running_at_ms=9)
    await tasks.put("a", task("a", state=TaskState.RUNNING, attempts=(again,)))
    await until(lambda: progress() is None)
    await observations.put("a", seen(99, 9, running_at_ms=5))
    await observations.put("a", seen(1, 1, running_at_ms=9))
    await until(lambda: progress() == 1)


def test_an_older_observation_does_not_count_against_a_newer_answer() -> None:
    running = task("a", state=TaskState.RUNNING, attempts=(RUN,), known=seen(30, 3).known)
    assert running.with_seen(seen(20, 2)) is running
    assert running.with_seen(seen(40, 4)).known == seen(40, 4).known
    assert running.with_seen(None) is running


async def test_the_first_write_of_a_bucket_that_began_anew_is_shown(bus: MemoryBus, cluster: ClusterMirror) -> None:
    bucket = await bus.bucket(NODES)
    node = Node(id=NodeId("a"), hostname="a", port=3000)
    await bucket.put("a", node)
    await until(lambda: cluster.node(NodeId("a")))
    bucket.begin_anew({})
    await until(lambda: cluster.node(NodeId("a")) is None, what="it is gone with the store")
    assert await bucket.create("a", node) == 1
    await until(lambda: cluster.node(NodeId("a")), what="it is there again")


class WithoutObservations(MemoryBus):
    """A bus of which one bucket tells nothing: the only server that has it is gone."""

    async def bucket(self, name: BucketName[Any]) -> MemoryBucket[Any]:
        return Untold(self, name) if name is OBSERVATIONS else await super().bucket(name)


class Untold(MemoryBucket[Any]):
    """Its watches wait for ever."""

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[MemoryWatch[Any]]:
        yield MemoryWatch(asyncio.Queue())


async def test_they_are_ready_without_what_may_be_lost() -> None:
    async with mirrored(WithoutObservations()) as cluster:
        await until(lambda: cluster.ready)


def test_what_inputs_take_elsewhere_is_added_up_as_records_change() -> None:
    cluster, anne, here, there = ClusterMirror(), Owner("anne"), InstanceId("here"), InstanceId("i")

    def learn(name: str, revision: int, **values: Any) -> None:
        cluster.learn(
            TaskRecord(
                task=task(name, **{"owner": anne, "size_bytes": 5, "inputs_kept": True, **values}), revision=revision
            )
        )

    learn("a", 1)
    learn("b", 2, size_bytes=7)
    learn("c", 3, owner=Owner("bert"))
    assert (cluster.stored_bytes(anne, but=here), cluster.stored_bytes(anne, but=there)) == (12, 0)
    learn("a", 4, state=TaskState.RUNNING)
    assert cluster.stored_bytes(anne, but=here) == 12, "the same task counts once"
    learn("a", 5, inputs_kept=False)
    assert cluster.stored_bytes(anne, but=here) == 7
    cluster.forget(TaskId("b"))
    cluster.forget(TaskId("c"))
    assert cluster.stored_bytes(anne, but=here) == 0
    assert cluster.stored_bytes(Owner("bert"), but=here) == 0
