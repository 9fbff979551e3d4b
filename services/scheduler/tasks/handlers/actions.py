"""What clients want of a task (cancel, remove, restart), and operators of its place in the queue.

The task's lock is held from the first look to the last write, so a poll, a report and an action never interleave. The node is told
within a short time limit; when it cannot be, the decision stands all the same and its cleanup is written beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import ClusterError, NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.tasks import (
    TASK_MOVED_UP,
    TASK_PRIORITIZED,
    TASK_REMOVED,
    TASK_RESTARTED,
    RestartTask,
    SetTaskPriority,
    TaskRecord,
    TaskRef,
)
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Attempt, Cleanup, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.graphics import asks_for_gpu, listed, with_demand
from clusterodm.services.scheduler.task_life.life import canceled, removed, restarted, started_over
from clusterodm.services.scheduler.task_life.transitions import with_console
from clusterodm.services.scheduler.tasks.core.masking import shown_record
from clusterodm.services.scheduler.tasks.core.priorities import first_of_its_kind, moved_up, prioritized
from clusterodm.services.scheduler.tasks.handlers.observing import ConsoleStore
from clusterodm.services.scheduler.tasks.handlers.retention import GarbageCollector

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)

Again = Callable[[Task, tuple[OptionValue, ...] | None, WallMs], Task]
"""How a task begins again."""

NOT_SUPPORTED: Final = "Action not supported. Please create a new task."
"""The original's words for a restart of a task that nobody has any more."""
CANNOT_RESTART: Final = "Task cannot be restarted"
"""NodeODM's words for a restart of a task that has not ended."""


