"""handlers/forward.py, attempt.py, finish.py, sweep.py: held tasks, with a scheduler and nodes played by the test."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common.errors import NodeFailed, NodeUnreachable, NotFound, Refused
from libs.common.lifecycle import monotonic_s
from libs.common.messages import (
    COMMIT_WITHIN_S,
    GET_TASK,
    PLACE_TASK,
    PLACEMENT_POSSIBLE,
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    REPORT_INPUTS_GONE,
    UPLOADS,
    Done,
    NotWaiting,
    Placed,
    PlacementPossible,
    PlaceReply,
    PlaceTask,
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
    ReportInputsGone,
    TaskRecord,
    TaskRef,
    Waiting,
)
from libs.common.model import (
    Attempt,
    AttemptState,
    InstanceId,
    Node,
    NodeId,
    NodeTaskId,
    Task,
    TaskId,
    TaskState,
    Upload,
)
from libs.common.testing import MemoryBus
from services.proxy.adapters.spool import DiskSpool, open_spool
from services.proxy.handlers.attempt import Pace
from services.proxy.handlers.finish import Finisher
from services.proxy.handlers.forward import Forwarder
from services.proxy.handlers.inputs import Inputs
from services.proxy.handlers.sweep import HOUR_MS, Sweeper
from services.proxy.ports import Draft, Mark, NodeRefused, WebhookFailed
from tests.waiting import until

TASK = TaskId("11111111-2222-4333-8444-555555555555")
NODE = Node(id=NodeId("n1"), hostname="n1", port=3000, token="node-token")
QUICK = Pace(renew_s=0.05, look_again_s=30.0, bus_retry_s=0.02, failure_pause_s=0.05)
FILES = {"a.jpg": b"1", "b.jpg": b"22", "gcp.txt": b"333"}


class Scheduler:
    """The owner of tasks, as far as a holder meets it. Every write shows in the mirror at once."""

    def __init__(self) -> None:
        self.tasks: dict[TaskId, Task] = {}
        self.slots_count = 1_000
        self.renewed: list[RenewAttempt] = []
        self.failed: list[ReportForwardFailed] = []
        self.forwarded: list[ReportForwarded] = []
        self.inputs_gone: list[ReportInputsGone] = []
        self.consents = True
        self.asked: Counter[TaskId] = Counter()
        self.revision = 0
        self.epoch = 0
        self.epochs: list[int] = []
        """Those of the next placements; afterwards `epoch`."""
        self.listeners: list[Callable[[TaskId], None]] = []

    # the mirror: ports.ClusterView

    ready = True

    def task(self, task: TaskId) -> TaskRecord | None:
        found = self.tasks.get(task)
        return TaskRecord(task=found, revision=self.revision) if found else None

    def on_task(self, listener: Callable[[TaskId], None]) -> None:
        self.listeners.append(listener)

    # what a test does

    def submit(self, task: TaskId = TASK) -> None:
        self.put(Task(id=task, name="t", holder=InstanceId("p"), created_at_ms=1, committed_at_ms=2, images_count=2))

    def change(self, task: TaskId = TASK, **fields: Any) -> None:
        self.put(msgspec.structs.replace(self.tasks[task], **fields))

    def put(self, task: Task) -> None:
        self.tasks[task.id] = task
        self.tell(task.id)

    def remove(self, task: TaskId = TASK) -> None:
        del self.tasks[task]
        self.tell(task)

    def tell(self, task: TaskId) -> None:
        self.revision += 1
        for listener in self.listeners:
            listener(task)

    # what it answers

    @property
    def handlers(self) -> dict[Any, Any]:
        return {
            PLACE_TASK: self.place,
            RENEW_ATTEMPT: self.renew,
            REPORT_FORWARDED: self.on_forwarded,
            REPORT_FORWARD_FAILED: self.on_failed,
            GET_TASK: self.get,
            REPORT_INPUTS_GONE: self.on_inputs_gone,
        }

    async def get(self, ref: TaskRef) -> TaskRecord:
        found = self.task(ref.task)
        if found is None:
            raise NotFound("no such task")
        return found

    async def place(self, asked: PlaceTask) -> PlaceReply:
        self.asked[asked.task] += 1
        task = self.tasks.get(asked.task)
        if task is None:
            return NotWaiting(state=None)
        if task.state is TaskState.WAITING:
            if not self.slots_count:
                return Waiting(position=1, reason="all slots are taken")
            self.slots_count -= 1
            number = len(task.attempts) + 1
            attempt = Attempt(number=number, node=NODE.id, node_task_id=NodeTaskId(f"{asked.task}#{number}"))
            self.change(asked.task, state=TaskState.FORWARDING, attempts=(*task.attempts, attempt))
            task = self.tasks[asked.task]
        if task.state is TaskState.FORWARDING and task.attempt:
            return Placed(
                node=NODE,
                attempt=task.attempt.number,
                node_task_id=task.attempt.node_task_id,
                revision=self.revision,
                epoch=self.epochs.pop(0) if self.epochs else self.epoch,
            )
        return NotWaiting(state=task.state)

    async def renew(self, asked: RenewAttempt) -> Done:
        self.renewed.append(asked)
        self.require_current(asked.task, asked.attempt)
        return Done()

    async def on_forwarded(self, asked: ReportForwarded) -> TaskRecord:
        self.require_current(asked.task, asked.attempt)
        self.forwarded.append(asked)
        self.change(asked.task, state=TaskState.RUNNING)
        return await self.get(TaskRef(task=asked.task))

    async def on_failed(self, asked: ReportForwardFailed) -> TaskRecord:
        self.require_current(asked.task, asked.attempt)
        self.failed.append(asked)
        self.change(asked.task, state=TaskState.FAILED if asked.node_refused else TaskState.WAITING)
        return await self.get(TaskRef(task=asked.task))

    async def on_inputs_gone(self, asked: ReportInputsGone) -> TaskRecord:
        found = await self.get(TaskRef(task=asked.task))
        if not self.consents or found.task.state in {TaskState.WAITING, TaskState.FORWARDING}:
            raise Refused("the inputs are needed")
        self.inputs_gone.append(asked)
        return found

    def require_current(self, task: TaskId, attempt: int) -> None:
        found = self.tasks.get(task)
        if found is None or found.state is not TaskState.FORWARDING or len(found.attempts) != attempt:
            raise Refused("the attempt no longer counts")


class Nodes:
    """The way to the nodes: remembers what was sent, fails as told."""

    def __init__(self) -> None:
        self.met: set[str] = set()
        self.begun: list[NodeTaskId] = []
        self.sent: list[tuple[NodeTaskId, str, bytes]] = []
        self.committed: list[NodeTaskId] = []
        self.zips: list[tuple[NodeTaskId, str]] = []
        self.troubles: dict[str, list[Exception]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.sending_count = 0
        self.most_sending_count = 0

    def trouble(self, step: str, *errors: Exception) -> None:
        self.troubles[step] = list(errors)

    def meet(self, node: Node, step: str) -> None:
        self.met.add(node.name)
        if self.troubles.get(step):
            raise self.troubles[step].pop(0)

    async def begin(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        self.meet(node, "begin")
        assert draft.task == TASK or draft.task.startswith("task-")
        self.begun.append(attempt)

    async def send(self, node: Node, attempt: NodeTaskId, name: str, path: Path) -> None:
        self.meet(node, "send")
        self.sending_count += 1
        self.most_sending_count = max(self.sending_count, self.most_sending_count)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            self.sent.append((attempt, name, content_of(path)))
        finally:
            self.sending_count -= 1

    async def commit(self, node: Node, attempt: NodeTaskId, by_s: float = inf) -> None:
        assert monotonic_s() < by_s <= monotonic_s() + COMMIT_WITHIN_S
        self.meet(node, "commit")
        self.committed.append(attempt)

    async def submit_zip(self, node: Node, attempt: NodeTaskId, draft: Draft, by_s: float = inf) -> None:
        assert monotonic_s() < by_s <= monotonic_s() + COMMIT_WITHIN_S
        self.meet(node, "submit")
        self.zips.append((attempt, draft.zip_url))


def content_of(path: Path) -> bytes:
    return path.read_bytes()


class Client:
    """The client's own server."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.failures_count = 0
        self.tries_count = 0

    async def post(self, url: str, body: bytes) -> None:
        self.tries_count += 1
        if self.failures_count:
            self.failures_count -= 1
            raise WebhookFailed("client.example timed out")
        self.told.append((url, msgspec.json.decode(body)))


