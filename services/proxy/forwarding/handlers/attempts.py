"""The attempts of held tasks: each placement begins one, once. What is cut off or cannot be begun is reported as failed.

An attempt of which we know nothing (we were restarted while it was under way) is never begun again: it is reported as failed
and uncertain, because whether its commit reached the node is known to the node alone.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant, WallMs
from clusterodm.libs.common.errors import ClusterError, Refused
from clusterodm.libs.common.messages.placement import (
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    Placed,
    RenewAttempt,
    ReportForwardFailed,
)
from clusterodm.libs.common.messages.tasks import AttemptStage, TaskRecord
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.services.proxy.forwarding.core.decisions import StepDecision
from clusterodm.services.proxy.forwarding.handlers.attempt import (
    AttemptOver,
    AttemptRun,
    ForwardingIntervals,
    report_until_heard,
)
from clusterodm.services.proxy.forwarding.handlers.delivery import Delivery, StepFailed
from clusterodm.services.proxy.forwarding.handlers.stage_in import UploadStageIn
from clusterodm.services.proxy.forwarding.handlers.staging import Leftovers
from clusterodm.services.proxy.forwarding.ports import Sender, TaskEnd
from clusterodm.services.proxy.spool.core.history import History, begun, is_noted, reached
from clusterodm.services.proxy.spool.core.upload import Mark
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

STOP_REPORT_S: Final = 1.0
SMALL_BYTES: Final = 1 << 20
"""It goes to a node in less time than whoever asks the node about it takes."""
NO_INPUTS: Final = "its inputs are not kept any more"


@dataclass
class TaskLoop:
    """What is remembered of one task's loop."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    """The last attempt that was begun; none is ever begun twice."""


async def taken_up(bus: Bus, upload_owner: InstanceId, task: TaskId, placed: Placed, retry_s: float) -> Instant:
    """Tell the scheduler that an attempt is about to begin, until it is heard; when what it answered was asked. Raises AttemptOver.

    Nothing may go to its node before: who has not heard of us within seconds gives the slot to somebody else, without asking the node.
    """
    message = RenewAttempt(task=task, attempt=placed.attempt, upload_owner=upload_owner, epoch=placed.epoch)
    while True:
        asked = monotonic_s()
        try:
            await bus.request(RENEW_ATTEMPT, message)
        except Refused as error:
            raise AttemptOver(error.message) from None
        except ClusterError as error:
            log.warning("attempt.pickup_deferred", task=task, attempt=placed.attempt, reason=error.message)
            await asyncio.sleep(retry_s)
        else:
            return asked


