"""One attempt: a task's files to one node, then its commit; at the end the scheduler is told how it went.

    take up ──▶ begin ──▶ send (several files at once) ──▶ confirm ──▶ commit ──▶ (prove) ──▶ REPORT_FORWARDED
                  └──────────── any failure that ends the attempt ──────────────────────────▶ REPORT_FORWARD_FAILED

*Take up* is the first renewal; its answer is waited for, so that a slot that was given to somebody else meanwhile costs nothing. Where a small task was
placed a moment ago, by a question about it, that answer serves for it.
Meanwhile RENEW_ATTEMPT says every few seconds that we are still at it. Refused, the attempt no longer counts (the task was
canceled, or the scheduler gave the attempt up): sending stops at once and nothing is reported. *Confirm* is one more renewal
that must be answered before the commit goes out, so that nothing is started on a node that nobody waits for. Before it, the
spool notes that the commit may be on its way (of a small task with its beginning, and taken back where it comes to none): should all records be lost, the node is
asked before anything else happens. It counts for a short while only: a commit that comes later than that (a frozen process, a slow connection) is not sent but confirmed anew.
A small task comes to its commit a moment after it was taken up: that renewal, which the scheduler cannot tell from another, or that placement, is its confirmation.
*Prove* is there only when an image may lie on the node twice (delivery.py); the scheduler knows of the doubt before the commit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusFailed, ClusterError, Refused
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.placement import (
    COMMIT_WITHIN_S,
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    Placed,
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
)
from clusterodm.libs.common.messages.tasks import AttemptStage, TaskRecord
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import leaves, monotonic_s
from clusterodm.libs.common.process.moments import wait_for_event
from clusterodm.services.proxy.forwarding.core.decisions import Retries, StepDecision
from clusterodm.services.proxy.forwarding.handlers.delivery import Delivery, OnNode, StepFailed
from clusterodm.services.proxy.forwarding.handlers.spans import ForwardSpan
from clusterodm.services.proxy.metrics import FORWARD_SECONDS, FORWARDED
from clusterodm.services.proxy.spool.core.upload import Manifest

log = structlog.get_logger()

Reply = TypeVar("Reply")


@dataclass(frozen=True, kw_only=True)
class ForwardingLimits:
    """How much goes to nodes at the same time."""

    tasks_count: int
    files_count: int
    """Of one task."""
    ahead_from_bytes: int | None
    """Uploads of at least this size go ahead; None: none does."""
    one_link: bool
    """All transfers share one limit of speed."""


TakeOver = Callable[[TaskId, Placed], Awaitable[OnNode]]
"""Says what a node has already of a task that was placed there. Raises StepFailed."""

Note = Callable[[AttemptStage], Awaitable[None]]
"""Remembers how far an attempt has come. Raises StepFailed where that cannot be done."""


@dataclass(frozen=True, kw_only=True)
class ForwardingIntervals:
    """How often things are asked again, in seconds."""

    renew_s: float = 5.0
    fresh_s: float = 1.0
    """So long after an attempt was taken up its first commit needs no other confirmation; shorter than COMMIT_WITHIN_S."""
    sweep_s: float = 60.0
    """A running task is looked at, even when the mirror says nothing."""
    hold_s: float = 4.0
    """How long a question for slots stays open when there is nothing to say: so long a proxy that was killed still seems to ask."""
    bus_retry_s: float = 1.0
    """After the bus did not answer."""
    unknown_s: float = 5.0
    """While the scheduler does not know a task that it has acknowledged."""
    failure_pause_s: float = 5.0
    """After a mistake of our own."""
    retries: Retries = field(default_factory=Retries)


class AttemptOver(Exception):
    """The attempt no longer counts."""


async def report_until_heard(bus: Bus, request: Request[Any, Reply], message: Any, retry_s: float) -> Reply | None:
    """Tell the scheduler something that it must hear, however long NATS is away; what it says. None: it refuses, which is an answer too."""
    while True:
        try:
            return await bus.request(request, message)
        except BusFailed as error:
            log.warning("report.deferred", task=message.task, attempt=message.attempt, reason=error.message)
            await asyncio.sleep(retry_s)
        except ClusterError as error:
            log.info("report.refused", task=message.task, attempt=message.attempt, reason=error.message)
            return None


def outcome_of(decision: StepDecision | None, over: str) -> str:
    """Name what became of sending, for who counts."""
    if over:
        return "stopped"
    return "forwarded" if decision is None else "uncertain" if decision.commit_uncertain else "failed"


class AttemptRun:
    """Forwards one task to the node that it was placed on."""

    def __init__(  # noqa: PLR0913 what it works with, and on
        self,
        bus: Bus,
        upload_owner: InstanceId,
        delivery: Delivery,
        *,
        before: TakeOver | None = None,
        note: Note,
        placed: Placed,
        manifest: Manifest,
        woken: asyncio.Event,
        intervals: ForwardingIntervals,
        taken_up_at: Instant,
    ) -> None:
        self._bus = bus
        self._upload_owner = upload_owner
        self._delivery = delivery
        self._before = before
        """Given: files went ahead, and are taken over from there."""
        self._note = note
        self._task = delivery.draft.task
        self._placed = placed
        self._sizes = {file.name: file.size_bytes for file in manifest.files}
        self._woken = woken
        self._intervals = intervals
        self._taken_up_at: Instant | None = taken_up_at
        """None: that has served for a commit."""
        self._committing = False
        self._committed = False
        self._log = log.bind(task=self._task, node=placed.node.name, attempt=placed.attempt)

    @property
    def committing(self) -> bool:
        """Whether the commit may be on its way: then only the node knows whether it has the task."""
        return self._committing

    @property
    def leftover(self) -> bool:
        """Whether files may lie on the node that nobody will commit."""
        return self._delivery.touched and not self._committing and not self._committed

    async def run(self) -> TaskRecord | None:
        """Send, commit, report; the record of the task, where its node has it and the scheduler knows that."""
        self._log.info("forwarding.started", files=len(self._sizes), size_bytes=sum(self._sizes.values()))
        decision: StepDecision | None = None
        over, began = "", monotonic_s()
        span = ForwardSpan(self._task, self._placed)
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(), name=f"renew {self._task}")
                decision = await self._deliver()
                renewing.cancel()
        except* AttemptOver as stopped:
            over = str(leaves(stopped)[0])
        outcome = outcome_of(decision, over)
        FORWARDED.inc(outcome)
        FORWARD_SECONDS.observe(monotonic_s() - began, outcome, trace_id=span.trace_id)
        span.end(self._delivery.sent, over or (decision.reason if decision else ""))
        if not self._committing:
            with suppress(StepFailed):  # what is not taken back the node is asked for, should all records be lost
                await self._note(AttemptStage.SENDING)
        if over:
            self._log.info("forwarding.stopped", reason=over)
            return None
        return await self._report(decision)

    # --- the scheduler ---------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Say again and again that we are at it; at once when something about the task has changed.

        Once the commit is on its way there is no way back: it is sent to the end, and the report says so.
        """
        while not self._committing:
            await wait_for_event(self._woken, self._intervals.renew_s)
            self._woken.clear()
            self._taken_up_at = None  # there is news, or it is too old
            if not self._committing:
                await self._renew_once()

    async def _renew_once(self) -> bool:
        """Renew; whether the scheduler has heard it. Raises AttemptOver."""
        message = RenewAttempt(
            task=self._task,
            attempt=self._placed.attempt,
            upload_owner=self._upload_owner,
            sent_count=len(self._delivery.sent),
            sent_bytes=sum(self._delivery.sent.values()),
            doubtful=bool(self._delivery.doubted),
            epoch=self._placed.epoch,
        )
        try:
            await self._bus.request(RENEW_ATTEMPT, message)
        except Refused as error:
            raise AttemptOver(error.message) from None
        except ClusterError as error:
            self._log.warning("attempt.not_renewed", reason=error.message)
            return False
        return True

    async def _confirm(self) -> Instant:
        """Wait until the scheduler says that the attempt still counts; until when that holds. Raises AttemptOver."""
        await self._note(AttemptStage.COMMITTING)
        if (fresh := self._take_fresh()) is not None:
            self._committing = True
            return fresh + COMMIT_WITHIN_S
        while True:
            asked = monotonic_s()
            if await self._renew_once():
                self._committing = True
                return asked + COMMIT_WITHIN_S
            await asyncio.sleep(self._intervals.bus_retry_s)

    def _take_fresh(self) -> Instant | None:
        """Take the first renewal for the confirmation, once: when it was asked. None: it is too old, or there is news of the task, or for the scheduler."""
        asked, self._taken_up_at = self._taken_up_at, None
        has_changed = self._woken.is_set() or self._delivery.doubted
        return None if asked is None or has_changed or monotonic_s() - asked > self._intervals.fresh_s else asked

    async def _report(self, decision: StepDecision | None) -> TaskRecord | None:
        """Tell how it went, until it is heard. No decision: the node has taken the task, and the scheduler's record of it is returned."""
        task, attempt, upload_owner = self._task, self._placed.attempt, self._upload_owner
        if decision is None:
            self._log.info("forwarding.completed", sent_bytes=sum(self._delivery.sent.values()))
            with suppress(StepFailed):  # what is not noted here the node is asked for
                await self._note(AttemptStage.COMMITTED)
            forwarded = ReportForwarded(task=task, attempt=attempt, upload_owner=upload_owner, epoch=self._placed.epoch)
            return await report_until_heard(self._bus, REPORT_FORWARDED, forwarded, self._intervals.bus_retry_s)
        self._log.warning("forwarding.failed", reason=decision.reason, uncertain=decision.commit_uncertain)
        failed = ReportForwardFailed(
            task=task,
            attempt=attempt,
            upload_owner=upload_owner,
            reason=decision.reason,
            node_refused=decision.node_refused,
            commit_uncertain=decision.commit_uncertain,
            doubtful=bool(self._delivery.doubted),
            epoch=self._placed.epoch,
        )
        await report_until_heard(self._bus, REPORT_FORWARD_FAILED, failed, self._intervals.bus_retry_s)
        return None

    # --- the node --------------------------------------------------------------------------------------------------

    async def _deliver(self) -> StepDecision | None:
        """Take every step; None when the node has the task, else what went wrong. Raises AttemptOver."""
        try:
            await self._take_steps()
        except StepFailed as failed:
            self._committing = failed.decision.commit_uncertain
            return failed.decision
        except OSError as error:
            return StepDecision(reason=f"the stored files cannot be read ({error.strerror})", node_refused=True)
        return None

    async def _take_steps(self) -> None:
        if self._delivery.draft.zip_url:
            await self._delivery.submit_zip(self._confirm)
            return
        if self._before:
            self._delivery.go_on_from(await self._before(self._task, self._placed))
        else:
            await self._delivery.begin()
        await self._delivery.send_all(self._sizes)
        await self._delivery.commit(self._confirm)
        self._committed = True
        await self._delivery.prove(self._still_proving)

    async def _still_proving(self) -> None:
        """Say that we are at it. Raises AttemptOver."""
        await self._renew_once()
