"""A result that another proxy has told of is found through this one, however far its mirrors are behind: never a 404 that was not true."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound
from clusterodm.libs.common.messages.buckets import MACHINES, NODES, TASKS
from clusterodm.libs.common.messages.machines import FIND_RESULT, FindResult, ResultFound
from clusterodm.libs.common.messages.tasks import (
    CONFIRM_TASKS,
    GET_TASK,
    ConfirmTasks,
    TaskRecord,
    TaskRef,
    TasksConfirmed,
)
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.adapters import ClusterMirror, mirrored
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.results.handlers.download import Results
from clusterodm.services.proxy.results.handlers.relay import NoResult, Relay, RelayRequest, ResultHosts
from tests.proxy_ports import FakeReply, FakeUpstream
from tests.waiting import until

TASK, OWNER, MACHINE = TaskId("t"), Owner("anne"), MachineId("m")
ZIP = FakeReply(200, ((b"content-type", b"application/zip"),), (b"PK",))
WANTED = RelayRequest(b"GET", b"download/all.zip", ())


def an_attempt(number: int, node: str = "n", machine: MachineId | None = None) -> Attempt:
    place = NodeTaskId(f"on-{node}-{number}")
    return Attempt(number=number, node=NodeId(node), node_task_id=place, running_at_ms=2, machine=machine)


def a_task(state: TaskState, *attempts: Attempt) -> Task:
    return Task(
        id=TASK,
        owner=OWNER,
        name="field",
        state=state,
        upload_owner=InstanceId("p"),
        created_at_ms=5,
        committed_at_ms=8,
        images_count=2,
        attempts=attempts,
    )


def a_node(name: str) -> Node:
    return Node(id=NodeId(name), hostname=name, port=3000)


class Scene:
    """A proxy whose mirrors hear nothing from now on, and a scheduler that writes on."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.nodes = FakeUpstream()
        self.cluster: ClusterMirror

    async def writes(self, task: Task) -> None:
        await (await self.bus.bucket(TASKS)).put(TASK, task)

    async def hears(self, task: Task) -> None:
        """Write a task, and see that this proxy has heard of it."""
        await self.writes(task)
        await until(lambda: (found := self.cluster.task(TASK)) is not None and found.task == task)

    async def registers(self, name: str) -> None:
        await (await self.bus.bucket(NODES)).put(name, a_node(name))
        self.nodes.answers[b"/task/on-%s-1/download/all.zip" % name.encode()] = ZIP

    async def stored(self, task: TaskId) -> TaskRecord:
        entry = await (await self.bus.bucket(TASKS)).get(task)
        if entry is None:
            raise NotFound("unknown")
        return TaskRecord(task=entry.value, revision=entry.revision)

    async def confirm(self, asked: ConfirmTasks) -> TasksConfirmed:
        known = [(seen, (await self.stored(seen.task)).revision) for seen in asked.seen]
        return TasksConfirmed(outdated=tuple(seen.task for seen, revision in known if seen.revision != revision))

    async def get(self, asked: TaskRef) -> TaskRecord:
        return await self.stored(asked.task)

    async def find(self, asked: FindResult) -> ResultFound:
        raise NotFound(f"{asked.asset} is not in the bucket")

    async def gets(self) -> bytes:
        finder, hosts = TaskFinder(self.bus, self.cluster, SystemClock()), ResultHosts(self.bus, self.cluster)
        relay = Relay(self.bus, self.cluster, self.nodes, hosts)
        results = Results(self.bus, hosts, finder, relay, self.nodes, "")
        async with results.download(TASK, OWNER, WANTED) as opened:
            body: Any = opened
            return b"".join([piece async for piece in body.body])


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    handlers = {CONFIRM_TASKS: made.confirm, GET_TASK: made.get, FIND_RESULT: made.find}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(made.bus.serve("cluster", handlers))
        await made.registers("n")
        await made.writes(a_task(TaskState.RUNNING, an_attempt(1)))
        made.cluster = await stack.enter_async_context(mirrored(made.bus))
        yield made


def lags(scene: Scene) -> None:
    """Let the mirrors hear nothing from now on."""
    assert scene.cluster.task(TASK) is not None
    scene.bus.faults.hold_back()


async def test_the_end_was_not_heard_of(scene: Scene) -> None:
    lags(scene)
    await scene.writes(a_task(TaskState.COMPLETED, an_attempt(1)))
    assert await scene.gets() == b"PK"


async def test_the_task_was_not_heard_of(scene: Scene) -> None:
    scene.bus.faults.hold_back()
    scene.cluster.forget(TASK)
    await scene.writes(a_task(TaskState.COMPLETED, an_attempt(1)))
    assert await scene.gets() == b"PK"


async def test_an_earlier_end_was_heard_of_and_the_run_after_it_went_elsewhere(scene: Scene) -> None:
    """Canceled, restarted and completed on another node: the first one does not have it any more, or has something else."""
    await scene.hears(a_task(TaskState.CANCELED, an_attempt(1)))
    lags(scene)
    scene.nodes.answers.clear()
    await scene.registers("m")
    scene.nodes.answers[b"/task/on-m-2/download/all.zip"] = ZIP
    await scene.writes(a_task(TaskState.COMPLETED, an_attempt(1), an_attempt(2, "m")))
    assert await scene.gets() == b"PK"
    assert [name for name, _ in scene.nodes.asked] == ["m:3000"]


async def test_its_node_was_not_heard_of(scene: Scene) -> None:
    lags(scene)
    await scene.registers("new")
    await scene.writes(a_task(TaskState.COMPLETED, an_attempt(1, "new")))
    assert await scene.gets() == b"PK"


async def test_its_machine_was_not_heard_of(scene: Scene) -> None:
    lags(scene)
    await scene.registers("rented")
    rented = Machine(id=MACHINE, state=MachineState.BUSY, provider="docker", requested_at_ms=1)
    await (await scene.bus.bucket(MACHINES)).put(MACHINE, rented)
    await scene.writes(a_task(TaskState.COMPLETED, an_attempt(1, "rented", MACHINE)))
    assert await scene.gets() == b"PK"


async def test_a_node_that_is_gone_for_good_is_a_404(scene: Scene) -> None:
    await scene.writes(a_task(TaskState.COMPLETED, an_attempt(1, "gone")))
    with pytest.raises(NoResult, match="no valid route"):
        await scene.gets()


async def test_what_nobody_can_say_is_no_404(scene: Scene) -> None:
    await scene.hears(a_task(TaskState.COMPLETED, an_attempt(1, "new")))
    scene.bus.connected = False
    with pytest.raises(BusFailed):
        await scene.gets()


async def test_without_nats_a_result_that_was_heard_of_is_fetched_as_before(scene: Scene) -> None:
    await scene.hears(a_task(TaskState.COMPLETED, an_attempt(1)))
    scene.bus.connected = False
    assert await scene.gets() == b"PK"


async def test_a_task_that_was_removed_meanwhile_is_not_found(scene: Scene) -> None:
    task = a_task(TaskState.COMPLETED, an_attempt(1))
    await scene.hears(task)
    lags(scene)
    await scene.writes(msgspec.structs.replace(task, removed=True))
    with pytest.raises(NotFound, match="no task table entry"):
        await scene.gets()
