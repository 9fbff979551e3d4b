"""What clients want of a task: cancel, remove, restart.

The task's lock is held from the first look to the last write, so a poll, a report and an action never interleave. The node is told
within a short time limit; when it cannot be, the decision stands all the same and its cleanup is written beside it.
"""

import structlog

from libs.common.errors import ClusterError, NotFound, Refused
from libs.common.messages import (
    TASK_FINISHED,
    TASK_REMOVED,
    TASK_RESTARTED,
    Done,
    RestartTask,
    TaskRecord,
    TaskRef,
)
from libs.common.model import Attempt, Cleanup, StatusCode, Task, TaskId, TaskState
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.tasks import canceled, removed, restarted
from services.scheduler.handlers.cleaning import Cleaner
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.voice import Voice
from services.scheduler.ports import NodeApi
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

NOT_SUPPORTED = "Action not supported. Please create a new task."
"""The original's words for a restart of a task that never reached a node."""
CANNOT_RESTART = "Task cannot be restarted"
"""NodeODM's words for a restart of a task that has not ended."""


class ActionHandlers:
    """Cancels, removes, restarts."""

    def __init__(
        self, ledger: Ledger, cleaner: Cleaner, api: NodeApi, voice: Voice, settings: SchedulerSettings
    ) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._cleaner = cleaner
        self._api = api
        self._voice = voice
        self._timeout_s = settings.action_timeout_s

    def find(self, asked: TaskRef | RestartTask) -> Task:
        """Find a task for whoever asks. Raises NotFound for another owner's, too."""
        task = self._board.visible(asked.task, asked.owner)
        if task is None:
            raise NotFound(f"{asked.task} not found")
        return task

    # --- cancel ----------------------------------------------------------------------------------------------------

    async def cancel(self, asked: TaskRef) -> TaskRecord:
        """End a task. One that has ended stays as it is, and that is a success."""
        async with self._ledger.holding(asked.task):
            if self.find(asked).state.ended:
                return self._ledger.record(asked.task)
            cleanup = await self._stop(self.find(asked))
            record = await self._ledger.write(asked.task, lambda task: self._canceled(task, cleanup))
        await self._voice.of_task(TASK_FINISHED, record.task, reason="canceled")
        return record

    def _canceled(self, task: Task, cleanup: Cleanup) -> Task:
        return task if task.state.ended else canceled(task, cleanup, self._ledger.now_ms())

    async def _stop(self, task: Task) -> Cleanup:
        """Tell the node to stop; what it has still to be told afterwards."""
        if task.state is TaskState.WAITING:
            return Cleanup.NONE
        attempt = task.attempts[-1]
        if task.state is TaskState.FORWARDING:
            return Cleanup.REMOVE
        node = self._board.nodes.get(attempt.node)
        if node is None or not node.online:
            return Cleanup.CANCEL
        return Cleanup.NONE if await self._told_to_stop(task.id, attempt, node) else Cleanup.CANCEL

    async def _told_to_stop(self, task: TaskId, attempt: Attempt, node: NodeState) -> bool:
        try:
            await self._api.cancel(node.record, attempt.node_task_id, self._timeout_s)
        except ClusterError as error:
            log.warning("node not told to cancel", task=task, node=node.id, error=error.message)
            return False
        return True

    # --- remove ----------------------------------------------------------------------------------------------------

    async def remove(self, asked: TaskRef) -> Done:
        """Hide a task at once; its record goes when its nodes have been told."""
        async with self._ledger.holding(asked.task):
            self.find(asked)
            record = await self._ledger.write(asked.task, self._removed)
            await self._clean_now(record.task)
        await self._voice.of_task(TASK_REMOVED, record.task)
        return Done()

    def _removed(self, task: Task) -> Task:
        return task if task.removed else removed(task, self._ledger.now_ms())

    async def _clean_now(self, task: Task) -> None:
        for node_id in {attempt.node for attempt in task.attempts if attempt.cleanup is not Cleanup.NONE}:
            node = self._board.nodes.get(node_id)
            if node is None or node.online:
                await self._cleaner.clean(task.id, node_id)
        await self._cleaner.forget_if_done(task.id)

    # --- restart ---------------------------------------------------------------------------------------------------

    async def restart(self, asked: RestartTask) -> TaskRecord:
        """Run an ended task again on its node."""
        async with self._ledger.holding(asked.task):
            task = self.find(asked)
            if not task.state.ended:
                raise Refused(CANNOT_RESTART)
            attempt, node = self._where_it_ended(task)
            await self._start_again(task, attempt, node, asked)
            now_ms = self._ledger.now_ms()
            record = await self._ledger.write(
                task.id, lambda now: restarted(now, asked.options, now_ms) if now.state.ended else now
            )
        await self._voice.of_task(TASK_RESTARTED, record.task)
        return record

    def _where_it_ended(self, task: Task) -> tuple[Attempt, NodeState]:
        attempt = task.attempt
        node = self._board.nodes.get(attempt.node) if attempt else None
        if attempt is None or attempt.running_at_ms is None or node is None:
            raise Refused(NOT_SUPPORTED)
        return attempt, node

    async def _start_again(self, task: Task, attempt: Attempt, node: NodeState, asked: RestartTask) -> None:
        try:
            if attempt.cleanup is Cleanup.CANCEL:
                await self._api.cancel(node.record, attempt.node_task_id, self._timeout_s)
            found = await self._api.restart(node.record, attempt.node_task_id, asked.options, self._timeout_s)
        except Refused:
            if not await self._runs_already(attempt, node):
                raise
            found = True
        if not found:
            log.info("restart of a task that its node does not have", task=task.id, node=node.id)
            raise Refused(NOT_SUPPORTED)

    async def _runs_already(self, attempt: Attempt, node: NodeState) -> bool:
        """Whether an earlier restart came through although its answer did not."""
        look = await self._api.look(node.record, attempt.node_task_id, None, self._timeout_s)
        return look is not None and look.code in {StatusCode.QUEUED, StatusCode.RUNNING}
