"""What becomes of the committed tasks that this proxy holds, each from its commit until it has ended.

    ask (placement_requests.py) ──Placed──▶ one attempt (attempts.py) ──▶ ask again
         │──Waiting──▶ rest; the open question is answered when there is a slot
         └──NotWaiting──▶ runs:    rest until the mirror shows something else ──▶ ask again
                          ended:   finish ──▶ done
                          removed: drop the inputs ──▶ done
                          held by another proxy, as its record says: what lies here is a copy ──▶ ask again, seldom
                          unknown: its record is lost, and nobody said that it was removed: submit it again ──▶ ask again

A record may also be older than what was done (somebody has restored a backup): then what was done is told again, too
(resubmit.py).

The scheduler decides everything; the mirror only says when it is worth asking. So a stale mirror costs a question, never a task. A
task that rests is an entry here; only what is done for one is a loop of its own, one at a time for each task. Now and then some are
asked about although nothing has been heard of them.

The inputs stay until the end because a new attempt may be needed at any time. At the start every committed task in the spool is taken
up again. An attempt that was under way then is reported as failed and uncertain: whether the last run's commit reached the node is
known to the node alone. A graceful stop reports the attempts that it cuts off by itself.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ClusterError, NotFound
from clusterodm.libs.common.messages.placement import PLACEMENT_POSSIBLE, NotWaiting, Placed, PlaceReply, Waiting
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import TaskLimiter, now_ms
from clusterodm.libs.common.process.loops import background
from clusterodm.services.proxy.cluster.ports import ClusterView
from clusterodm.services.proxy.forwarding.core.decisions import NextStep, next_step
from clusterodm.services.proxy.forwarding.handlers.attempt import ForwardingIntervals
from clusterodm.services.proxy.forwarding.handlers.attempts import AttemptRunner
from clusterodm.services.proxy.forwarding.handlers.held_tasks import GONE, NOW, HeldTask, HeldTasks, TaskSteps
from clusterodm.services.proxy.forwarding.handlers.placement_requests import PlacementClient
from clusterodm.services.proxy.forwarding.handlers.resubmit import Adopter, Resumer
from clusterodm.services.proxy.forwarding.handlers.stage_in import UploadStageIn
from clusterodm.services.proxy.forwarding.ports import KeptInputs, Sender, TaskEnd
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import Mark, StoredFile
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

WORK_COUNT: Final = 1_000_000
"""What is done for a task is bounded where it costs: how many send, how many are resumed at once."""
NOT_HERE: Final = "its proxy does not have its photos"


class Forwarder:
    """Brings held tasks to nodes. Implements ports.Forwarding; open it with `running()`."""

    def __init__(  # noqa: PLR0913 what it works with
        self,
        bus: Bus,
        spool: Spool,
        sender: Sender,
        cluster: ClusterView,
        end: TaskEnd,
        *,
        tasks_count: int,
        parallel_count: int,
        intervals: ForwardingIntervals | None = None,
        inputs: KeptInputs | None = None,
        stage_in: UploadStageIn,
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._cluster = cluster
        self._intervals = intervals or ForwardingIntervals()
        self._stage_in = stage_in
        self._attempts = AttemptRunner(
            bus, spool, sender, end, stage_in, parallel_count=parallel_count, intervals=self._intervals, now_ms=now_ms
        )
        self._adopter = Adopter(bus, spool, cluster)
        self._steps = TaskSteps(
            spool,
            end,
            self._attempts,
            self._adopter,
            Resumer(bus, spool, self._attempts, self._intervals),
            learn=cluster.learn,
            tasks_count=tasks_count,
            intervals=self._intervals,
            inputs=inputs,
        )
        self._sending: dict[TaskId, int] = {}
        """Attempts that were begun here and are not over."""
        self._limiter = TaskLimiter(WORK_COUNT)
        self._placements = PlacementClient(
            bus,
            spool.instance,
            run=uuid.uuid4().hex,
            places_count=tasks_count,
            intervals=self._intervals,
            sending=lambda: self._sending,
            staged_of=self.staged_of,
            begins_at_once=self._attempts.is_small,
            answered=self._answered,
        )
        self._held = HeldTasks(cluster, self._intervals, self._placements.name)

    def __repr__(self) -> str:
        """Show how many tasks it looks after."""
        return f"Forwarder(held={len(self._held)} sending={len(self._sending)})"

    @property
    def sending_count(self) -> int:
        """How many tasks are on their way to nodes."""
        return len(self._sending)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what the spool holds, and forward while the context is open."""
        self._cluster.on_task(self._held.changed)
        async with (
            self._bus.subscribe(PLACEMENT_POSSIBLE, self._placements.hear),
            self._stage_in.running(),
            self._attempts.leftovers.running(),
            self._limiter,
            self._requesting(),
        ):
            for held in self._spool.held():
                if held.committed:
                    await self._take_up(held.draft.task, resumed=True)
            yield

    @asynccontextmanager
    async def _requesting(self) -> AsyncIterator[None]:
        async with (
            background(self._placements.request_named, "ask about tasks"),
            background(self._placements.hold_open, "ask for slots"),
            background(self._held.sweep, "look at held tasks"),
        ):
            yield
        self._held.cancel_timers()
        await self._placements.stop()

    # --- the HTTP side ---------------------------------------------------------------------------------------------

    async def adopt(self, task: TaskId) -> None:
        """Take over a task that the scheduler has just acknowledged, and note that.

        One that was placed meanwhile is at work: what is noted of that stays. One of the last run may just be let go, because
        the scheduler did not know it a moment ago: once the mark is there it is not, and what was let go before is taken up again.
        """
        with suppress(NotFound):
            if self._held.get(task) is None:
                await self._note_commit(task)
            else:
                await self._spool.mark(task, Mark.SUBMITTED)
            await self._take_up(task)

    async def _note_commit(self, task: TaskId) -> None:
        held, record = self._spool.find(task), self._cluster.task(task)
        if held is None or held.history is None:
            committed_at_ms = record.task.committed_at_ms if record else 0
            await self._spool.remember(task, History(committed_at_ms=committed_at_ms))

    def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> Coroutine[Any, Any, None] | None:
        """Take note of files that may go ahead."""
        return self._stage_in.arrived(task, files)

    async def staged_of(self, task: TaskId) -> StagedFiles | None:
        """Say with what an attempt of a committed task could go on."""
        with suppress(NotFound):
            return await self._stage_in.offer(task)
        return None

    # --- entries ---------------------------------------------------------------------------------------------------

    async def _take_up(self, task: TaskId, *, resumed: bool = False) -> None:
        if self._held.get(task) is None:
            held = self._held.add(task)
            if resumed:
                await self._begin(task, held, partial(self._steps.resume, task))
            else:
                self._placements.name(task)

    def request_all(self) -> None:
        """Ask about all tasks: what the scheduler knows of them may be another thing altogether."""
        self._placements.begin_anew()
        self._held.request_all()

    def _forget(self, task: TaskId) -> None:
        self._held.forget(task)
        self._placements.waits_no_more(task)

    # --- what the scheduler says -----------------------------------------------------------------------------------

    async def _answered(self, task: TaskId, answer: PlaceReply, asked: Instant | None) -> None:
        """Do what an answer asks for; what is being done for a task is finished first, and then the question is asked again.

        `asked`: when, where it was a question about this task.
        """
        held = self._held.get(task) or await self._taken_in(task, answer)
        if held is None:
            return
        if held.at_work:
            if not isinstance(answer, Placed) or self._sending.get(task) != answer.attempt:
                held.woken.set()
            return
        held.cancel_timer()
        match answer:
            case Placed():
                await self._placed(task, held, answer, asked)
            case Waiting():
                await self._waits(task, held, named=asked is not None)
            case NotWaiting():
                await self._waits_not(task, held, answer)

    async def _taken_in(self, task: TaskId, answer: PlaceReply) -> HeldTask | None:
        """Hold a task whose commit was answered a moment ago; what is placed of one that is not here would wait for us for ever."""
        if not isinstance(answer, Placed):
            return None
        if self._spool.find(task) is not None:
            return self._held.add(task)
        await self._limiter.start(self._attempts.give_up(task, answer.attempt, NOT_HERE), name=f"give up {task}")
        return None

    async def _placed(self, task: TaskId, held: HeldTask, placed: Placed, asked: Instant | None) -> None:
        self._placements.waits_no_more(task)
        held.state = TaskState.FORWARDING
        self._sending[task] = placed.attempt
        record = self._cluster.task(task)
        if record is None or record.revision > placed.revision:
            asked = None  # somebody was quicker than this answer
        await self._begin(task, held, partial(self._send, task, held, placed, asked))

    async def _waits(self, task: TaskId, held: HeldTask, *, named: bool) -> None:
        held.state = TaskState.WAITING
        self._placements.waits(task)
        if named:
            self._stage_in.give_up(task, "the task was not placed at once")
        if await self._adopter.is_forgotten(task):
            await self._begin(task, held, partial(self._steps.submit_again, task))
        else:
            self._held.rest(task, held, self._held.until_the_mirror_agrees_s(task, held))

    async def _waits_not(self, task: TaskId, held: HeldTask, answer: NotWaiting) -> None:
        self._placements.waits_no_more(task)
        step = next_step(answer.state, removed=answer.removed, untold=answer.untold, held_by=answer.held_by)
        held.state = TaskState.RUNNING if step is NextStep.WATCH else answer.state
        acts: dict[NextStep, Callable[[TaskId], Awaitable[float]]] = {
            NextStep.ADOPT: self._steps.submit_again,
            NextStep.DROP: self._steps.drop,
            NextStep.KEEP_NOTES: self._steps.keep_notes,
            NextStep.FINISH: self._steps.finish,
            NextStep.WATCH: partial(self._watch, held=held),
            NextStep.IGNORE: partial(self._steps.ignore, held_by=answer.held_by),
        }
        await self._begin(task, held, partial(acts[step], task))

    # --- what is done for one task -----------------------------------------------------------------------------------

    async def _begin(self, task: TaskId, held: HeldTask, act: Callable[[], Awaitable[float]]) -> None:
        held.at_work = True
        held.woken.clear()
        await self._limiter.start(self._work(task, held, act), name=f"forward {task}")

    async def _work(self, task: TaskId, held: HeldTask, act: Callable[[], Awaitable[float]]) -> None:
        """Do something for a task, whatever goes wrong; `act` says after how many seconds it is to be asked about again."""
        after_s = self._intervals.failure_pause_s
        try:
            after_s = await act()
        except ClusterError as error:
            log.warning("forwarding.interrupted", task=task, reason=error.message)
            after_s = after_s if self._spool.find(task) else GONE
        except Exception:
            log.exception("forwarding.crashed", task=task)
        finally:  # cancelled by mistake, too: who is not asked about again is never sent
            held.at_work = False
            self._sending.pop(task, None)
            if after_s == GONE:
                self._forget(task)
            else:
                self._held.rest(task, held, NOW if held.woken.is_set() else after_s)

    async def _watch(self, task: TaskId, held: HeldTask) -> float:
        """Let a task run until the mirror shows something else."""
        return self._rest_s(task, held, await self._steps.watch(task))

    async def _send(self, task: TaskId, held: HeldTask, placed: Placed, asked: Instant | None) -> float:
        """Send a task; where its node has it, let it run: the answer to the report says what another question would."""
        return self._rest_s(task, held, await self._steps.send(task, held, placed, asked))

    def _rest_s(self, task: TaskId, held: HeldTask, after_s: float | None) -> float:
        return self._held.until_the_mirror_agrees_s(task, held) if after_s is None else after_s
