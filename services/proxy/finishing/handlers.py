"""When a held task has ended: its client's webhook, then the inputs go; and inputs that go before that.

A webhook and the inputs are safe from a restart: the webhook is marked in the spool when it was delivered or given up, and only then the spool
entry is removed. At worst a client hears of the end twice. NodeODM's rules: a POST of JSON (the task's info, plus `images`: objects as
in its images.json, of which the name is known here), six tries. A task that was restarted in the meantime keeps its inputs, and its next end is told again.

What failed or was canceled may be restarted with other options, on another node when its own is gone: its inputs are
kept for `keep_failed_s`. The scheduler consents before they go. Of what is completed the record says that no attempt follows.

Kept inputs may go earlier: under disk pressure, by `--keep-inputs`, or after their time.
The scheduler is told first: once it has answered, it makes no new attempt of the task and says why in its timeline, and only
then the files are deleted. Where it refuses (the task has just lost its node and needs them), does not know the task, or
cannot be asked, they stay.
The rest of the spool entry stays until the task has ended: the client's webhook is still to be called. Of what failed, was canceled or removed
it stays until the nodes of its attempts have been told: should its record be lost before, only these notes say where it still runs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock, InstantCache, read, seen_s
from clusterodm.libs.common.errors import BusFailed, NotFound, Refused, Removed
from clusterodm.libs.common.messages.placement import REPORT_INPUTS_GONE, ReportInputsGone
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.process.loops import background, every
from clusterodm.services.proxy.cluster.ports import ClusterView
from clusterodm.services.proxy.errors import WebhookFailed, WebhookRefused
from clusterodm.services.proxy.finishing.core import EvictionCandidate, to_give_up
from clusterodm.services.proxy.metrics import WEBHOOKS
from clusterodm.services.proxy.spool.core.history import History, ended, is_before, is_removed, removed, runs_again
from clusterodm.services.proxy.spool.core.upload import Mark, is_image
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

RELIEVE_EVERY_S: Final = 5.0
UNTOLD_S: Final = 10.0
"""Between two looks whether the nodes of a task have been told."""
DISK_IS_FULL: Final = "the disk of the server that kept them is full"

RETRY_AFTER_S: Final = (5.0, 10.0, 15.0, 20.0, 25.0)
"""Between the six tries."""


NotifyEnd = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Takes the token with which a task came, and how it has ended."""


class Webhook(Protocol):
    """The way to a client's own server: it is told that its task has ended."""

    async def post(self, url: str, body: bytes) -> None:
        """POST JSON once, http(s) only, within 10 s. Raises WebhookFailed, WebhookRefused when no try would help."""


class Inputs:
    """Gives kept inputs up."""

    def __init__(self, bus: Bus, spool: Spool, cluster: ClusterView) -> None:
        self._bus = bus
        self._spool = spool
        self._cluster = cluster

    async def relieve(self) -> None:
        """Free what should be free on the disk, as far as kept inputs can do it."""
        if wanted := self._spool.wanted_bytes():
            for task in to_give_up(await self._kept(), wanted):
                await self.give_up(task, DISK_IS_FULL)

    async def give_up(self, task: TaskId, reason: str) -> bool:
        """Delete the inputs of a task with the scheduler's consent; whether they are gone."""
        try:
            if not await self.allowed(task, reason):
                return False
        except BusFailed as error:
            log.info("inputs.kept", task=task, reason=error.message)
            return False
        await self._spool.give_up(task)
        log.warning("inputs.given_up", task=task, reason=reason)
        return True

    async def allowed(self, task: TaskId, reason: str) -> bool:
        """Tell the scheduler that the inputs are about to go; whether they may. Raises BusFailed."""
        message = ReportInputsGone(task=task, upload_owner=self._spool.instance, reason=reason)
        try:
            await self._bus.request(REPORT_INPUTS_GONE, message)
        except Removed:
            return True
        except Refused as error:
            log.info("inputs.kept", task=task, reason=error.message)
            return False
        return True

    async def _kept(self) -> list[EvictionCandidate]:
        found = []
        for held in self._spool.held():
            if not held.committed or Mark.INPUTS_GONE in held.marks:
                continue
            record = self._cluster.task(held.draft.task) or await self._cluster.recall(held.draft.task)
            if record is not None:
                task = record.task
                found.append(EvictionCandidate(task.id, task.state, held.draft.received_at_ms, held.size_bytes))
        return found


