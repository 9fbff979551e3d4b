"""The tasks that this proxy holds: what is remembered of each, when it is to be asked about, and what is done for it.

A step brings a task to its node, submits it again, looks after it while it runs, finishes it, or gives it up. It says after how many
seconds the scheduler is to be asked about the task again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ClusterError, Removed
from clusterodm.libs.common.messages.placement import Placed
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.process.loops import beat
from clusterodm.libs.common.process.moments import sleep_together
from clusterodm.services.proxy.cluster.ports import ClusterView
from clusterodm.services.proxy.forwarding.core.decisions import NextStep
from clusterodm.services.proxy.forwarding.handlers.attempt import ForwardingIntervals
from clusterodm.services.proxy.forwarding.handlers.attempts import AttemptRunner, TaskLoop
from clusterodm.services.proxy.forwarding.handlers.resubmit import Adopter, Resumer
from clusterodm.services.proxy.forwarding.ports import KeptInputs, TaskEnd
from clusterodm.services.proxy.spool.core.history import contradicts
from clusterodm.services.proxy.spool.core.upload import Mark
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

GONE: Final = -1.0
"""There is nothing more to do for a task."""
NOW: Final = 0.0
IGNORED_S: Final = 3600.0
"""After so long it is asked again whose task a copy is of; whatever changes in its record has it asked at once."""
SWEPT_COUNT: Final = 100
SWEEPS_COUNT: Final = 12
"""So many times in `sweep_s` some tasks are asked about."""


@dataclass
class HeldTask(TaskLoop):
    """A task that this proxy holds."""

    state: TaskState | None = None
    """As the scheduler has said last; None: it has been asked and has not answered yet."""
    at_work: bool = False
    doubts_count: int = 0
    """How often in a row the mirror showed something else than the scheduler said."""
    timer: asyncio.TimerHandle | None = None

    def cancel_timer(self) -> None:
        """Forget when it was to be asked about."""
        if self.timer:
            self.timer.cancel()
            self.timer = None


class HeldTasks:
    """The tasks that this proxy holds, and when each is to be asked about."""

    def __init__(self, cluster: ClusterView, intervals: ForwardingIntervals, request: Callable[[TaskId], None]) -> None:
        self._cluster = cluster
        self._intervals = intervals
        self._request = request
        """Called with a task that is to be asked about."""
        self._held: dict[TaskId, HeldTask] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, task: TaskId) -> HeldTask | None:
        """Look one up."""
        return self._held.get(task)

    def add(self, task: TaskId) -> HeldTask:
        """Hold a task from now on."""
        held = self._held[task] = HeldTask()
        return held

    def forget(self, task: TaskId) -> None:
        """Hold a task no longer."""
        self._held.pop(task).cancel_timer()

    def cancel_timers(self) -> None:
        """Have nothing asked about any more."""
        for held in self._held.values():
            held.cancel_timer()

    def request_all(self) -> None:
        """Ask about those that rest; what is being done for the others ends with a question."""
        for task, held in self._held.items():
            if held.at_work:
                held.woken.set()
            else:
                self._request(task)

    def changed(self, task: TaskId) -> None:
        """Ask about a task of which the mirror shows something new."""
        held = self._held.get(task)
        if held is None:
            return
        if held.at_work:
            if not self._is_expected(task, held):
                held.woken.set()
        elif not self._is_as_said(task, held):
            self._request(task)

    def rest(self, task: TaskId, held: HeldTask, seconds: float) -> None:
        """Let a task be until it is woken, or for so long."""
        held.cancel_timer()
        if seconds == NOW:
            self._request(task)
        elif seconds < inf:
            held.timer = asyncio.get_running_loop().call_later(seconds, self._request, task)

    def until_the_mirror_agrees_s(self, task: TaskId, held: HeldTask) -> float:
        """Say how long to rest; for ever when the mirror shows what the scheduler says.

        The mirror may be ahead of an answer, which comes from memory a moment after the write: then nobody will wake us up
        again. It may also lag.
        """
        if self._is_as_said(task, held):
            held.doubts_count = 0
            return inf
        held.doubts_count = min(held.doubts_count + 1, 20)
        return min(self._intervals.bus_retry_s * 2.0 ** (held.doubts_count - 1), self._intervals.sweep_s)

    async def sweep(self) -> None:
        """Ask now and then about tasks of which nothing has been heard: a mirror may have missed something."""
        while True:
            tasks = list(self._held)
            size = min(SWEPT_COUNT, -(-len(tasks) // SWEEPS_COUNT)) or 1
            for at in range(0, max(len(tasks), 1), size):
                await sleep_together(self._intervals.sweep_s / SWEEPS_COUNT)
                for task in tasks[at : at + size]:
                    if task in self._held and not self._held[task].at_work:
                        self._request(task)
                beat()

    def _is_as_said(self, task: TaskId, held: HeldTask) -> bool:
        """Whether the mirror shows what the scheduler has said, or is about to say: it is asked, or just places the task."""
        if held.state is None or (held.state is TaskState.WAITING and self._is(task, TaskState.FORWARDING)):
            return True
        return self._is(task, held.state)

    def _is_expected(self, task: TaskId, held: HeldTask) -> bool:
        """Whether the mirror shows of a task that is worked on what this work brings about."""
        if held.state is TaskState.FORWARDING:
            return self._is(task, TaskState.FORWARDING) or self._is(task, TaskState.RUNNING)
        return held.state is TaskState.RUNNING and self._is(task, TaskState.RUNNING)

    def _is(self, task: TaskId, state: TaskState) -> bool:
        """Whether the mirror says that the task is in this state."""
        record = self._cluster.task(task)
        return record is not None and record.task.state is state and not record.task.removed


class TaskSteps:
    """Takes one step for one task."""

    def __init__(  # noqa: PLR0913 what it works with
        self,
        spool: Spool,
        end: TaskEnd,
        attempts: AttemptRunner,
        adopter: Adopter,
        resumer: Resumer,
        *,
        learn: Callable[[TaskRecord], None],
        tasks_count: int,
        intervals: ForwardingIntervals,
        inputs: KeptInputs | None,
    ) -> None:
        self._spool = spool
        self._end = end
        self._attempts = attempts
        self._adopter = adopter
        self._resumer = resumer
        self._learn = learn
        """Called with what the scheduler said of a task: it is known before the mirror shows it."""
        self._intervals = intervals
        self._inputs = inputs
        """Given: inputs go as soon as a node has them (`--keep-inputs until-forwarded`)."""
        self._semaphore = asyncio.Semaphore(tasks_count)
        self._ignored: dict[TaskId, InstanceId] = {}
        """Copies of tasks that other proxies hold: of each it has been said."""

    async def send(self, task: TaskId, held: HeldTask, placed: Placed, asked: Instant | None) -> float | None:
        """Go where it is placed; None: the task runs there, and is watched until the mirror shows something else."""
        if self._contradicts(task, placed) or await self._adopter.is_end_forgotten(task):
            log.warning("placement.outdated", task=task, attempt=placed.attempt)
            after_s = await self.submit_again(task)
            return after_s if after_s == GONE else max(after_s, self._intervals.bus_retry_s)
        async with self._semaphore:
            record = await self._attempts.run(task, placed, held, asked)
        if record is None or record.task.state is not TaskState.RUNNING or held.woken.is_set():
            return NOW
        held.state = TaskState.RUNNING
        self._learn(record)
        return await self.watch(task)

    def _contradicts(self, task: TaskId, placed: Placed) -> bool:
        held = self._spool.find(task)
        return held is not None and held.history is not None and contradicts(placed, held.history)

    async def submit_again(self, task: TaskId) -> float:
        """Tell the scheduler of what its records do not know."""
        try:
            async with self._resumer.semaphore:
                await self._adopter.submit_again(task)
        except Removed:
            return NOW  # the answer to a question says whether its nodes have been told
        except ClusterError as error:
            log.error("task.resubmission_failed", task=task, reason=error.message)  # noqa: TRY400 the reason is all
            return self._intervals.unknown_s
        return NOW

    async def drop(self, task: TaskId) -> float:
        """Delete all of a task that was removed."""
        await self._end.drop(task)
        return GONE

    async def keep_notes(self, task: TaskId) -> float:
        """Delete the inputs of a task that was removed; should its record be lost before its nodes have been told, the rest is submitted again."""
        await self._end.keep_notes(task)
        return self._intervals.unknown_s

    async def ignore(self, task: TaskId, held_by: InstanceId) -> float:
        """Do nothing about a task that is another proxy's: somebody has copied its directory into this spool. Said once."""
        if self._ignored.get(task) != held_by:
            self._ignored[task] = held_by
            folder = self._spool.path(task, "x").parent
            log.error(
                "upload.ignored",
                task=task,
                folder=str(folder),
                reason="its record names another proxy",
                held_by=held_by,
            )
        return IGNORED_S

    async def finish(self, task: TaskId) -> float:
        """Tell the client of the end; the inputs stay for a while where they may be needed again."""
        if await self._adopter.is_forgotten(task):
            return await self.submit_again(task)
        kept_s = await self._end.finish(task)
        if kept_s == 0:
            return GONE
        if kept_s is None:
            return self._intervals.bus_retry_s
        # an older store under a leader that knows the end: the next one will not
        return min(kept_s, self._intervals.unknown_s) if self._adopter.is_in_doubt(task) else kept_s

    async def watch(self, task: TaskId) -> float | None:
        """Let a task run; None: until the mirror shows something else."""
        if await self._adopter.is_forgotten(task):
            return await self.submit_again(task)
        await self._end.begun_again(task)
        await self._let_go(task)
        return None

    async def _let_go(self, task: TaskId) -> None:
        """Delete the inputs of a task that runs, where they are not to be kept."""
        held = self._spool.find(task)
        if self._inputs and held and held.size_bytes and Mark.INPUTS_GONE not in held.marks:
            await self._inputs.give_up(task, "inputs are not kept here once a node has them")

    async def resume(self, task: TaskId) -> float:
        """Find out what became of a task while nobody was here."""
        match await self._resumer.resume(task):
            case NextStep.ADOPT:
                return await self.submit_again(task)
            case NextStep.WATCH:
                return NOW
            case _:
                return GONE
