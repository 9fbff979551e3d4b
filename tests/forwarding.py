"""One proxy's forwarding with everything around it played: a scheduler that places as told, nodes that remember, a client."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from clusterodm.libs.common.clocks import Instant, WallMs
from clusterodm.libs.common.errors import BusFailed, NodeFailed, NotFound, Refused, Removed
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.placement import (
    COMMIT_WITHIN_S,
    PLACE_TASKS,
    PLAN_STAGE_IN,
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    REPORT_INPUTS_GONE,
    NotWaiting,
    Placed,
    Placements,
    PlaceReply,
    PlaceTasks,
    PlanStageIn,
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
    ReportInputsGone,
    StageInDeclined,
    StageInPlanned,
    StageInReply,
    TaskPlacement,
    TaskQuery,
    Waiting,
)
from clusterodm.libs.common.messages.tasks import ADOPT_TASK, GET_TASK, AdoptTask, TaskRecord, TaskRef
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.retry import RetryPolicy
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.ports import ClusterView
from clusterodm.services.proxy.errors import WebhookFailed, WebhookRefused
from clusterodm.services.proxy.finishing.handlers import Finisher, Inputs
from clusterodm.services.proxy.forwarding.core.decisions import ImagesCount, Retries
from clusterodm.services.proxy.forwarding.handlers.attempt import ForwardingIntervals
from clusterodm.services.proxy.forwarding.handlers.forwarder import Forwarder
from clusterodm.services.proxy.forwarding.handlers.stage_in import UploadStageIn
from clusterodm.services.proxy.forwarding.ports import Sender
from clusterodm.services.proxy.spool.adapters.spool import DiskSpool, open_spool
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import Draft, Mark, is_image, unique_name
from clusterodm.services.scheduler.tasks.core.submission import adopted, caught_up
from tests.memory_spool import MemorySpool
from tests.waiting import until

TASK = TaskId("11111111-2222-4333-8444-555555555555")
NODE = Node(id=NodeId("n1"), hostname="n1", port=3000, token="node-token")
OTHER_NODE = Node(id=NodeId("n2"), hostname="n2", port=3000)
NODES = {node.id: node for node in (NODE, OTHER_NODE)}
SOON = RetryPolicy(tries_count=5, within_s=30.0, first_s=0.005, longest_s=0.02)
OFTEN = RetryPolicy(tries_count=12, within_s=30.0, first_s=0.001, longest_s=0.01)
RETRIES = Retries(unreached=SOON, erred=OFTEN, leftovers=SOON)
QUICK = ForwardingIntervals(
    renew_s=0.05,
    fresh_s=0.0,
    hold_s=5.0,
    sweep_s=30.0,
    bus_retry_s=0.02,
    unknown_s=0.02,
    failure_pause_s=0.05,
    retries=RETRIES,
)
"""Each commit is confirmed."""
FILES = {"a.jpg": b"1", "b.jpg": b"22", "gcp.txt": b"333"}


class Scheduler:
    """The owner of tasks, as far as an upload owner meets it. Every write shows in the mirror at once."""

    def __init__(self) -> None:
        self.tasks: dict[TaskId, Task] = {}
        self.holder = InstanceId("p")
        """Who commits."""
        self.refuses_again = False
        self.stays_in_doubt = False
        """The node of a failed attempt is never asked."""
        self.adopted: list[AdoptTask] = []
        """What was submitted again."""
        self.removed: set[TaskId] = set()
        """Those of which there is a tombstone, or the record of a removed task."""
        self.untold: set[TaskId] = set()
        """Those of them of which nodes have still to be told."""
        self.says_again = False
        """Whether each attempt has begun with an earlier question."""
        self.slots_count = 1_000
        self.renewed: list[RenewAttempt] = []
        self.failed: list[ReportForwardFailed] = []
        self.forwarded: list[ReportForwarded] = []
        self.inputs_gone: list[ReportInputsGone] = []
        self.consents: bool | None = True
        """Whether inputs may go; None: it does not say."""
        self.asked: Counter[TaskId] = Counter()
        """How often something was said of each task."""
        self.questions: list[PlaceTasks] = []
        self.revision = 0
        self.epoch = 0
        self.epochs: list[int] = []
        """Those of the next placements; afterwards `epoch`."""
        self.listeners: list[Callable[[TaskId], None]] = []
        self.places_on = NODE
        self.nodes: dict[NodeId, Node] = dict(NODES)
        self.attempt_id: Callable[[TaskId, int], str] = lambda task, number: f"{task}#{number}"
        self.planned_node: Node | None = None
        """Where files of uploads may go ahead to."""
        self.plan_requests: list[PlanStageIn] = []

    # the mirror: ports.ClusterView

    ready = True

    def task(self, task: TaskId) -> TaskRecord | None:
        found = self.tasks.get(task)
        return TaskRecord(task=found, revision=self.revision) if found else None

    async def recall(self, task: TaskId) -> TaskRecord | None:
        return self.task(task)

    def on_task(self, listener: Callable[[TaskId], None]) -> None:
        self.listeners.append(listener)

    def learn(self, record: TaskRecord) -> None:
        assert record.task.id in self.tasks

    # what a test does

    def submit(self, task: TaskId = TASK, images_count: int = 2) -> None:
        self.put(
            Task(
                id=task,
                name="t",
                upload_owner=self.holder,
                created_at_ms=1,
                committed_at_ms=2,
                images_count=images_count,
                inputs_kept=True,
            )
        )

    def change(self, task: TaskId = TASK, **fields: Any) -> None:
        self.put(msgspec.structs.replace(self.tasks[task], **fields))

    def put(self, task: Task) -> None:
        if task.state is TaskState.COMPLETED:
            task = msgspec.structs.replace(task, inputs_kept=False)
        self.tasks[task.id] = task
        self.tell(task.id)

    def remove(self, task: TaskId = TASK) -> None:
        self.removed.add(task)
        self.loses(task)

    def loses(self, task: TaskId = TASK) -> None:
        del self.tasks[task]
        self.tell(task)

    def forgets_all(self) -> None:
        """Lose every record and every tombstone."""
        self.tasks.clear()
        self.removed.clear()

    def tell(self, task: TaskId) -> None:
        self.revision += 1
        for listener in self.listeners:
            listener(task)

    # what it answers

    @property
    def handlers(self) -> dict[Any, Any]:
        return {
            ADOPT_TASK: self.adopt,
            PLAN_STAGE_IN: self.plan_stage_in,
            PLACE_TASKS: self.place_tasks,
            RENEW_ATTEMPT: self.renew,
            REPORT_FORWARDED: self.on_forwarded,
            REPORT_FORWARD_FAILED: self.on_failed,
            GET_TASK: self.get,
            REPORT_INPUTS_GONE: self.on_inputs_gone,
        }

    async def get(self, ref: TaskRef) -> TaskRecord:
        found = self.task(ref.task)
        if found is None:
            raise (Removed if ref.task in self.removed else NotFound)("no such task")
        return found

    async def place_tasks(self, asked: PlaceTasks) -> Placements:
        """Answer as the scheduler does: at once about what is named, else when there is a slot, or time is up."""
        self.questions.append(asked)
        if not asked.tasks and asked.hold_s and asked.places_count:
            with suppress(AssertionError):
                await until(lambda: self.to_place(asked), asked.hold_s)
            asked = msgspec.structs.replace(asked, tasks=tuple(TaskQuery(task=task) for task in self.to_place(asked)))
        answers = {each.task: await self.place(each, asked) for each in asked.tasks}
        is_placed = any(isinstance(answer, Placed) for answer in answers.values())
        return Placements(
            tasks=tuple(TaskPlacement(task=task, answer=answer) for task, answer in answers.items()),
            epoch=self.epochs.pop(0) if self.epochs and is_placed else self.epoch,
        )

    def to_place(self, asked: PlaceTasks) -> list[TaskId]:
        """Which tasks have a slot, and which have had one without their upload owner's knowledge."""
        waiting = [task for task, each in self.tasks.items() if each.state is TaskState.WAITING]
        room_count = min(self.slots_count, asked.places_count - len(self.sent()))
        return [*(task for task in self.sent() if task not in asked.sending), *waiting[: max(0, room_count)]]

    def sent(self) -> list[TaskId]:
        """Which tasks are being sent."""
        return [
            task.id
            for task in self.tasks.values()
            if task.state is TaskState.FORWARDING and task.attempt and task.attempt.state is AttemptState.FORWARDING
        ]

    async def place(self, asked: TaskQuery, question: PlaceTasks) -> PlaceReply:
        self.asked[asked.task] += 1
        task = self.tasks.get(asked.task)
        if task is None:
            removed = asked.task in self.removed
            return NotWaiting(state=None, removed=removed, untold=removed and asked.task in self.untold)
        if task.upload_owner != question.upload_owner:
            return NotWaiting(state=task.state, held_by=task.upload_owner)
        if task.state is TaskState.WAITING:
            if not self.slots_count or len(self.sent()) >= question.places_count:
                return Waiting(position=1, reason="all slots are taken")
            self.slots_count -= 1
            number = len(task.attempts) + 1
            goes_on = asked.ahead is not None and asked.ahead.node == self.places_on.id
            own_id = NodeTaskId(self.attempt_id(asked.task, number))
            attempt = Attempt(
                number=number,
                node=self.places_on.id,
                node_task_id=asked.ahead.node_task_id if goes_on and asked.ahead else own_id,
                ahead=goes_on,
            )
            assert all(attempt.node_task_id != before.node_task_id for before in task.attempts)
            self.change(asked.task, state=TaskState.FORWARDING, attempts=(*task.attempts, attempt))
            task = self.tasks[asked.task]
        if task.state is TaskState.FORWARDING and task.attempt:
            if task.attempt.state is AttemptState.UNCERTAIN:
                return Waiting(position=1, reason="its node is asked")
            return Placed(
                node=self.nodes[task.attempt.node],
                ahead=task.attempt.ahead,
                attempt=task.attempt.number,
                node_task_id=task.attempt.node_task_id,
                revision=self.revision,
                epoch=self.epochs[0] if self.epochs else self.epoch,
                again=self.says_again,
            )
        return NotWaiting(state=task.state)

    async def adopt(self, asked: AdoptTask) -> TaskRecord:
        self.adopted.append(asked)
        if self.refuses_again:
            raise Refused("it is another task")
        submission = asked.submission
        if submission.task in self.removed:
            raise Removed("it was removed")
        if submission.task not in self.tasks:
            self.put(adopted(asked, 1))
        else:
            self.put(caught_up(self.tasks[submission.task], asked, 1))
        if self.tasks[submission.task].removed:
            self.remove(submission.task)
            raise Removed("it was removed")
        return await self.get(TaskRef(task=submission.task))

    async def plan_stage_in(self, asked: PlanStageIn) -> StageInReply:
        self.plan_requests.append(asked)
        if self.planned_node is None or asked.node not in {None, self.planned_node.id}:
            return StageInDeclined(reason="no node has a slot for it now")
        return StageInPlanned(node=self.planned_node)

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
        if self.stays_in_doubt:
            last = msgspec.structs.replace(self.tasks[asked.task].attempts[-1], state=AttemptState.UNCERTAIN)
            self.change(asked.task, attempts=(*self.tasks[asked.task].attempts[:-1], last))
            return await self.get(TaskRef(task=asked.task))
        self.change(asked.task, state=TaskState.FAILED if asked.node_refused else TaskState.WAITING)
        return await self.get(TaskRef(task=asked.task))

    async def on_inputs_gone(self, asked: ReportInputsGone) -> TaskRecord:
        if self.consents is None:
            raise BusFailed("it does not answer")
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
    """The way to the nodes: they keep what they are sent as NodeODM does, and fail as told."""

    def __init__(self) -> None:
        self.met: set[str] = set()
        self.begun: list[NodeTaskId] = []
        self.drafts: dict[NodeTaskId, Draft] = {}
        """What each init said."""
        self.sent: list[tuple[NodeTaskId, str, bytes]] = []
        self.uploads: dict[NodeTaskId, dict[str, bytes]] = {}
        """What lies on a node before the commit; two files of one name are both kept."""
        self.committed: list[NodeTaskId] = []
        self.datasets: dict[NodeTaskId, dict[str, bytes]] = {}
        """What was there at the commit."""
        self.discarded: list[NodeTaskId] = []
        self.zips: list[tuple[NodeTaskId, str]] = []
        self.read: Callable[[Path], bytes] = content_of
        """What lies at a path of the spool."""
        self.troubles: dict[str, list[Exception]] = {}
        self.errors: dict[str, list[Exception]] = {}
        """What the next requests with a file are answered with, by its name; nothing of it is kept."""
        self.late_errors: dict[str, list[Exception]] = {}
        """The same, but the file is kept."""
        self.removed: list[NodeTaskId] = []
        self.down: set[str] = set()
        """Nodes that are dead: a file that is under way is cut off."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.sending_count = 0
        self.most_sending_count = 0

    def trouble(self, step: str, *errors: Exception) -> None:
        self.troubles[step] = list(errors)

    def meet(self, node: Node, step: str) -> None:
        self.met.add(node.name)
        if node.hostname in self.down:
            raise NodeFailed(f"{node.name} did not answer")
        if self.troubles.get(step):
            raise self.troubles[step].pop(0)

    async def begin(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        self.meet(node, "begin")
        assert draft.task == TASK or draft.task.startswith("task-")
        self.begun.append(attempt)
        self.drafts[attempt] = draft
        self.uploads.setdefault(attempt, {})

    async def send(self, node: Node, attempt: NodeTaskId, name: str, path: Path) -> None:
        self.meet(node, "send")
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        self.sending_count += 1
        self.most_sending_count = max(self.sending_count, self.most_sending_count)
        content = self.read(path)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if node.hostname in self.down:
                self.keep(attempt, name, content[:1])
                raise NodeFailed(f"{node.name} did not answer")
            self.sent.append((attempt, name, content))
            self.keep(attempt, name, content)
            if self.late_errors.get(name):
                raise self.late_errors[name].pop(0)
        finally:
            self.sending_count -= 1

    def keep(self, attempt: NodeTaskId, name: str, content: bytes) -> None:
        if (files := self.uploads.get(attempt)) is not None:
            files[unique_name(name, frozenset(files))] = content

    async def commit(self, node: Node, attempt: NodeTaskId, by: Instant | None = None) -> None:
        assert by is not None
        assert monotonic_s() < by <= monotonic_s() + COMMIT_WITHIN_S
        self.meet(node, "commit")
        self.committed.append(attempt)
        self.datasets[attempt] = self.uploads.pop(attempt, {})

    async def discard(self, node: Node, attempt: NodeTaskId) -> None:
        self.meet(node, "discard")
        self.discarded.append(attempt)
        self.uploads.pop(attempt, None)

    async def count_images(self, node: Node, attempt: NodeTaskId) -> ImagesCount:
        self.meet(node, "count")
        if attempt not in self.datasets:
            raise NodeRefused(f"{attempt} not found")
        return ImagesCount(sum(1 for name in self.datasets[attempt] if is_image(name)), settled=True)

    async def remove(self, node: Node, attempt: NodeTaskId) -> None:
        self.meet(node, "remove")
        if self.datasets.pop(attempt, None) is None:
            raise NodeRefused(f"{attempt} not found")
        self.removed.append(attempt)

    async def submit_zip(self, node: Node, attempt: NodeTaskId, draft: Draft, by: Instant | None = None) -> None:
        assert by is not None
        assert monotonic_s() < by <= monotonic_s() + COMMIT_WITHIN_S
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
        self.is_refused = False
        """Whether no client may have it called."""

    async def post(self, url: str, body: bytes) -> None:
        self.tries_count += 1
        if self.is_refused:
            raise WebhookRefused("client.example is not called: 10.0.0.1 is an address of a private network")
        if self.failures_count:
            self.failures_count -= 1
            raise WebhookFailed("client.example timed out")
        self.told.append((url, msgspec.json.decode(body)))


class World:
    """One proxy's forwarding with everything around it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        """Where the spool lies; None: in memory."""
        self.bus = MemoryBus()
        self.scheduler = Scheduler()
        self.cluster: ClusterView = self.scheduler
        """What shows the proxy how its tasks are."""
        self.nodes = Nodes()
        self.sender: Sender = self.nodes
        self.accounts: list[tuple[str, Mapping[str, Any]]] = []
        self.files: Mapping[str, bytes] = FILES
        self.client = Client()
        self.clock = FakeClock(wall_ms=1_000_000_000)
        self.keep_failed_s = 0.0
        self.spool: DiskSpool | MemorySpool
        self.memory: MemorySpool | None = None
        self.inputs: Inputs
        self.finisher: Finisher
        self.ids = count(1)

    @property
    def now_ms(self) -> WallMs:
        """Say what time it is."""
        return self.clock.wall_ms()

    @asynccontextmanager
    async def proxy(
        self,
        *,
        tasks_count: int = 4,
        start: bool = True,
        until_forwarded: bool = False,
        ahead_from_bytes: int | None = None,
        one_link: bool = False,
        fresh_s: float = 0.0,
        renew_s: float = QUICK.renew_s,
    ) -> AsyncIterator[Forwarder]:
        """Run the proxy while the context is open; again is a restart."""
        self.scheduler.listeners.clear()
        async with AsyncExitStack() as stack:
            self.spool = await self.opened(stack)
            self.scheduler.holder = self.spool.instance
            inputs = Inputs(self.bus, self.spool, self.cluster)
            finisher = Finisher(
                self.bus,
                self.spool,
                self.client,
                lambda task: {"uuid": task.id, "status": task.state},
                (0.0,) * 5,
                inputs=inputs,
                keep_failed_s=self.keep_failed_s,
                clock=self.clock,
                notify_end=self.tell_account,
            )
            forwarder = Forwarder(
                self.bus,
                self.spool,
                self.sender,
                self.cluster,
                finisher,
                tasks_count=tasks_count,
                parallel_count=2,
                intervals=replace(QUICK, fresh_s=fresh_s, renew_s=renew_s),
                inputs=inputs if until_forwarded else None,
                stage_in=UploadStageIn(
                    self.bus,
                    self.spool,
                    self.sender,
                    NODES.get,
                    from_bytes=ahead_from_bytes,
                    uploads_count=2,
                    parallel_count=2,
                    one_link=one_link,
                    plan_every_s=0.02,
                    clock=self.clock,
                    fresh_id=lambda: f"ahead-{next(self.ids)}",
                    retries=RETRIES,
                ),
            )
            self.inputs, self.finisher = inputs, finisher
            if start:
                await stack.enter_async_context(forwarder.running())
            yield forwarder

    async def opened(self, stack: AsyncExitStack) -> DiskSpool | MemorySpool:
        """Open the spool, or find in memory what the last proxy has left."""
        uploads = await self.bus.bucket(UPLOADS)
        if self.folder is not None:
            return await stack.enter_async_context(open_spool(self.folder, uploads, "http://p", clock=self.clock))
        self.memory = self.memory or MemorySpool(uploads, self.clock)
        self.nodes.read = self.memory.content
        return self.memory

    def stored(self, task: TaskId = TASK) -> list[str]:
        """List the files that the spool still has of a task."""
        if isinstance(self.spool, MemorySpool):
            return list(self.spool.entries[task].files)
        return [path.name for path in self.spool.path(task, "x").parent.iterdir()]

    def lose(self, task: TaskId, name: str) -> None:
        """Lose a stored file, as a broken disk does."""
        if isinstance(self.spool, MemorySpool):
            del self.spool.entries[task].files[name]
        else:
            self.spool.path(task, name).unlink()

    async def commit(self, task: TaskId = TASK, **fields: Any) -> None:
        """What the HTTP side does before it submits."""
        received_at_ms = fields.pop("received", 1)
        await self.spool.create(Draft(task=task, name="t", created_at_ms=1, received_at_ms=received_at_ms, **fields))
        if "zip_url" not in fields:
            async with self.spool.receive(task) as receipt:
                for name, content in self.files.items():
                    part = await receipt.open(name)
                    part.write(content)
                    part.close()
        await self.spool.commit(task, at_ms=2)

    async def tell_account(self, token: str, info: Mapping[str, Any]) -> None:
        """Take note that the end of a task was told with a token."""
        self.accounts.append((token, info))

    def history(self) -> History:
        """Say what is noted beside the task, while the spool has it."""
        held = self.spool.find(TASK)
        return held.history if held and held.history else History()

    def held_marks(self) -> frozenset[Mark]:
        """Say what is noted of the task, while the spool has it."""
        held = self.spool.find(TASK)
        return held.marks if held else frozenset()

    async def adopted(self, forwarder: Forwarder, task: TaskId = TASK, **fields: Any) -> None:
        """Commit, submit and adopt."""
        await self.commit(task, **fields)
        self.scheduler.submit(task)
        await forwarder.adopt(task)

    async def forwarded(self, forwarder: Forwarder, task: TaskId = TASK, **fields: Any) -> None:
        """Commit, submit, adopt, and wait until it runs."""
        await self.adopted(forwarder, task, **fields)
        await self.reaches(TaskState.RUNNING, task)

    async def reaches(self, state: TaskState, task: TaskId = TASK) -> None:
        await until(lambda: self.scheduler.tasks[task].state is state, what=f"the task is {state}")

    async def reaches_again(self, state: TaskState, task: TaskId = TASK) -> None:
        """Wait for a task whose record is lost."""
        tasks = self.scheduler.tasks
        await until(lambda: task in tasks and tasks[task].state is state, what=f"the task is {state} again")

    async def lets_go(self, task: TaskId = TASK) -> None:
        uploads = await self.bus.bucket(UPLOADS)

        async def gone() -> bool:
            return self.spool.find(task) is None and await uploads.get(task) is None

        await until(gone, what="the inputs are gone")
