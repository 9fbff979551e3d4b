"""The loops behind the spool: one per committed task that this proxy holds, from its commit until it has ended.

    ask PLACE_TASK ──Placed──▶ one attempt (handlers/attempts.py) ──▶ ask again
         │──Waiting──▶ rest until PLACEMENT_POSSIBLE names the task, or some seconds ──▶ ask again
         └──NotWaiting──▶ runs:    rest until the mirror shows something else ──▶ ask again
                          ended:   handlers/finish.py ──▶ done
                          removed: drop the inputs ──▶ done
                          unknown: its record is lost, and nobody said that it was removed: submit it again ──▶ ask again

A record may also be older than what was done (somebody has restored a backup): then what was done is told again, too
(handlers/adopting.py).

The scheduler decides everything; the mirror and the hints only wake a loop up. So a lost hint costs seconds and a stale
mirror a question, never a task. The inputs stay until the end because a new attempt may be needed at any time.

At the start every committed task in the spool is taken up again. An attempt that was under way then is reported as failed
and uncertain: whether the last run's commit reached the node is known to the node alone. A graceful stop reports the attempts
that it cuts off by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from libs.common.errors import BusFailed, ClusterError, NotFound, Removed
from libs.common.lifecycle import Crew, monotonic_s, now_ms
from libs.common.messages import (
    GET_TASK,
    PLACE_TASK,
    PLACEMENT_POSSIBLE,
    NotWaiting,
    Placed,
    PlacementPossible,
    PlaceReply,
    PlaceTask,
    TaskRef,
    Waiting,
)
from libs.common.model import Task, TaskId, TaskState
from libs.common.ports import Bus
from services.proxy.core.epochs import Epochs
from services.proxy.core.forwarding import Move, next_move, patience_s
from services.proxy.core.history import History, contradicts, is_behind, recorded
from services.proxy.handlers.adopting import Adopter
from services.proxy.handlers.ahead import Ahead
from services.proxy.handlers.attempt import Pace
from services.proxy.handlers.attempts import Attempts, Loop
from services.proxy.handlers.finish import Finisher
from services.proxy.handlers.inputs import Inputs
from services.proxy.ports import ClusterView, Mark, Sender, Spool, StoredFile

log = structlog.get_logger()

RESUMED_AT_ONCE = 64
"""Tasks about which the scheduler is asked at the same time after a start, or told when it knows nothing of them."""
LOOPS_COUNT = 1_000_000
"""A loop that rests costs a few kilobytes; what is bounded is how many send."""


class Forwarder:
    """Brings held tasks to nodes. Implements ports.Forwarding; open it with `running()`."""

    def __init__(  # noqa: PLR0913 what it works with
        self,
        bus: Bus,
        spool: Spool,
        sender: Sender,
        cluster: ClusterView,
        finisher: Finisher,
        *,
        tasks_count: int,
        parallel_count: int,
        pace: Pace | None = None,
        inputs: Inputs | None = None,
        ahead: Ahead,
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._cluster = cluster
        self._finisher = finisher
        self._pace = pace or Pace()
        self._ahead = ahead
        self._attempts = Attempts(
            bus, spool, sender, finisher, ahead, parallel_count=parallel_count, pace=self._pace, now_ms=now_ms
        )
        self._adopter = Adopter(bus, spool, cluster)
        self._inputs = inputs
        """Given: inputs go as soon as a node has them (`--keep-inputs until-forwarded`)."""
        self._room = asyncio.Semaphore(tasks_count)
        self._resuming = asyncio.Semaphore(RESUMED_AT_ONCE)
        self._epochs = Epochs()
        self._loops: dict[TaskId, Loop] = {}
        self._crew = Crew(LOOPS_COUNT)

    def __repr__(self) -> str:
        """Show how many tasks it looks after."""
        return f"Forwarder(loops={len(self._loops)})"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what the spool holds, and forward while the context is open."""
        self._cluster.on_task(self._wake)
        async with (
            self._bus.listen(PLACEMENT_POSSIBLE, self._hear),
            self._ahead.running(),
            self._attempts.leftovers.running(),
            self._crew,
        ):
            for held in self._spool.held():
                if held.committed:
                    await self._start(held.draft.task, resumed=True)
            yield

    async def adopt(self, task: TaskId) -> None:
        """Take over a task that the scheduler has just acknowledged."""
        with suppress(NotFound):
            await self._remember(task)
            await self._start(task)

    async def _remember(self, task: TaskId) -> None:
        held, record = self._spool.find(task), self._cluster.task(task)
        if held is None or held.history is None:
            committed_at_ms = record.task.committed_at_ms if record else 0
            await self._spool.remember(task, History(committed_at_ms=committed_at_ms))

    async def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> None:
        """Take note of files that may go ahead."""
        await self._ahead.arrived(task, files)

    async def _start(self, task: TaskId, *, resumed: bool = False) -> None:
        if task not in self._loops:
            self._loops[task] = Loop()
            await self._crew.start(self._look_after(task, resumed=resumed), name=f"forward {task}")

    def look_again(self) -> None:
        """Wake all tasks up: what the scheduler knows of them may be another thing altogether."""
        self._epochs.forget()
        for loop in self._loops.values():
            loop.woken.set()

    # --- waking ----------------------------------------------------------------------------------------------------

    def _wake(self, task: TaskId) -> None:
        loop = self._loops.get(task)
        if loop is not None and not (loop.sending and self._is(task, TaskState.FORWARDING)):
            loop.woken.set()

    async def _hear(self, hint: PlacementPossible) -> None:
        if self._epochs.counts(hint.epoch, monotonic_s()):
            for task in hint.tasks:
                self._wake(task)

    async def _rest(self, task: TaskId, longest_s: float) -> bool:
        """Rest until woken; False when nobody did."""
        woken = self._loops[task].woken
        try:
            async with asyncio.timeout(longest_s):
                await woken.wait()
        except TimeoutError:
            return False
        woken.clear()
        return True

    # --- one task --------------------------------------------------------------------------------------------------

    async def _look_after(self, task: TaskId, *, resumed: bool) -> None:
        """See a task through to its end, whatever goes wrong on the way."""
        try:
            ended = await self._try_to_end(task, resumed=resumed)
            while not ended:
                await asyncio.sleep(self._pace.failure_pause_s)
                ended = await self._try_to_end(task, resumed=True)
        finally:
            del self._loops[task]

    async def _try_to_end(self, task: TaskId, *, resumed: bool) -> bool:
        try:
            if not resumed or await self._resume(task):
                while await self._go_on(task):
                    pass
        except ClusterError as error:
            log.warning("forwarding interrupted", task=task, reason=error.message)
            return self._spool.find(task) is None
        except Exception:
            log.exception("forwarding failed unexpectedly", task=task)
            return False
        return True

    async def _go_on(self, task: TaskId) -> bool:
        """Take one turn; False when there is nothing more to do."""
        answer = await self._place(task)
        if not isinstance(answer, Placed) and await self._adopter.is_forgotten(task):
            return await self._submit_again(task)
        match answer:
            case Waiting():
                await self._rest(task, patience_s(answer.position))
            case NotWaiting():
                return await self._look(task, answer)
            case None:
                await asyncio.sleep(self._pace.bus_retry_s)
            case Placed():
                pass
        return True

    async def _place(self, task: TaskId) -> PlaceReply | None:
        """Ask where to; being placed, go there. None when the bus does not answer."""
        async with self._room:
            self._loops[task].woken.clear()
            try:
                ahead = await self._ahead.offer(task)
                answer = await self._bus.ask(PLACE_TASK, PlaceTask(task=task, holder=self._spool.instance, ahead=ahead))
            except BusFailed as error:
                log.warning("cannot ask for a place", task=task, reason=error.message)
                return None
            if isinstance(answer, Placed):
                if self._contradicts(task, answer):
                    log.warning("placement comes from older records", task=task, attempt=answer.attempt)
                    await self._submit_again(task)
                    return None
                if not self._epochs.counts(answer.epoch, monotonic_s()):
                    log.warning("placement refused", task=task, epoch=answer.epoch, highest=self._epochs.highest)
                    return None
                await self._attempts.run(task, answer, self._loops[task])
            else:
                self._ahead.give_up(task, "the task was not placed at once")
            return answer

    def _contradicts(self, task: TaskId, placed: Placed) -> bool:
        held = self._spool.find(task)
        return held is not None and held.history is not None and contradicts(placed, held.history)

    async def _look(self, task: TaskId, answer: NotWaiting) -> bool:
        """There is nothing to place: finish, drop or watch. False when the task needs us no more."""
        match next_move(answer.state, removed=answer.removed):
            case Move.ADOPT:
                return await self._submit_again(task)
            case Move.DROP:
                await self._finisher.drop(task)
                return False
            case Move.FINISH:
                kept_s = await self._finisher.finish(task)
                if kept_s == 0:
                    return False
                await self._rest(task, kept_s or self._pace.bus_retry_s)
                return True
            case Move.WATCH:
                await self._finisher.begun_again(task)
                await self._let_go(task)
                await self._watch(task)
                return True

    async def _submit_again(self, task: TaskId) -> bool:
        """Tell the scheduler of what its records do not know; False when the task was removed after all."""
        try:
            async with self._resuming:
                await self._adopter.submit_again(task)
        except Removed:
            await self._finisher.drop(task)
            return False
        except ClusterError as error:
            log.error("task not submitted again, its inputs stay", task=task, reason=error.message)  # noqa: TRY400 the reason is all
            await self._rest(task, self._pace.unknown_s)
        return True

    async def _let_go(self, task: TaskId) -> None:
        """Delete the inputs of a task that runs, where they are not to be kept."""
        held = self._spool.find(task)
        if self._inputs and held and held.size_bytes and Mark.INPUTS_GONE not in held.marks:
            await self._inputs.give_up(task, "inputs are not kept here once a node has them")

    async def _watch(self, task: TaskId) -> None:
        """Rest while the mirror says that the task runs.

        The mirror may be ahead of the scheduler's answer, which comes from its memory a moment after the write: then
        nobody will wake us up again, so the pause is short.
        """
        while self._is(task, TaskState.RUNNING) and await self._rest(task, self._pace.look_again_s):
            pass
        if not self._is(task, TaskState.RUNNING):
            await self._rest(task, self._pace.bus_retry_s)

    def _is(self, task: TaskId, state: TaskState) -> bool:
        """Whether the mirror says that the task is in this state."""
        record = self._cluster.task(task)
        return record is not None and record.task.state is state and not record.task.removed

    # --- after a restart or a mistake --------------------------------------------------------------------------------

    async def _resume(self, task: TaskId) -> bool:
        """Find out what became of a task meanwhile; False when it was never submitted or is gone. Raises NotFound."""
        try:
            record = await self._known(task)
        except Removed:
            await self._finisher.drop(task)
            return False
        held = self._spool.find(task)
        if record is None or held is None:
            return held is not None and Mark.SUBMITTED in held.marks
        if held.history is None:
            await self._spool.remember(task, recorded(record))
        elif is_behind(record, held.history):
            return await self._submit_again(task)
        if record.state is TaskState.FORWARDING and record.attempt is not None:
            await self._attempts.give_up(task, record.attempt.number, "the proxy was restarted while it sent the files")
        return True

    async def _known(self, task: TaskId) -> Task | None:
        """Ask for the task until there is an answer; None: it is unknown. Raises Removed."""
        while True:
            try:
                async with self._resuming:
                    return (await self._bus.ask(GET_TASK, TaskRef(task=task))).task
            except Removed:
                raise
            except NotFound:
                return None
            except ClusterError as error:
                log.warning("cannot ask for a held task", task=task, reason=error.message)
                await asyncio.sleep(self._pace.bus_retry_s)
