"""What becomes of the committed tasks that this proxy holds, each from its commit until it has ended.

    ask (placement_requests.py) ──Placed──▶ one attempt (attempts.py) ──▶ ask again
         │──Waiting──▶ rest; the open question is answered when there is a slot
         └──NotWaiting──▶ runs:    rest until the mirror shows something else ──▶ ask again
                          ended:   finishing/handlers.py ──▶ done
                          removed: drop the inputs ──▶ done
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

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final

import structlog

from libs.common.errors import ClusterError, NotFound, Removed
from libs.common.lifecycle import Crew, now_ms
from libs.common.loops import background
from libs.common.messages import PLACEMENT_POSSIBLE, NotWaiting, Placed, PlaceReply, SentAhead, Waiting
from libs.common.model import TaskId, TaskState
from libs.common.ports import Bus
from services.proxy.cluster.ports import ClusterView
from services.proxy.finishing.handlers import Finisher, Inputs
from services.proxy.forwarding.core.decisions import Move, next_move
from services.proxy.forwarding.handlers.attempt import Pace
from services.proxy.forwarding.handlers.attempts import Attempts, Loop
from services.proxy.forwarding.handlers.placement_requests import Asker
from services.proxy.forwarding.handlers.resubmit import Adopter, Resumer
from services.proxy.forwarding.handlers.stage_in import Ahead
from services.proxy.forwarding.ports import Sender
from services.proxy.spool.core.history import History, contradicts
from services.proxy.spool.core.upload import Mark, StoredFile
from services.proxy.spool.ports import Spool

log = structlog.get_logger()

WORK_COUNT: Final = 1_000_000
"""What is done for a task is bounded where it costs: how many send, how many are resumed at once."""

SWEPT_COUNT: Final = 100

SWEEPS_COUNT: Final = 12
"""So many times in `look_again_s` some tasks are asked about."""

GONE: Final = -1.0
"""There is nothing more to do for a task."""

NOW: Final = 0.0


@dataclass
class Held(Loop):
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
        self._resumer = Resumer(bus, spool, self._attempts, self._pace)
        self._held: dict[TaskId, Held] = {}
        self._sending: dict[TaskId, int] = {}
        """Attempts that were begun here and are not over."""
        self._crew = Crew(WORK_COUNT)
        self._asker = Asker(
            bus,
            spool.instance,
            run=uuid.uuid4().hex,
            places_count=tasks_count,
            pace=self._pace,
            sending=lambda: self._sending,
            ahead_of=self.ahead_of,
            answered=self._answered,
        )

    def __repr__(self) -> str:
        """Show how many tasks it looks after."""
        return f"Forwarder(held={len(self._held)} sending={len(self._sending)})"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what the spool holds, and forward while the context is open."""
        self._cluster.on_task(self._wake)
        async with (
            self._bus.listen(PLACEMENT_POSSIBLE, self._asker.hear),
            self._ahead.running(),
            self._attempts.leftovers.running(),
            self._crew,
            self._asking(),
        ):
            for held in self._spool.held():
                if held.committed:
                    await self._take_up(held.draft.task, resumed=True)
            yield

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        async with (
            background(self._asker.ask_about_named, "ask about tasks"),
            background(self._asker.hold_open, "ask for slots"),
            background(self._sweep, "look at held tasks"),
        ):
            yield
        for held in self._held.values():
            held.cancel_timer()
        await self._asker.stop()

    # --- the HTTP side ---------------------------------------------------------------------------------------------

    async def adopt(self, task: TaskId) -> None:
        """Take over a task that the scheduler has just acknowledged."""
        with suppress(NotFound):
            await self._remember(task)
            await self._take_up(task)

    async def _remember(self, task: TaskId) -> None:
        held, record = self._spool.find(task), self._cluster.task(task)
        if held is None or held.history is None:
            committed_at_ms = record.task.committed_at_ms if record else 0
            await self._spool.remember(task, History(committed_at_ms=committed_at_ms))

    async def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> None:
        """Take note of files that may go ahead."""
        await self._ahead.arrived(task, files)

    async def ahead_of(self, task: TaskId) -> SentAhead | None:
        """Say with what an attempt of a committed task could go on."""
        with suppress(NotFound):
            return await self._ahead.offer(task)
        return None

    # --- entries ---------------------------------------------------------------------------------------------------

    async def _take_up(self, task: TaskId, *, resumed: bool = False) -> None:
        if task not in self._held:
            self._held[task] = Held()
            if resumed:
                await self._begin(task, partial(self._resume, task))
            else:
                self._asker.name(task)

    def look_again(self) -> None:
        """Ask about all tasks: what the scheduler knows of them may be another thing altogether."""
        self._asker.begin_anew()
        for task, held in self._held.items():
            if held.at_work:
                held.woken.set()
            else:
                self._asker.name(task)

    def _forget(self, task: TaskId) -> None:
        self._held.pop(task).cancel_timer()
        self._asker.waits_no_more(task)

    def _wake(self, task: TaskId) -> None:
        """Ask about a task of which the mirror shows something new."""
        held = self._held.get(task)
        if held is None:
            return
        if held.at_work:
            if not (held.sending and self._is(task, TaskState.FORWARDING)):
                held.woken.set()
        elif not self._is_as_said(task, held):
            self._asker.name(task)

    def _is_as_said(self, task: TaskId, held: Held) -> bool:
        """Whether the mirror shows what the scheduler has said, or is about to say: it is asked, or just places the task."""
        if held.state is None or (held.state is TaskState.WAITING and self._is(task, TaskState.FORWARDING)):
            return True
        return self._is(task, held.state)

    def _is(self, task: TaskId, state: TaskState) -> bool:
        """Whether the mirror says that the task is in this state."""
        record = self._cluster.task(task)
        return record is not None and record.task.state is state and not record.task.removed

    async def _sweep(self) -> None:
        """Ask now and then about tasks of which nothing has been heard: a mirror may have missed something."""
        while True:
            tasks = list(self._held)
            size = min(SWEPT_COUNT, -(-len(tasks) // SWEEPS_COUNT)) or 1
            for at in range(0, max(len(tasks), 1), size):
                await asyncio.sleep(self._pace.look_again_s / SWEEPS_COUNT)
                for task in tasks[at : at + size]:
                    if task in self._held and not self._held[task].at_work:
                        self._asker.name(task)

    # --- what the scheduler says -----------------------------------------------------------------------------------

    async def _answered(self, task: TaskId, answer: PlaceReply, named: bool) -> None:
        """Do what an answer asks for; what is being done for a task is finished first, and then the question is asked again."""
        held = self._held.get(task)
        if held is None:
            if not isinstance(answer, Placed) or self._spool.find(task) is None:
                return
            held = self._held[task] = Held()  # its commit was answered a moment ago
        if held.at_work:
            if not isinstance(answer, Placed) or self._sending.get(task) != answer.attempt:
                held.woken.set()
            return
        held.cancel_timer()
        match answer:
            case Placed():
                await self._placed(task, held, answer)
            case Waiting():
                await self._waits(task, held, named=named)
            case NotWaiting():
                await self._waits_not(task, held, answer)

    async def _placed(self, task: TaskId, held: Held, placed: Placed) -> None:
        self._asker.waits_no_more(task)
        held.state = TaskState.FORWARDING
        self._sending[task] = placed.attempt
        await self._begin(task, partial(self._send, task, held, placed))

    async def _waits(self, task: TaskId, held: Held, *, named: bool) -> None:
        held.state = TaskState.WAITING
        self._asker.waits(task)
        if named:
            self._ahead.give_up(task, "the task was not placed at once")
        if await self._adopter.is_forgotten(task):
            await self._begin(task, partial(self._submit_again, task))
        else:
            self._rest(task, held, self._until_the_mirror_agrees_s(task, held))

    async def _waits_not(self, task: TaskId, held: Held, answer: NotWaiting) -> None:
        self._asker.waits_no_more(task)
        move = next_move(answer.state, removed=answer.removed)
        held.state = TaskState.RUNNING if move is Move.WATCH else answer.state
        acts: dict[Move, Callable[[TaskId], Awaitable[float]]] = {
            Move.ADOPT: self._submit_again,
            Move.DROP: self._drop,
            Move.FINISH: self._finish,
            Move.WATCH: self._watch,
        }
        await self._begin(task, partial(acts[move], task))

    def _until_the_mirror_agrees_s(self, task: TaskId, held: Held) -> float:
        """Say how long to rest; for ever when the mirror shows what the scheduler says.

        The mirror may be ahead of an answer, which comes from memory a moment after the write: then nobody will wake us up
        again. It may also lag.
        """
        if self._is_as_said(task, held):
            held.doubts_count = 0
            return inf
        held.doubts_count = min(held.doubts_count + 1, 20)
        return min(self._pace.bus_retry_s * 2.0 ** (held.doubts_count - 1), self._pace.look_again_s)

    # --- what is done for one task -----------------------------------------------------------------------------------

    async def _begin(self, task: TaskId, act: Callable[[], Awaitable[float]]) -> None:
        held = self._held[task]
        held.at_work = True
        held.woken.clear()
        await self._crew.start(self._work(task, held, act), name=f"forward {task}")

    async def _work(self, task: TaskId, held: Held, act: Callable[[], Awaitable[float]]) -> None:
        """Do something for a task, whatever goes wrong; `act` says after how many seconds it is to be asked about again."""
        after_s = self._pace.failure_pause_s
        try:
            after_s = await act()
        except ClusterError as error:
            log.warning("forwarding interrupted", task=task, reason=error.message)
            after_s = after_s if self._spool.find(task) else GONE
        except Exception:
            log.exception("forwarding failed unexpectedly", task=task)
        finally:
            held.at_work = False
            self._sending.pop(task, None)
        if after_s == GONE:
            self._forget(task)
        else:
            self._rest(task, held, NOW if held.woken.is_set() else after_s)

    def _rest(self, task: TaskId, held: Held, seconds: float) -> None:
        """Let a task be until it is woken, or for so long."""
        held.cancel_timer()
        if seconds == NOW:
            self._asker.name(task)
        elif seconds < inf:
            held.timer = asyncio.get_running_loop().call_later(seconds, self._asker.name, task)

    async def _send(self, task: TaskId, held: Held, placed: Placed) -> float:
        """Go where it is placed."""
        if self._contradicts(task, placed):
            log.warning("placement comes from older records", task=task, attempt=placed.attempt)
            after_s = await self._submit_again(task)
            return after_s if after_s == GONE else max(after_s, self._pace.bus_retry_s)
        async with self._room:
            await self._attempts.run(task, placed, held)
        return NOW

    def _contradicts(self, task: TaskId, placed: Placed) -> bool:
        held = self._spool.find(task)
        return held is not None and held.history is not None and contradicts(placed, held.history)

    async def _submit_again(self, task: TaskId) -> float:
        """Tell the scheduler of what its records do not know."""
        try:
            async with self._resumer.room:
                await self._adopter.submit_again(task)
        except Removed:
            return await self._drop(task)
        except ClusterError as error:
            log.error("task not submitted again, its inputs stay", task=task, reason=error.message)  # noqa: TRY400 the reason is all
            return self._pace.unknown_s
        return NOW

    async def _drop(self, task: TaskId) -> float:
        """Delete the inputs of a task that was removed."""
        await self._finisher.drop(task)
        return GONE

    async def _finish(self, task: TaskId) -> float:
        """Tell the client of the end; the inputs stay for a while where they may be needed again."""
        if await self._adopter.is_forgotten(task):
            return await self._submit_again(task)
        kept_s = await self._finisher.finish(task)
        if kept_s == 0:
            return GONE
        return self._pace.bus_retry_s if kept_s is None else kept_s

    async def _watch(self, task: TaskId) -> float:
        """Let a task run."""
        if await self._adopter.is_forgotten(task):
            return await self._submit_again(task)
        await self._finisher.begun_again(task)
        await self._let_go(task)
        return self._until_the_mirror_agrees_s(task, self._held[task])

    async def _let_go(self, task: TaskId) -> None:
        """Delete the inputs of a task that runs, where they are not to be kept."""
        held = self._spool.find(task)
        if self._inputs and held and held.size_bytes and Mark.INPUTS_GONE not in held.marks:
            await self._inputs.give_up(task, "inputs are not kept here once a node has them")

    async def _resume(self, task: TaskId) -> float:
        """Find out what became of a task while nobody was here."""
        match await self._resumer.resume(task):
            case Move.DROP:
                return await self._drop(task)
            case Move.ADOPT:
                return await self._submit_again(task)
            case Move.WATCH:
                return NOW
            case _:
                return GONE