class World:
    """One proxy's forwarding with everything around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bus = MemoryBus()
        self.scheduler = Scheduler()
        self.nodes = Nodes()
        self.client = Client()
        self.now_ms = 1_000_000_000
        self.keep_failed_s = 0.0
        self.spool: DiskSpool
        self.inputs: Inputs

    @asynccontextmanager
    async def proxy(
        self, *, tasks_count: int = 4, start: bool = True, until_forwarded: bool = False
    ) -> AsyncIterator[Forwarder]:
        """Run the proxy while the context is open; again is a restart."""
        self.scheduler.listeners.clear()
        async with AsyncExitStack() as stack:
            self.spool = await stack.enter_async_context(
                open_spool(self.folder, await self.bus.bucket(UPLOADS), "http://p", clock=lambda: self.now_ms)
            )
            inputs = Inputs(self.bus, self.spool, self.scheduler)
            finisher = Finisher(
                self.bus,
                self.spool,
                self.client,
                lambda task: {"uuid": task.id, "status": task.state},
                (0.0,) * 5,
                inputs=inputs,
                keep_failed_s=self.keep_failed_s,
                clock=lambda: self.now_ms,
            )
            forwarder = Forwarder(
                self.bus,
                self.spool,
                self.nodes,
                self.scheduler,
                finisher,
                tasks_count=tasks_count,
                parallel_count=2,
                pace=QUICK,
                inputs=inputs if until_forwarded else None,
            )
            self.inputs = inputs
            if start:
                await stack.enter_async_context(forwarder.running())
            yield forwarder

    async def commit(self, task: TaskId = TASK, **fields: Any) -> None:
        """What the HTTP side does before it submits."""
        received_at_ms = fields.pop("received", 1)
        await self.spool.create(Draft(task=task, name="t", created_at_ms=1, received_at_ms=received_at_ms, **fields))
        if "zip_url" not in fields:
            async with self.spool.receive(task) as receipt:
                for name, content in FILES.items():
                    part = await receipt.open(name)
                    part.write(content)
                    part.close()
        await self.spool.commit(task, at_ms=2)

    async def forwarded(self, forwarder: Forwarder, task: TaskId = TASK, **fields: Any) -> None:
        """Commit, submit, adopt, and wait until it runs."""
        await self.commit(task, **fields)
        self.scheduler.submit(task)
        await forwarder.adopt(task)
        await self.reaches(TaskState.RUNNING, task)

    async def reaches(self, state: TaskState, task: TaskId = TASK) -> None:
        await until(lambda: self.scheduler.tasks[task].state is state, what=f"the task is {state}")

    async def lets_go(self, task: TaskId = TASK) -> None:
        uploads = await self.bus.bucket(UPLOADS)

        async def gone() -> bool:
            return self.spool.find(task) is None and await uploads.get(task) is None

        await until(gone, what="the inputs are gone")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "spool")
    async with made.bus.serve("scheduler", made.scheduler.handlers):
        yield made


# --- forwarding ----------------------------------------------------------------------------------------------------


async def test_a_committed_task_is_sent_once_and_its_inputs_stay_while_it_runs(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await forwarder.adopt(TASK)
        first = NodeTaskId(f"{TASK}#1")
        assert world.nodes.begun == world.nodes.committed == [first]
        assert sorted(world.nodes.sent) == sorted((first, name, content) for name, content in FILES.items())
        assert world.spool.find(TASK) is not None
        assert Mark.SUBMITTED in world.spool.find(TASK).marks  # type: ignore[union-attr]


async def test_files_go_in_parallel_up_to_the_limit(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="two files are under way")
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.most_sending_count == 2


async def test_no_more_tasks_are_sent_at_once_than_the_limit(world: World) -> None:
    async with world.proxy(tasks_count=1) as forwarder:
        world.nodes.gate.clear()
        tasks = [TaskId(f"task-{number}") for number in range(3)]
        for task in tasks:
            await world.commit(task)
            world.scheduler.submit(task)
            await forwarder.adopt(task)
        await until(lambda: world.nodes.sending_count == 2, what="the first is under way")
        assert len(world.nodes.begun) == 1
        world.nodes.gate.set()
        for task in tasks:
            await world.reaches(TaskState.RUNNING, task)


async def test_a_task_by_url_has_nothing_to_send(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, zip_url="http://x/y.zip")
    assert world.nodes.zips == [(f"{TASK}#1", "http://x/y.zip")]
    assert world.nodes.sent == world.nodes.begun == []


async def test_a_waiting_task_asks_again_when_a_place_becomes_possible(world: World) -> None:
    async with world.proxy() as forwarder:
        world.scheduler.slots_count = 0
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.scheduler.asked[TASK] == 1, what="it has asked")
        world.scheduler.slots_count = 1
        await world.bus.tell(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(TaskId("another"), TASK)))
        await until(lambda: world.nodes.committed, timeout_s=3, what="it was sent")


async def test_the_attempt_is_renewed_while_files_are_under_way(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: len(world.scheduler.renewed) >= 3, what="renewals")
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    last = world.scheduler.renewed[-1]
    assert (last.attempt, last.sent_count, last.sent_bytes) == (1, 3, 6)


async def test_a_task_canceled_while_it_is_sent_stops_at_once_and_is_never_committed(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.scheduler.change(state=TaskState.CANCELED)
        await world.lets_go()
        assert world.nodes.sending_count == 0
    assert world.nodes.committed == []
    assert world.scheduler.failed == world.scheduler.forwarded == []


async def test_a_task_canceled_just_before_its_commit_is_not_committed(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()

        async def cancel_instead_of_begin(node: Node, attempt: NodeTaskId, draft: Draft) -> None:
            world.scheduler.listeners.clear()
            world.scheduler.change(state=TaskState.CANCELED)

        world.nodes.begin = cancel_instead_of_begin  # type: ignore[method-assign]
        await forwarder.adopt(TASK)
        await world.lets_go()
    assert world.nodes.committed == []


async def test_a_node_that_was_not_reached_is_tried_again_under_the_same_id(world: World) -> None:
    world.nodes.trouble("begin", NodeUnreachable("n1 cannot be reached"))
    world.nodes.trouble("send", NodeUnreachable("n1 cannot be reached"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert world.scheduler.failed == []


async def test_a_commit_is_confirmed_anew_before_each_try(world: World) -> None:
    world.nodes.trouble("commit", NodeUnreachable("n1 was reached too late"), NodeUnreachable("n1 cannot be reached"))
    limits_s: list[float] = []
    commit = world.nodes.commit

    async def noted(node: Node, attempt: NodeTaskId, by_s: float) -> None:
        limits_s.append(by_s)
        await commit(node, attempt, by_s)

    world.nodes.commit = noted  # type: ignore[method-assign,assignment]
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert limits_s == sorted(set(limits_s))
    assert len(limits_s) == 3


async def test_a_commit_that_was_not_sent_is_not_tried_again_when_it_no_longer_counts(world: World) -> None:
    world.nodes.trouble("commit", NodeUnreachable("n1 was reached too late"))
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.nodes.gate.set()
        await until(lambda: not world.nodes.troubles["commit"], what="the first try")
        world.scheduler.change(state=TaskState.CANCELED)
        await world.lets_go()
    assert world.nodes.committed == []


async def test_a_file_in_doubt_ends_the_attempt_and_the_next_has_a_fresh_id(world: World) -> None:
    world.nodes.trouble("send", NodeFailed("n1 did not answer (timed out)"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert [(report.attempt, report.reason) for report in world.scheduler.failed] == [
        (1, "n1 did not answer (timed out)")
    ]
    assert not world.scheduler.failed[0].commit_uncertain
    assert world.nodes.committed == [f"{TASK}#2"]
    second = sorted(name for attempt, name, _ in world.nodes.sent if attempt == f"{TASK}#2")
    assert second == sorted(FILES)
    assert max(Counter((attempt, name) for attempt, name, _ in world.nodes.sent).values()) == 1


async def test_a_commit_in_doubt_is_reported_as_uncertain(world: World) -> None:
    world.nodes.trouble("commit", NodeFailed("n1 did not answer (timed out)"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert [report.commit_uncertain for report in world.scheduler.failed] == [True]


async def test_a_refusal_is_reported_with_the_nodes_words(world: World) -> None:
    world.nodes.trouble("commit", NodeRefused("too many images"))
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.lets_go()
    (report,) = world.scheduler.failed
    assert (report.reason, report.node_refused, report.commit_uncertain) == ("too many images", True, False)


async def test_a_report_is_repeated_until_nats_is_back(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()

        async def commit_and_lose_nats(_node: Node, attempt: NodeTaskId, _by_s: float) -> None:
            world.nodes.committed.append(attempt)
            world.bus.connected = False

        world.nodes.commit = commit_and_lose_nats  # type: ignore[method-assign]
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.committed, what="the commit")
        await asyncio.sleep(0.1)
        assert world.scheduler.forwarded == []
        world.bus.connected = True
        await world.reaches(TaskState.RUNNING)
    assert len(world.scheduler.forwarded) == 1
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_nothing_is_committed_while_nobody_can_say_that_the_attempt_counts(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.bus.connected = False
        world.nodes.gate.set()
        await until(lambda: len(world.nodes.sent) == 3, what="all files are sent")
        await asyncio.sleep(0.1)
        assert world.nodes.committed == []
        world.bus.connected = True
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_lost_task_is_sent_again_from_the_kept_inputs(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.change(state=TaskState.WAITING)
        await until(lambda: len(world.nodes.committed) == 2, what="the second attempt")
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1", f"{TASK}#2"]


async def test_progress_of_a_running_task_costs_no_question(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await until(lambda: world.scheduler.asked[TASK] == 2, what="it rests")
        for size in range(20):
            world.scheduler.change(size_bytes=size)
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert world.scheduler.asked[TASK] <= 3


async def test_a_mistake_of_ours_ends_the_attempt_and_no_file_is_sent_twice_under_one_id(world: World) -> None:
    world.nodes.trouble("send", RuntimeError("a mistake"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert [report.commit_uncertain for report in world.scheduler.failed] == [True]
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_an_attempt_that_was_stopped_is_never_begun_again(world: World) -> None:
    async with world.proxy() as forwarder:
        refusals = [Refused("a moment of confusion")]

        async def refuse_once(asked: RenewAttempt) -> Done:
            if refusals:
                raise refusals.pop()
            return await world.scheduler.renew(asked)

        async with world.bus.serve("scheduler", world.scheduler.handlers | {RENEW_ATTEMPT: refuse_once}):
            await world.forwarded(forwarder)
    assert world.nodes.begun == [f"{TASK}#1", f"{TASK}#2"]
    assert [(report.attempt, report.commit_uncertain) for report in world.scheduler.failed] == [(1, True)]


async def test_missing_inputs_end_the_task_with_a_reason(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.spool.path(TASK, "b.jpg").unlink()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.lets_go()
    assert "cannot be read" in world.scheduler.failed[0].reason
    assert world.nodes.committed == []


# --- after a restart -----------------------------------------------------------------------------------------------


async def test_a_restart_takes_up_a_waiting_task(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
    world.scheduler.submit()
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_restart_takes_up_a_task_also_when_nats_comes_later(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
    world.scheduler.submit()
    world.bus.connected = False
    async with world.proxy():
        await asyncio.sleep(0.1)
        assert world.nodes.begun == []
        world.bus.connected = True
        await world.reaches(TaskState.RUNNING)


async def test_a_graceful_stop_reports_the_attempt_that_it_cuts_off(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
    assert world.scheduler.tasks[TASK].state is TaskState.WAITING
    assert [(report.attempt, report.commit_uncertain) for report in world.scheduler.failed] == [(1, False)]
    world.nodes.gate.set()
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_an_attempt_cut_off_by_a_kill_is_uncertain_and_a_fresh_one_follows(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.bus.connected = False  # as after a kill, nobody hears of it
    world.bus.connected = True
    assert world.scheduler.tasks[TASK].attempt.state is AttemptState.FORWARDING  # type: ignore[union-attr]
    world.nodes.gate.set()
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)
    assert [(report.attempt, report.commit_uncertain) for report in world.scheduler.failed] == [(1, True)]
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_a_commit_that_never_reached_the_scheduler_stays_and_may_be_committed_again(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
    async with world.proxy() as forwarder:
        await until(lambda: "loops=0" in repr(forwarder), what="it was looked at")
        assert (await world.spool.commit(TASK, at_ms=9)).committed_at_ms == 2
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.reaches(TaskState.RUNNING)


async def test_a_task_removed_while_the_proxy_was_away_leaves_nothing(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    world.scheduler.remove()
    async with world.proxy():
        await world.lets_go()


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED])
async def test_when_a_task_has_ended_its_client_is_told_and_its_inputs_go(world: World, state: TaskState) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/hook?key=1")
        world.scheduler.change(state=state)
        await world.lets_go()
    body = {"uuid": TASK, "status": state, "images": ["a.jpg", "b.jpg"]}
    assert world.client.told == [("https://client.example/hook?key=1", body)]
    assert await (await world.bus.bucket(UPLOADS)).load() == {}


async def test_a_webhook_is_tried_six_times_and_then_given_up(world: World) -> None:
    world.client.failures_count = 100
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.tries_count == 6


async def test_a_webhook_that_works_at_last_is_delivered_once(world: World) -> None:
    world.client.failures_count = 3
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert (world.client.tries_count, len(world.client.told)) == (4, 1)


async def test_a_webhook_is_delivered_after_a_restart_and_never_again(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
    world.scheduler.change(state=TaskState.COMPLETED)
    async with world.proxy():
        await world.lets_go()
    async with world.proxy():
        pass
    assert len(world.client.told) == 1


async def test_a_marked_webhook_is_not_delivered_again(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        await world.spool.mark(TASK, Mark.WEBHOOK_DONE)
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.told == []


async def test_a_removed_task_leaves_at_once_without_a_webhook(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.remove()
        await world.lets_go()
    assert world.client.told == []


async def test_a_task_restarted_while_its_client_is_told_keeps_its_inputs(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")

        async def restart_meanwhile(url: str, body: bytes) -> None:
            world.client.told.append((url, {}))
            world.scheduler.change(state=TaskState.WAITING)

        world.client.post = restart_meanwhile  # type: ignore[method-assign]
        world.scheduler.change(state=TaskState.FAILED)
        await until(lambda: len(world.nodes.committed) == 2, what="the second attempt")
        assert world.spool.find(TASK) is not None


# --- inputs that go before the end, or stay after it --------------------------------------------------------------


def stored(world: World, task: TaskId = TASK) -> set[str]:
    """List the files that the spool still has of a task."""
    return {path.name for path in world.spool.path(task, "x").parent.iterdir()}


async def test_inputs_that_are_kept_until_forwarded_go_when_the_node_has_them(world: World) -> None:
    async with world.proxy(until_forwarded=True) as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        await until(lambda: not stored(world))
        assert [asked.task for asked in world.scheduler.inputs_gone] == [TASK]
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.told[0][1]["images"] == ["a.jpg", "b.jpg"]


async def test_inputs_stay_where_the_scheduler_needs_them(world: World) -> None:
    async with world.proxy() as forwarder:
        world.scheduler.slots_count = 0
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)

        assert not await world.inputs.give_up(TASK, "no room")

        assert stored(world) == set(FILES)


async def test_a_task_whose_inputs_are_gone_is_not_sent_anywhere(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        assert await world.inputs.give_up(TASK, "no room")
        world.nodes.begun.clear()
        world.scheduler.change(state=TaskState.WAITING)
        await world.reaches(TaskState.FAILED)
    [failed] = world.scheduler.failed
    assert (failed.reason, failed.node_refused) == ("its inputs are not kept any more", True)
    assert world.nodes.begun == []


async def test_given_up_inputs_stay_given_up_after_a_restart(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await world.inputs.give_up(TASK, "no room")
        (world.spool.path(TASK, "left over by a crash")).write_bytes(b"x")
    async with world.proxy(start=False):
        assert stored(world) == set()
        held = world.spool.find(TASK)
        assert held is not None
        assert Mark.INPUTS_GONE in held.marks


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELED])
async def test_inputs_of_a_task_that_failed_stay_for_a_restart_and_then_go(world: World, state: TaskState) -> None:
    world.keep_failed_s = 3600
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=state, ended_at_ms=world.now_ms)
        await until(lambda: world.client.told)
        assert stored(world) == set(FILES)

        world.scheduler.change(state=TaskState.WAITING)
        await world.reaches(TaskState.RUNNING)
        assert len(world.nodes.committed) == 2

        world.scheduler.change(state=state, ended_at_ms=world.now_ms)
        await until(lambda: len(world.client.told) == 2)
    world.now_ms += 3601 * 1000
    async with world.proxy():
        await world.lets_go()
    assert [asked.reason for asked in world.scheduler.inputs_gone] == ["they were kept long enough"]


async def test_inputs_that_are_kept_for_a_restart_wait_for_the_schedulers_consent(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.consents = False
        world.scheduler.change(state=TaskState.FAILED, ended_at_ms=0)
        await asyncio.sleep(0.2)
        assert stored(world) == set(FILES)
        world.scheduler.consents = True
        await world.lets_go()


async def test_under_disk_pressure_the_oldest_inputs_go_first_and_only_as_many_as_needed(world: World) -> None:
    tasks = [TaskId(f"task-{number}") for number in range(4)]
    async with world.proxy() as forwarder:
        for number, task in enumerate(tasks):
            await world.commit(task, received=number)
            world.scheduler.submit(task)
            await forwarder.adopt(task)
            await world.reaches(TaskState.RUNNING, task)
        world.spool.wanted_bytes = lambda: 7  # type: ignore[method-assign] # the disk of the test has room

        await world.inputs.relieve()

        assert [bool(stored(world, task)) for task in tasks] == [False, False, True, True]
        assert [asked.task for asked in world.scheduler.inputs_gone] == tasks[:2]


# --- sweeping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit_hours", "idle_hours", "stays"),
    [
        pytest.param(0, 47, True, id="within 48 hours"),
        pytest.param(0, 49, False, id="48 hours always"),
        pytest.param(2, 1, True, id="within the limit"),
        pytest.param(2, 3, False, id="beyond the limit"),
        pytest.param(100, 49, False, id="a longer limit does not help"),
    ],
)
async def test_an_upload_without_activity_is_swept(
    world: World, limit_hours: float, idle_hours: float, stays: bool
) -> None:
    async with world.proxy(start=False):
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        world.now_ms += int(idle_hours * HOUR_MS)
        await Sweeper(world.bus, world.spool, limit_hours, lambda: world.now_ms).sweep()
        assert (world.spool.find(TASK) is not None) is stays


async def test_activity_and_open_requests_keep_an_upload(world: World) -> None:
    async with world.proxy(start=False):
        sweeper = Sweeper(world.bus, world.spool, 1, lambda: world.now_ms)
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        async with world.spool.receive(TASK) as receipt:
            world.now_ms += 5 * HOUR_MS
            await sweeper.sweep()
            (await receipt.open("a.jpg")).close()
        await sweeper.sweep()
        assert world.spool.find(TASK) is not None


async def test_a_submitted_task_is_never_swept_and_an_unknown_commit_is(world: World) -> None:
    async with world.proxy(start=False):
        sweeper = Sweeper(world.bus, world.spool, 1, lambda: world.now_ms)
        tasks = [TaskId("marked"), TaskId("known"), TaskId("unknown")]
        for task in tasks:
            await world.commit(task)
        await world.spool.mark(tasks[0], Mark.SUBMITTED)
        world.scheduler.submit(tasks[1])
        world.now_ms += 100 * HOUR_MS
        await sweeper.sweep()
        assert [held.draft.task for held in world.spool.held()] == tasks[:2]


async def test_announcements_of_a_lost_proxy_go_unless_the_task_is_known(world: World) -> None:
    uploads = await world.bus.bucket(UPLOADS)
    async with world.proxy(start=False):
        for name, age_h in (("lost", 200), ("known", 200), ("young", 100)):
            created_at_ms = world.now_ms - age_h * HOUR_MS
            upload = Upload(task=TaskId(name), instance=InstanceId("gone"), url="http://x", created_at_ms=created_at_ms)
            await uploads.put(name, upload)
        world.scheduler.submit(TaskId("known"))

        await Sweeper(world.bus, world.spool, 0, lambda: world.now_ms).sweep()

        assert set(await uploads.load()) == {"known", "young"}


async def test_the_word_of_a_scheduler_that_is_out_of_office_is_not_acted_on(world: World):
    world.scheduler.epoch = 8
    world.scheduler.epochs = [7, 7]
    async with world.proxy() as forwarder:
        await world.bus.tell(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(), epoch=8))
        await world.forwarded(forwarder)
        assert world.scheduler.asked[TASK] >= 3
        assert world.nodes.begun == [NodeTaskId(f"{TASK}#1")]
        assert [report.epoch for report in world.scheduler.forwarded] == [8]
        assert {renewal.epoch for renewal in world.scheduler.renewed} == {8}


async def test_the_age_of_an_upload_counts_on_over_a_restart(world: World) -> None:
    clock_ms = 1_700_000_000_000
    world.now_ms = clock_ms
    async with world.proxy(start=False):
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        folder = world.spool.path(TASK, "x").parent
    for path in (folder, folder.parent, folder.parent / "draft.json"):
        os.utime(path, (clock_ms / 1000, clock_ms / 1000))
    for hours, stays in ((47, True), (49, False)):
        world.now_ms = clock_ms + hours * HOUR_MS
        async with world.proxy(start=False):
            await Sweeper(world.bus, world.spool, 0, lambda: world.now_ms).sweep()
            assert (world.spool.find(TASK) is not None) is stays