class TaskActions:
    """Cancels, removes, restarts, prioritizes and moves up."""

    def __init__(  # noqa: PLR0913, PLR0917 its collaborators
        self,
        records: Records,
        collector: GarbageCollector,
        consoles: ConsoleStore,
        api: NodeApi,
        events: EventPublisher,
        settings: SchedulerSettings,
    ) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._signals = records.signals
        self._collector = collector
        self._consoles = consoles
        self._api = api
        self._events = events
        self._timeout_s = settings.action_timeout_s
        self._grace_s = settings.node_grace_s
        self._gpu_options = listed(settings.gpu_options)

    async def find(self, request: TaskRef | RestartTask) -> Task:
        """Find a task for whoever asks. Raises NotFound for another owner's, too."""
        return (await self._tasks.find(request.task, request.owner)).task

    # --- cancel ----------------------------------------------------------------------------------------------------

    async def cancel(self, request: TaskRef) -> TaskRecord:
        """End a task. One that has ended is canceled too, as on NodeODM; one that was canceled stays as it is, and that is a success."""
        async with self._tasks.holding(request.task):
            found = await self._tasks.find(request.task, request.owner)
            if found.task.state is TaskState.CANCELED:
                return shown_record(found)
            if found.task.state.ended:
                return shown_record(await self._cancel_ended(found.task))
            cleanup = await self._stop(found.task)
            kept = cleanup is Cleanup.NONE and await self._keep_console(await self.find(request))
            kept = kept or await self._consoles.keep_seen(request.task, self._index.observed.get(request.task))
            record = await self._tasks.write(request.task, lambda task: self._canceled(task, cleanup, kept=kept))
        await self._events.publish_end(found.task, record.task, "canceled")
        return shown_record(record)

    async def _cancel_ended(self, task: Task) -> TaskRecord:
        """Note it. Its node has nothing to stop, and keeps the results: they are there to be fetched, and to be restarted from."""
        record = await self._tasks.write(
            task.id, lambda now: canceled(now, Cleanup.NONE, self._clock.wall_ms()) if now.state is task.state else now
        )
        at_will.info("task.canceled_after_end", task=task.id, was=str(task.state))
        return record

    def _canceled(self, task: Task, cleanup: Cleanup, *, kept: bool) -> Task:
        if task.state.ended:
            return task
        return with_console(canceled(self._index.final(task), cleanup, self._clock.wall_ms()), kept=kept)

    async def _keep_console(self, task: Task) -> bool:
        """Keep what a running task has written; its node has just answered."""
        node = self._nodes.get(task.attempts[-1].node) if task.state is TaskState.RUNNING else None
        return node is not None and await self._consoles.keep(task.id, node.record, task.attempts[-1].node_task_id)

    async def _stop(self, task: Task) -> Cleanup:
        """Tell the node to stop; what it has still to be told afterwards."""
        if task.state is TaskState.WAITING:
            return Cleanup.NONE
        attempt = task.attempts[-1]
        if task.state is TaskState.FORWARDING:
            return Cleanup.REMOVE
        node = self._nodes.get(attempt.node)
        if node is None or not node.online:
            return Cleanup.CANCEL
        return Cleanup.NONE if await self._canceled_on_node(task.id, attempt, node) else Cleanup.CANCEL

    async def _canceled_on_node(self, task: TaskId, attempt: Attempt, node: NodeState) -> bool:
        try:
            await self._api.cancel(node.record, attempt.node_task_id, self._timeout_s)
        except ClusterError as error:
            log.warning("node.cancel_not_delivered", task=task, node=node.id, error=error.message)
            return False
        return True

    # --- remove ----------------------------------------------------------------------------------------------------

    async def remove(self, request: TaskRef) -> Done:
        """Hide a task at once; its record goes when its nodes have been told. One that has not ended is canceled by that, and counts so."""
        async with self._tasks.holding(request.task):
            before = await self.find(request)
            record = await self._tasks.write(request.task, self._removed)
            await self._clean_now(record.task)
        if not before.state.ended:
            await self._events.publish_end(before, record.task, "removed")
        await self._events.publish_task(TASK_REMOVED, record.task)
        return Done()

    def _removed(self, task: Task) -> Task:
        if task.removed:
            return task
        return removed(task if task.state.ended else self._index.final(task), self._clock.wall_ms())

    async def _clean_now(self, task: Task) -> None:
        for node_id in {attempt.node for attempt in task.attempts if attempt.cleanup is not Cleanup.NONE}:
            if self._collector.may_be_told(node_id):
                await self._collector.clean(task.id, node_id)
        await self._collector.forget_if_done(task.id)

    # --- restart ---------------------------------------------------------------------------------------------------

    async def restart(self, request: RestartTask) -> TaskRecord:
        """Run an ended task again on its node; from its inputs when that is gone, or has no slot for one that was canceled, and they are kept."""
        async with self._tasks.holding(request.task):
            task = await self.find(request)
            if not task.state.ended:
                raise Refused(CANNOT_RESTART)
            with self._slot_kept(task) as has_slot:
                started = await self._started_again(task, request, has_slot=has_slot)
                record = await self._restarted(task.id, request, restarted) if started else None
            if record is None:  # it waits for a slot as others do
                record = await self._restarted(task.id, request, self._over_again(task))
        await self._events.publish_task(TASK_RESTARTED, record.task)
        return shown_record(record)

    @contextmanager
    def _slot_kept(self, task: Task) -> Iterator[bool]:
        """Keep a free slot of its node for it, so that nobody else gets it while the node is asked; whether there is one."""
        node = self._nodes.get(task.attempt.node) if task.attempt else None
        if node is None or not node.free_count:
            yield False
            return
        self._nodes.reserve(node.id, task.id)
        try:
            yield True
        finally:
            self._nodes.unreserve(node.id, task.id)
            self._signals.capacity_freed.set()

    async def _restarted(self, task: TaskId, request: RestartTask, again: Again) -> TaskRecord:
        now_ms = self._clock.wall_ms()
        return await self._tasks.write(
            task,
            lambda now: with_demand(again(now, request.options, now_ms), self._gpu_options) if now.state.ended else now,
        )

    async def _started_again(self, task: Task, request: RestartTask, *, has_slot: bool) -> bool:
        """Start it again on its node; False when that is gone or does not know it, and when its slot went to another by its cancel.

        What has failed or is completed goes into the node's own queue instead: what it has worked out is there, and only there.
        """
        attempt = task.attempt
        node = self._nodes.get(attempt.node) if attempt else None
        if attempt is None or attempt.running_at_ms is None or node is None:
            return False
        options = task.options if request.options is None else request.options
        if task.inputs_kept and asks_for_gpu(options, self._gpu_options) and not node.record.has_gpu:
            return False
        gave_slot_up = task.state is TaskState.CANCELED and attempt.cleanup is not Cleanup.CANCEL
        if gave_slot_up and not has_slot and node.online and task.inputs_kept:
            return False
        if not node.online and task.inputs_kept:
            self._check_given_up(attempt, node)
            return False
        try:
            return await self._node_starts_again(attempt, node, request)
        except NodeUnreachable:
            if not task.inputs_kept:
                raise
            self._check_given_up(attempt, node)
            return False

    def _check_given_up(self, attempt: Attempt, node: NodeState) -> None:
        """Refuse while the node may still be working on it, unheard."""
        silent_s = self._clock.instant() - node.seen_at
        if attempt.cleanup is Cleanup.CANCEL and silent_s <= self._grace_s:
            raise NodeFailed(f"{node.record.name} has not confirmed that the task is canceled; please try again later")

    def _over_again(self, task: Task) -> Again:
        if task.inputs_kept:
            return started_over
        at_will.info("task.restart_ignored", task=task.id)
        raise Refused(NOT_SUPPORTED)

    async def _node_starts_again(self, attempt: Attempt, node: NodeState, request: RestartTask) -> bool:
        try:
            if attempt.cleanup is Cleanup.CANCEL:
                await self._api.cancel(node.record, attempt.node_task_id, self._timeout_s)
            return await self._api.restart(node.record, attempt.node_task_id, request.options, self._timeout_s)
        except Refused:
            if not await self._runs_already(attempt, node):
                raise
            return True

    async def _runs_already(self, attempt: Attempt, node: NodeState) -> bool:
        """Whether an earlier restart came through although its answer did not."""
        observation = await self._api.observe(node.record, attempt.node_task_id, None, self._timeout_s)
        return observation is not None and observation.code in {StatusCode.QUEUED, StatusCode.RUNNING}

    # --- the place in the queue ------------------------------------------------------------------------------------

    async def set_priority(self, request: SetTaskPriority) -> TaskRecord:
        """Give a task a priority. Raises NotFound, Refused."""
        async with self._tasks.holding(request.task):
            before = await self._tasks.find(request.task)
            now_ms = self._clock.wall_ms()
            record = await self._tasks.write(request.task, lambda task: prioritized(task, request.priority, now_ms))
        if record.task.priority != before.task.priority:
            self._signals.capacity_freed.set()
            reason = f"from {before.task.priority:+} to {record.task.priority:+}"
            await self._events.publish_task(TASK_PRIORITIZED, record.task, reason=reason)
        return record

    async def move_up(self, request: TaskRef) -> TaskRecord:
        """Put a task in front of its owner's others. Raises NotFound, Refused."""
        async with self._tasks.holding(request.task):
            before = await self._tasks.find(request.task, request.owner)
            record = await self._tasks.write(request.task, self._moved_up)
        if record.task.queued_at_ms != before.task.queued_at_ms:
            self._signals.capacity_freed.set()
            await self._events.publish_task(TASK_MOVED_UP, record.task)
        return record

    def _moved_up(self, task: Task) -> Task:
        in_order = (self._index.tasks[each] for each in self._index.by_place)
        return moved_up(task, first_of_its_kind(task, in_order), self._clock.wall_ms())