class Finisher:
    """Ends what the spool holds of a task."""

    def __init__(  # noqa: PLR0913 what it works with
        self,
        bus: Bus,
        spool: Spool,
        webhook: Webhook,
        describe: Callable[[Task], Mapping[str, Any]],
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
        *,
        inputs: Inputs,
        keep_failed_s: float = 0.0,
        clock: Clock | None = None,
        notify_end: NotifyEnd | None = None,
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._webhook = webhook
        self._describe = describe
        """Makes the public info object of a task."""
        self._retry_after_s = retry_after_s
        self._inputs = inputs
        self._keep_failed_s = keep_failed_s
        self._clock = clock or SystemClock()
        self._notify_end = notify_end
        self._ended_at: InstantCache[TaskId] = InstantCache()

    async def finish(self, task: TaskId) -> float | None:
        """Tell the client, delete the inputs. Raises BusFailed.

        How long they are still kept, in seconds; 0: everything is gone; None: the task has not ended after all.
        """
        try:
            record = await self._ended(task)
            if record is None:
                return None
            await self._forget_former_end(record)
            await self._note_end(record)
            told = [await self._notify_account(record), await self._notify_client(record)]
            if any(told) and await self._ended(task) is None:  # that may have taken its time
                return None
        except NotFound:  # removed or lost: what becomes of it the answer to the next question says
            return None
        if kept_s := self._kept_s(record):
            return kept_s
        return await self._let_go(record) if await self._may_go(record) else None

    async def _let_go(self, record: Task) -> float:
        """Delete all of it; while nodes have still to be told, its inputs. After how many seconds to look again; 0: everything is gone."""
        if record.is_untold and record.state is not TaskState.COMPLETED:
            await self._delete_inputs(record.id, record.state)
            return UNTOLD_S
        await self._discard(record.id, record.state)
        return 0

    async def _forget_former_end(self, record: Task) -> None:
        """Begin anew where a task was restarted and has ended again before anybody here looked: this end is still to be told."""
        held = self._spool.find(record.id)
        former = held.history.end if held and held.history else None
        if former is not None and not is_before(record, former):
            await self.begun_again(record.id)

    async def begun_again(self, task: TaskId) -> None:
        """Remember that a task that had ended runs again."""
        held = self._spool.find(task)
        if held is not None and held.history is not None and held.history.end is not None:
            await self._spool.remember(task, runs_again(held.history))
        for mark in (Mark.WEBHOOK_DONE, Mark.ACCOUNT_TOLD):
            if held is not None and mark in held.marks:
                await self._spool.unmark(task, mark)

    async def _may_go(self, record: Task) -> bool:
        """Ask for the scheduler's consent, where its record does not say yet that no other attempt follows, as that of a completed task does. Raises BusFailed."""
        reason = "the task is completed" if record.state is TaskState.COMPLETED else "they were kept long enough"
        return not record.inputs_kept or await self._inputs.allowed(record.id, reason)

    def _kept_s(self, record: Task) -> float:
        held = self._spool.find(record.id)
        if record.state is TaskState.COMPLETED or held is None or Mark.INPUTS_GONE in held.marks:
            return 0
        now, keep_s = read(self._clock), self._keep_failed_s
        ended = self._ended_at.since(record.id, record.ended_at_ms or 0, now, keep_s - seen_s(keep_s))
        return max(0.0, keep_s - (now.instant - ended))

    async def drop(self, task: TaskId) -> None:
        """Delete all of a task of which a record or a tombstone says that it was removed, and no node has still to be told of it."""
        await self._discard(task, "removed")

    async def keep_notes(self, task: TaskId) -> None:
        """Delete the inputs of a task that was removed, and note that first; what is noted of its attempts stays."""
        held = self._spool.find(task)
        if held is not None and not is_removed(held.history):
            await self._spool.remember(task, removed(held.history or History(), self._clock.wall_ms()))
        await self._delete_inputs(task, "removed")

    async def _delete_inputs(self, task: TaskId, reason: str) -> None:
        """Delete them, and keep what is noted."""
        held = self._spool.find(task)
        if held is not None and Mark.INPUTS_GONE not in held.marks:
            await self._spool.give_up(task)
            log.info("inputs.deleted", task=task, reason=reason)

    async def _discard(self, task: TaskId, reason: str) -> None:
        await self._spool.discard(task)
        self._ended_at.forget(task)
        log.info("inputs.deleted", task=task, reason=reason)

    async def _ended(self, task: TaskId) -> Task | None:
        """Ask for the task; None when it has not ended."""
        record = (await self._bus.request(GET_TASK, TaskRef(task=task))).task
        return record if record.state.ended else None

    async def _note_end(self, record: Task) -> None:
        """Remember how it ended, unless it goes at once: should its record be lost, it does not run again."""
        held = self._spool.find(record.id)
        goes_at_once = record.state is TaskState.COMPLETED and not (held and (held.draft.webhook or held.draft.account))
        if held is None or goes_at_once:
            return
        after = ended(held.history or History(committed_at_ms=record.committed_at_ms), record)
        if after != held.history:
            await self._spool.remember(record.id, after)

    async def _notify_account(self, record: Task) -> bool:
        """Tell whoever checks tokens that a task has ended, once for each end; whether that was still to be done."""
        held = self._spool.find(record.id)
        if held is None or not held.draft.account or not self._notify_end or Mark.ACCOUNT_TOLD in held.marks:
            return False
        await self._notify_end(held.draft.account, self._describe(record))
        await self._spool.mark(record.id, Mark.ACCOUNT_TOLD)
        return True

    async def _notify_client(self, record: Task) -> bool:
        """Tell the client, as above."""
        held = self._spool.find(record.id)
        if held is None or not held.draft.webhook or Mark.WEBHOOK_DONE in held.marks:
            return False
        await self._deliver(record, held.draft.webhook)
        await self._spool.mark(record.id, Mark.WEBHOOK_DONE)
        return True

    async def _deliver(self, record: Task, url: str) -> None:
        """Try until it is delivered, or given up."""
        manifest = await self._spool.manifest(record.id)
        images = [{"filename": file.name} for file in manifest.files if is_image(file.name)]
        body = msgspec.json.encode({**self._describe(record), "images": images})
        for pause_s in (*self._retry_after_s, None):
            try:
                await self._webhook.post(url, body)
            except WebhookRefused as error:
                WEBHOOKS.inc("refused")
                log.warning("webhook.refused", task=record.id, reason=error.message)
                return
            except WebhookFailed as error:
                WEBHOOKS.inc("failed")
                log.warning("webhook.failed", task=record.id, reason=error.message, again_after_s=pause_s)
                if pause_s is None:
                    return
                await asyncio.sleep(pause_s)
            else:
                WEBHOOKS.inc("delivered")
                log.info("webhook.delivered", task=record.id, host=urlsplit(url).hostname)
                return


@asynccontextmanager
async def open_finishing(  # noqa: PLR0913 what it works with
    bus: Bus,
    spool: Spool,
    cluster: ClusterView,
    webhook: Webhook,
    describe: Callable[[Task], Mapping[str, Any]],
    *,
    keep_failed_s: float,
    notify_end: NotifyEnd | None = None,
) -> AsyncIterator[tuple[Finisher, Inputs]]:
    """Finish with tasks, and give kept inputs up where the disk gets scarce, while the context is open."""
    inputs = Inputs(bus, spool, cluster)
    finisher = Finisher(
        bus, spool, webhook, describe, inputs=inputs, keep_failed_s=keep_failed_s, notify_end=notify_end
    )
    async with background(lambda: every(RELIEVE_EVERY_S, inputs.relieve, "relieve the disk"), "relieve the disk"):
        yield finisher, inputs
