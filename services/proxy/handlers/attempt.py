"""One attempt: a task's files to one node, then its commit; at the end the scheduler is told how it went.

    begin ──▶ send (several files at once) ──▶ confirm ──▶ commit ──▶ REPORT_FORWARDED
      └──────────── any failure that ends the attempt ─────────────▶ REPORT_FORWARD_FAILED

Meanwhile RENEW_ATTEMPT says every few seconds that we are still at it. Refused, the attempt no longer counts (the task was
canceled, or the scheduler gave the attempt up): sending stops at once and nothing is reported. *Confirm* is one more renewal
that must be answered before the commit goes out, so that nothing is started on a node that nobody waits for.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog

from libs.common.errors import BusFailed, ClusterError, NodeFailed, NodeUnreachable, Refused
from libs.common.lifecycle import leaves
from libs.common.messages import (
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    Placed,
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
    Request,
)
from libs.common.model import TaskId
from libs.common.ports import Bus
from services.proxy.core.forwarding import Outcome, Step, Verdict, judge, sending_order
from services.proxy.ports import Draft, Manifest, NodeRefused, Sender, Spool

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things are asked again, in seconds."""

    renew_s: float = 5.0
    look_again_s: float = 60.0
    """A running task is looked at, even when the mirror says nothing."""
    bus_retry_s: float = 1.0
    """After the bus did not answer."""
    failure_pause_s: float = 5.0
    """After a mistake of our own."""


class AttemptOver(Exception):
    """The attempt no longer counts."""