class AttemptRunner:
    """Begins attempts, and reports those that come to nothing."""

    def __init__(  # noqa: PLR0913 what it works with
        self,
        bus: Bus,
        spool: Spool,
        sender: Sender,
        end: TaskEnd,
        stage_in: UploadStageIn,
        *,
        parallel_count: int,
        intervals: ForwardingIntervals,
        now_ms: Callable[[], WallMs],
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._sender = sender
        self._end = end
        self._stage_in = stage_in
        self._parallel_count = parallel_count
        self._intervals = intervals
        self._now_ms = now_ms
        self.leftovers = Leftovers(sender, intervals.retries.leftovers)

    async def run(
        self, task: TaskId, placed: Placed, loop: TaskLoop, asked: Instant | None = None
    ) -> TaskRecord | None:
        """Bring a task to the node that it was placed on, unless that was tried already; its record, where the node has it.

        `asked`: when it was asked where it goes, by a question about this task. For a small one that counts for the first renewal.
        """
        if not placed.ahead or placed.attempt <= loop.begun:
            self._stage_in.give_up(task, f"the task is placed on {placed.node.name}")
        if why_not := self._why_not(task, placed, loop):
            await self.give_up(task, placed.attempt, why_not, untouched=why_not == NO_INPUTS)
            return None
        loop.begun = placed.attempt
        try:
            at = await self._taken_up(task, placed, asked)
        except AttemptOver as over:
            log.info("attempt.not_begun", task=task, attempt=placed.attempt, reason=str(over))
            self._stage_in.give_up(task, str(over))
            return None
        if why_not := await self._why_not_noted(task, placed):
            await self.give_up(task, placed.attempt, why_not)
            return None
        return await self._go(task, placed, loop, at)

    async def _taken_up(self, task: TaskId, placed: Placed, asked: Instant | None) -> Instant:
        """Say when the scheduler was asked whose answer lets an attempt begin: just now, or once more. Raises AttemptOver."""
        if asked is None or placed.again or not self.is_small(task) or monotonic_s() - asked >= self._intervals.fresh_s:
            return await taken_up(self._bus, self._spool.instance, task, placed, self._intervals.bus_retry_s)
        return asked

    def is_small(self, task: TaskId) -> bool:
        """Whether it comes to its commit a moment after it was placed: then that answer counts for both, and one note. Of a task that is held it never changes."""
        held = self._spool.find(task)
        return held is not None and held.size_bytes <= SMALL_BYTES

    async def _go(self, task: TaskId, placed: Placed, loop: TaskLoop, taken_up_at: Instant) -> TaskRecord | None:
        """Send it. What is cut off is reported."""
        attempt = AttemptRun(
            self._bus,
            self._spool.instance,
            self._delivery(task, placed),
            before=self._stage_in.take if placed.ahead else None,
            note=lambda stage: self._note(task, stage),
            placed=placed,
            manifest=await self._spool.manifest(task),
            woken=loop.woken,
            intervals=self._intervals,
            taken_up_at=taken_up_at,
        )
        try:
            with self._stage_in.giving_way():
                return await attempt.run()
        except asyncio.CancelledError:
            await self._say_stopped(task, placed, committing=attempt.committing)
            raise
        finally:
            if attempt.leftover:
                await self.leftovers.remove_later(task, placed.node, placed.node_task_id)

    def _why_not(self, task: TaskId, placed: Placed, loop: TaskLoop) -> str:
        """Say why an attempt is not to be begun; empty: it is."""
        if placed.attempt <= loop.begun or is_noted(placed, self._history(task)):
            return "sending was interrupted"
        held = self._spool.find(task)
        return NO_INPUTS if held is not None and Mark.INPUTS_GONE in held.marks else ""

    async def _why_not_noted(self, task: TaskId, placed: Placed) -> str:
        """Remember an attempt before its node hears of it; why that was not possible."""
        try:
            await self._end.begun_again(task)
            stage = AttemptStage.COMMITTING if self.is_small(task) else AttemptStage.SENDING
            await self._spool.remember(task, begun(self._history(task), placed, self._now_ms(), stage))
        except (ClusterError, OSError) as error:
            return f"its proxy cannot write to its disk ({error})"
        return ""

    async def _note(self, task: TaskId, stage: AttemptStage) -> None:
        """Remember how far the attempt has come. Raises StepFailed. The disk is waited for only before a commit: of anything else its node can be asked."""
        history = self._history(task)
        if history.attempts and history.attempts[-1].stage is not stage:
            try:
                durably = stage is AttemptStage.COMMITTING
                await self._spool.remember(task, reached(history, stage, self._now_ms()), durably=durably)
            except (ClusterError, OSError) as error:
                raise StepFailed(StepDecision(reason=f"its proxy cannot write to its disk ({error})")) from None

    def _history(self, task: TaskId) -> History:
        held = self._spool.find(task)
        return (held.history if held else None) or History()

    def _delivery(self, task: TaskId, placed: Placed) -> Delivery:
        draft = self._spool.draft(task)
        return Delivery(
            self._sender,
            self._spool,
            draft,
            placed.node,
            placed.node_task_id,
            parallel_count=self._parallel_count,
            retries=self._intervals.retries,
            distrust=self._stage_in.distrust,
            clock=self._stage_in.clock,
        )

    async def _say_stopped(self, task: TaskId, placed: Placed, *, committing: bool) -> None:
        """Report the attempt that our own stop cuts off, so that the next one need not wait until we are back."""
        report = ReportForwardFailed(
            task=task,
            attempt=placed.attempt,
            upload_owner=self._spool.instance,
            reason="the proxy was stopped while it sent the files",
            commit_uncertain=committing,
            epoch=placed.epoch,
        )
        with suppress(ClusterError):
            await self._bus.request(REPORT_FORWARD_FAILED, report, timeout_s=STOP_REPORT_S)

    async def give_up(self, task: TaskId, attempt: int, reason: str, *, untouched: bool = False) -> None:
        """Report an attempt of which we know nothing: what the node has of it, only the node knows.

        `untouched`: the node has nothing of it, and no other will have.
        """
        log.warning("attempt.given_up", task=task, attempt=attempt, reason=reason)
        message = ReportForwardFailed(
            task=task,
            attempt=attempt,
            upload_owner=self._spool.instance,
            reason=reason,
            node_refused=untouched,
            commit_uncertain=not untouched,
        )
        await report_until_heard(self._bus, REPORT_FORWARD_FAILED, message, self._intervals.bus_retry_s)
