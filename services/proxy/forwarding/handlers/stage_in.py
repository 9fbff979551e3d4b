"""Sends the files of an upload to the node where its task would go now, while the client still uploads.

    arrived ──worth it──▶ ask PLAN_STAGE_IN ──Aimed──▶ note it in the spool ──▶ init on the node ──▶ send what comes
                            ▲    │ StageInDeclined: ask again later                          │       ask again every few seconds
                            │                                                      │
                            └── remove it from the node ◀── given up ◀─────────────┤ StageInDeclined, a failure, nothing comes,
                                                                                   │ placed elsewhere, or waiting
                              an attempt goes on under the same id ◀── confirmed ◀─┘ placed there (AttemptRunner, `take`)

The commit on the node is never sent from here. The id on the node is a fresh one for every transfer and is used by one attempt at
most: the scheduler gives it to the attempt that it places on that node (`Placed.ahead`), and one that was given up is never
offered again. So whatever goes wrong here costs a transfer, never a file and never a task.

The note in the spool outlives us: after a crash, what went ahead is removed from the node and begun again. It goes before the
attempt may commit, so nothing that runs is ever removed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import ClusterError, NotFound
from clusterodm.libs.common.messages.placement import (
    PLAN_STAGE_IN,
    Placed,
    PlanStageIn,
    StageInDeclined,
    StageInPlanned,
    StageInReply,
)
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.services.proxy.forwarding.core.decisions import Distrust, Retries, StepDecision
from clusterodm.services.proxy.forwarding.core.stage_in import (
    TRIES_COUNT,
    PendingFiles,
    StagedUpload,
    why_afresh,
    why_end,
)
from clusterodm.services.proxy.forwarding.handlers.delivery import Delivery, OnNode, StepFailed
from clusterodm.services.proxy.forwarding.handlers.staging import Leftovers, StageInTransfer
from clusterodm.services.proxy.forwarding.ports import Sender
from clusterodm.services.proxy.metrics import STAGE_IN
from clusterodm.services.proxy.spool.core.upload import Draft, StoredFile
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

AHEAD_COUNT: Final = 4
"""Uploads of which files go ahead at the same time."""
PLAN_EVERY_S: Final = 5.0
"""A third of the time after which the scheduler forgets an upload that nobody asks about."""
LOOPS_COUNT: Final = 1_000_000
"""A loop that waits costs a few kilobytes; what is bounded is how many send."""


class UploadStageIn:
    """Looks after the uploads that are worth it. Open it with `running()`."""

    def __init__(  # noqa: PLR0913 what it works with, and how much at once
        self,
        bus: Bus,
        spool: Spool,
        sender: Sender,
        node_of: Callable[[NodeId], Node | None],
        *,
        from_bytes: int | None,
        parallel_count: int,
        one_link: bool,
        clock: Clock,
        fresh_id: Callable[[], str],
        retries: Retries | None = None,
        uploads_count: int = AHEAD_COUNT,
        plan_every_s: float = PLAN_EVERY_S,
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._sender = sender
        self._node_of = node_of
        self._from_bytes = from_bytes
        """Uploads of at least this size are worth it; None: none is."""
        self._parallel_count = parallel_count
        self._one_link = one_link
        """All transfers share one limit of speed."""
        self._plan_every_s = plan_every_s
        self.clock = clock
        self._fresh_id = fresh_id
        self._retries = retries or Retries()
        self._leftovers = Leftovers(sender, self._retries.leftovers)
        self.distrust = Distrust()
        """Attempts share it."""
        self._semaphore = asyncio.Semaphore(uploads_count)
        self._limiter = TaskLimiter(LOOPS_COUNT)
        self._pending: dict[TaskId, PendingFiles] = {}
        self._transfers: dict[TaskId, StageInTransfer] = {}
        self._attempts_count = 0

    def __repr__(self) -> str:
        """Show how many uploads it looks after."""
        return f"UploadStageIn(uploads={len(self._pending)} transfers={len(self._transfers)})"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remove what the last run has left on nodes, and send ahead while the context is open."""
        async with self._limiter:
            for held in self._spool.held():
                if held.ahead:
                    await self._start(held.draft.task)
            yield

    # --- the HTTP side ---------------------------------------------------------------------------------------------

    def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> Coroutine[Any, Any, None] | None:
        """Take note of files that are complete. What is returned is to be awaited: then sending ahead begins."""
        if (pending := self._pending.get(task)) is not None:
            pending.add((file.name, file.size_bytes) for file in files)
            if transfer := self._transfers.get(task):
                transfer.resume()
            return None
        held = self._spool.find(task) if self._from_bytes is not None else None
        return self._start(task) if held and held.arrived_bytes >= (self._from_bytes or 0) else None

    # --- attempts --------------------------------------------------------------------------------------------------

    async def offer(self, task: TaskId) -> StagedFiles | None:
        """Say with what an attempt of a committed task could go on. Raises NotFound."""
        transfer = self._transfers.get(task)
        if transfer is None or not transfer.may_be_confirmed:
            return None
        files = {file.name: file.size_bytes for file in (await self._spool.manifest(task)).files}
        same_fields = transfer.delivery.draft == self._spool.draft(task)
        if why := why_afresh(same_fields=same_fields, sent=transfer.delivery.sent, files=files):
            transfer.give_up(why)
            return None
        return transfer.ahead

    def give_up(self, task: TaskId, reason: str) -> None:
        """Let nothing go on with what was sent ahead, if anything was."""
        if transfer := self._transfers.get(task):
            transfer.give_up(reason)

    async def take(self, task: TaskId, placed: Placed) -> OnNode:
        """Hand over to the attempt that was placed there: what the node has. Raises StepFailed."""
        transfer = self._transfers.get(task)
        if transfer is None or transfer.ahead.node_task_id != placed.node_task_id:
            raise StepFailed(StepDecision(reason="what had been sent ahead is lost"))
        transfer.confirm()
        try:
            await transfer.over.wait()
        except asyncio.CancelledError:
            transfer.give_up("the attempt is over")
            raise
        if transfer.failure is not None:
            raise StepFailed(StepDecision(reason=transfer.failure))
        try:
            await self._spool.note_staged(task, None)
        except NotFound:
            raise StepFailed(StepDecision(reason="its inputs are gone")) from None
        return transfer.delivery.on_node

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """Begin no other file while an attempt is under way that needs the same link."""
        self._attempts_count += 1
        try:
            yield
        finally:
            self._attempts_count -= 1
            for transfer in self._transfers.values():
                transfer.resume()

    # --- one upload ------------------------------------------------------------------------------------------------

    def _start(self, task: TaskId) -> Coroutine[Any, Any, None]:
        """Look after an upload from now on; what is returned is to be awaited."""
        self._pending[task] = PendingFiles()
        return self._limiter.start(self._see_through(task, self._pending[task]), name=f"ahead {task}")

    async def _see_through(self, task: TaskId, pending: PendingFiles) -> None:
        """See an upload through until it is placed, gone, or has cost enough."""
        try:
            await self._remove_leftovers(task)
            pending.add((file.name, file.size_bytes) for file in (await self._spool.manifest(task)).files)
            tries_count = 0
            while self._is_open(task):
                if tries_count < TRIES_COUNT:
                    async with self._semaphore:
                        tries_count += await self._try(task, pending)
                await asyncio.sleep(self._plan_every_s)
        except NotFound:
            log.debug("upload.gone", task=task)
        finally:
            del self._pending[task]

    async def _try(self, task: TaskId, pending: PendingFiles) -> bool:
        """Make a transfer if there is anywhere to go; whether there was. Raises NotFound."""
        draft = self._spool.draft(task)
        if self._from_bytes is None or draft.zip_url or self._why_end(draft):
            return False
        answer = await self._request_plan(draft, pending, None)
        if not isinstance(answer, StageInPlanned) or not self._is_open(task):
            return False
        await self._transfer(task, pending, answer.node)
        return True

    async def _transfer(self, task: TaskId, pending: PendingFiles, node: Node) -> None:
        """Go to a node, until an attempt goes on from there or the transfer is given up."""
        ahead = StagedFiles(node=node.id, node_task_id=NodeTaskId(self._fresh_id()))
        await self._spool.note_staged(task, ahead)
        if not self._is_open(task):  # committed meanwhile: its attempt has been placed without us, or will be
            await self._spool.note_staged(task, None)
            return
        draft = self._spool.draft(task)
        delivery = Delivery(
            self._sender,
            self._spool,
            draft,
            node,
            ahead.node_task_id,
            parallel_count=self._parallel_count,
            retries=self._retries,
            distrust=self.distrust,
            clock=self.clock,
        )
        pending.put_back()
        transfer = self._transfers[task] = StageInTransfer(delivery, ahead, pending)
        bound = log.bind(task=task, node=node.name, node_task=ahead.node_task_id)
        bound.info("stage_in.started", files=len(pending.sizes))
        STAGE_IN.inc("begun")
        try:
            await transfer.run(
                lambda: self._check(pending, draft, node.id), self._plan_every_s, self._parallel_count, self._gives_way
            )
        finally:
            del self._transfers[task]
        sent = {"sent_count": len(delivery.sent), "sent_bytes": sum(delivery.sent.values())}
        if transfer.failure is None:
            STAGE_IN.inc("confirmed")
            bound.info("stage_in.confirmed", **sent)
        else:
            STAGE_IN.inc("given_up")
            bound.info("stage_in.given_up", reason=transfer.failure, **sent)
            await self._remove(task, ahead, node)

    async def _check(self, pending: PendingFiles, draft: Draft, at: NodeId) -> str:
        """Say why nothing more should go to a node; empty: it will still do."""
        if (why := self._why_end(draft)) or not self._is_open(draft.task):
            return why
        answer = await self._request_plan(draft, pending, at)
        return answer.reason if isinstance(answer, StageInDeclined) and self._is_open(draft.task) else ""

    def _gives_way(self) -> bool:
        return self._one_link and self._attempts_count > 0

    async def _request_plan(self, draft: Draft, pending: PendingFiles, at: NodeId | None) -> StageInReply | None:
        """Ask where to; None when nobody answers, and then all stays as it is."""
        asked = PlanStageIn(
            task=draft.task,
            upload_owner=self._spool.instance,
            owner=draft.owner,
            images_count=pending.images_count,
            options=draft.options,
            node=at,
        )
        try:
            return await self._bus.request(PLAN_STAGE_IN, asked)
        except ClusterError as error:
            log.debug("stage_in.request_failed", task=draft.task, reason=error.message)
            return None

    def _is_open(self, task: TaskId) -> bool:
        held = self._spool.find(task)
        return held is not None and not held.committed

    def _why_end(self, draft: Draft) -> str:
        held = self._spool.find(draft.task)
        if held is None:
            return why_end(StagedUpload(exists=False))
        return why_end(
            StagedUpload(
                same_fields=held.draft == draft,
                committed=held.committed,
                receiving=held.receiving,
                idle_s=self.clock.instant() - held.active,
            )
        )

    # --- what is left on nodes -------------------------------------------------------------------------------------

    async def _remove_leftovers(self, task: TaskId) -> None:
        """Remove from its node what an earlier run sent ahead."""
        held = self._spool.find(task)
        if held and held.ahead:
            node = self._node_of(held.ahead.node)
            log.info("stage_in.given_up", task=task, reason="the proxy was restarted")
            if node:
                await self._remove(task, held.ahead, node)
            else:
                await self._spool.note_staged(task, None)

    async def _remove(self, task: TaskId, ahead: StagedFiles, node: Node) -> None:
        await self._leftovers.remove(task, node, ahead.node_task_id)
        with suppress(NotFound):
            await self._spool.note_staged(task, None)