class StepFailed(Exception):
    """A step has ended the attempt."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


async def tell(bus: Bus, request: Request[Any, Any], message: Any, retry_s: float) -> None:
    """Tell the scheduler something that it must hear, however long NATS is away. A refusal is an answer too."""
    while True:
        try:
            await bus.ask(request, message)
        except BusFailed as error:
            log.warning("report not heard yet", task=message.task, attempt=message.attempt, reason=error.message)
            await asyncio.sleep(retry_s)
        except ClusterError as error:
            log.info("report refused", task=message.task, attempt=message.attempt, reason=error.message)
            return
        else:
            return


class Attempt:
    """Forwards one task to the node that it was placed on."""

    def __init__(  # noqa: PLR0913 what it works with, and on
        self,
        bus: Bus,
        spool: Spool,
        sender: Sender,
        *,
        placed: Placed,
        draft: Draft,
        manifest: Manifest,
        parallel_count: int,
        woken: asyncio.Event,
        pace: Pace,
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._sender = sender
        self._placed = placed
        self._draft = draft
        self._sizes = {file.name: file.size_bytes for file in manifest.files}
        self._parallel_count = parallel_count
        self._woken = woken
        self._pace = pace
        self._committing = False
        self._sent_count = 0
        self._sent_bytes = 0
        self._log = log.bind(task=draft.task, node=placed.node.name, attempt=placed.attempt)

    @property
    def committing(self) -> bool:
        """Whether the commit may be on its way: then only the node knows whether it has the task."""
        return self._committing

    @property
    def _task(self) -> TaskId:
        return self._draft.task

    async def run(self) -> None:
        """Send, commit, report."""
        self._log.info("forwarding", files=len(self._sizes), size_bytes=sum(self._sizes.values()))
        verdict: Verdict | None = None
        over = ""
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(), name=f"renew {self._task}")
                verdict = await self._deliver()
                renewing.cancel()
        except* AttemptOver as stopped:
            over = str(leaves(stopped)[0])
        if over:
            self._log.info("forwarding stopped", reason=over)
        else:
            await self._report(verdict)

    # --- the scheduler ---------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Say again and again that we are at it; at once when something about the task has changed.

        Once the commit is on its way there is no way back: it is sent to the end, and the report says so.
        """
        while not self._committing:
            try:
                async with asyncio.timeout(self._pace.renew_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            if not self._committing:
                await self._renew_once()

    async def _renew_once(self) -> bool:
        """Renew; whether the scheduler has heard it. Raises AttemptOver."""
        message = RenewAttempt(
            task=self._task,
            attempt=self._placed.attempt,
            holder=self._spool.instance,
            sent_count=self._sent_count,
            sent_bytes=self._sent_bytes,
            epoch=self._placed.epoch,
        )
        try:
            await self._bus.ask(RENEW_ATTEMPT, message)
        except Refused as error:
            raise AttemptOver(error.message) from None
        except ClusterError as error:
            self._log.warning("attempt not renewed", reason=error.message)
            return False
        return True

    async def _confirm(self) -> None:
        """Wait until the scheduler says that the attempt still counts. Raises AttemptOver."""
        while True:
            if await self._renew_once():
                return
            await asyncio.sleep(self._pace.bus_retry_s)

    async def _report(self, verdict: Verdict | None) -> None:
        """Tell how it went, until it is heard."""
        task, attempt, holder = self._task, self._placed.attempt, self._spool.instance
        if verdict is None:
            self._log.info("forwarded", sent_bytes=self._sent_bytes)
            forwarded = ReportForwarded(task=task, attempt=attempt, holder=holder, epoch=self._placed.epoch)
            await tell(self._bus, REPORT_FORWARDED, forwarded, self._pace.bus_retry_s)
            return
        self._log.warning("forwarding failed", reason=verdict.reason, uncertain=verdict.commit_uncertain)
        failed = ReportForwardFailed(
            task=task,
            attempt=attempt,
            holder=holder,
            reason=verdict.reason,
            node_refused=verdict.node_refused,
            commit_uncertain=verdict.commit_uncertain,
            epoch=self._placed.epoch,
        )
        await tell(self._bus, REPORT_FORWARD_FAILED, failed, self._pace.bus_retry_s)

    # --- the node --------------------------------------------------------------------------------------------------

    async def _deliver(self) -> Verdict | None:
        """Take every step; None when the node has the task, else what went wrong. Raises AttemptOver."""
        try:
            await self._take_steps()
        except StepFailed as failed:
            return failed.verdict
        except OSError as error:
            return Verdict(reason=f"the stored files cannot be read ({error.strerror})", node_refused=True)
        return None

    async def _take_steps(self) -> None:
        node, node_task = self._placed.node, self._placed.node_task_id
        if self._draft.zip_url:
            await self._last_step(Step.SUBMIT, lambda: self._sender.submit_zip(node, node_task, self._draft))
            return
        await self._step(Step.BEGIN, lambda: self._sender.begin(node, node_task, self._draft))
        await self._send_files()
        await self._last_step(Step.COMMIT, lambda: self._sender.commit(node, node_task))

    async def _last_step(self, step: Step, act: Callable[[], Awaitable[None]]) -> None:
        """Take the step after which the task runs, if it still counts."""
        await self._confirm()
        self._committing = True
        await self._step(step, act)

    async def _send_files(self) -> None:
        """Send all files, several at once; the first failure ends all."""
        names = deque(sending_order(self._sizes))
        failures: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(self._parallel_count, len(names))):
                    group.create_task(self._send_some(names), name=f"send {self._task} {number}")
        except* (StepFailed, OSError) as group_of_failures:
            failures = leaves(group_of_failures)
        if failures:
            raise failures[0]

    async def _send_some(self, names: deque[str]) -> None:
        while names:
            name = names.popleft()
            await self._step(Step.SEND, lambda name=name: self._send_one(name))  # type: ignore[misc]
            self._sent_count += 1
            self._sent_bytes += self._sizes[name]

    def _send_one(self, name: str) -> Awaitable[None]:
        path = self._spool.path(self._task, name)
        return self._sender.send(self._placed.node, self._placed.node_task_id, name, path)

    async def _step(self, step: Step, act: Callable[[], Awaitable[None]]) -> None:
        """Take one step, again as long as the node has not seen it. Raises StepFailed."""
        for tries_count in count(1):
            try:
                await act()
            except NodeFailed as error:
                verdict = judge(step, outcome_of(error), error.message, tries_count)
                if verdict.again_after_s is None:
                    raise StepFailed(verdict) from None
                self._log.info("node not reached, trying again", step=step.name, reason=error.message)
                await asyncio.sleep(verdict.again_after_s)
            else:
                return


def outcome_of(error: NodeFailed) -> Outcome:
    """Say how the answer failed to come."""
    if isinstance(error, NodeUnreachable):
        return Outcome.UNREACHABLE
    return Outcome.REFUSED if isinstance(error, NodeRefused) else Outcome.UNKNOWN
