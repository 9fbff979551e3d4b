"""The proxy's mirrors of the scheduler's records."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common.messages import TASKS, TaskRecord
from libs.common.model import InstanceId, Task, TaskId, TaskState
from libs.common.testing import MemoryBus
from services.proxy.adapters.cluster import ClusterMirror, mirrored
from tests.waiting import until


def task(name: str, committed_at_ms: int = 1, **values: Any) -> Task:
    """A task of the cluster."""
    return Task(
        id=TaskId(name),
        name=name,
        holder=InstanceId("i"),
        created_at_ms=1,
        committed_at_ms=committed_at_ms,
        images_count=1,
        **values,
    )


@pytest.fixture
async def bus() -> MemoryBus:
    return MemoryBus()


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


def test_tasks_are_listed_in_the_order_of_their_commits_and_wait_in_it() -> None:
    cluster = ClusterMirror()
    tasks = [task("c", 1), task("a", 2, state=TaskState.RUNNING), task("b", 3), task("d", 3)]
    for revision, each in enumerate(reversed(tasks), start=1):
        cluster.learn(TaskRecord(task=each, revision=revision))

    assert list(cluster.tasks()) == tasks
    assert [cluster.position(each) for each in tasks if each.state is TaskState.WAITING] == [1, 2, 3]

    cluster.learn(TaskRecord(task=task("c", 1, state=TaskState.FORWARDING), revision=9))
    assert cluster.position(tasks[2]) == 1
