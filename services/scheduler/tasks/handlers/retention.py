"""What happens to tasks that are over: put into the archive, told to their nodes, and forgotten.

An attempt that was being forwarded when it was given up may still be committed by an upload owner that does not know yet: that its node does
not know it means something only when that time has passed. Then what was uploaded and never committed is discarded there, too: its
upload owner does that by itself, unless it was killed.

Tasks leave the active ones for the archive some time after their end and off everybody's way. What the version before this one wrote is written anew by that too: there, ended tasks lay among the active ones with the tail of their
console. The tail goes to where consoles are kept, unless the whole is there. Nothing waits for it: a scheduler leads and places
first, and this goes on beside it, some tasks at a time.

A record that cannot be read any more (a later version has written it meanwhile) is left alone and keeps no other one here: the bucket has said
and counted it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from itertools import takewhile
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant, read, seen_s
from clusterodm.libs.common.delay_queue import DelayQueue
from clusterodm.libs.common.errors import BusFailed, ClusterError, Unreadable
from clusterodm.libs.common.model.tasks import Attempt, Cleanup, Task
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loops import beat
from clusterodm.libs.common.process.moments import sleep_together
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import to_clean
from clusterodm.services.scheduler.task_life.settled import SETTLED_S, is_settled
from clusterodm.services.scheduler.task_life.transitions import with_console
from clusterodm.services.scheduler.tasks.handlers.observing import ConsoleStore

log = structlog.get_logger()

DAY_S: Final = 24 * 3600
SLICE_COUNT: Final = 200
"""Archived tasks that are looked up at once to be forgotten."""


class GarbageCollector:
    """Brings nodes and records to the state that was decided."""

    def __init__(self, records: Records, api: NodeApi, consoles: ConsoleStore, settings: SchedulerSettings) -> None:
        self._consoles = consoles
        self._tasks = records.tasks
        self._node_store = records.nodes
        self._archive = records.archive
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._api = api
        self._timeout_s = settings.action_timeout_s
        self._linger_s = settings.forward_silence_s
        self._lingering: dict[NodeTaskId, Instant] = {}
        """Since when each attempt is known to be over that its upload owner may still commit."""
        self._retention_s = settings.task_retention_h * 3600
        self._began = read(self._clock)
        self._remembered_s = settings.tombstones_d * DAY_S
        self._under_way: set[NodeId] = set()

    # --- attempts --------------------------------------------------------------------------------------------------

    async def clean_nodes(self, limiter: TaskLimiter) -> None:
        """Tell every node that can be reached what it has still to be told; each one by itself."""
        for node_id, tasks in list(self._index.to_clean.items()):
            if tasks and self.may_be_told(node_id) and node_id not in self._under_way:
                self._under_way.add(node_id)
                await limiter.start(self._clean_node(node_id, list(tasks)), name=f"clean {node_id}")

    def may_be_told(self, node: NodeId) -> bool:
        """Whether there is any sense in telling a node something now: it is online, or nobody knows it any more."""
        known = self._nodes.get(node)
        return known is None or known.online

    async def _clean_node(self, node: NodeId, tasks: list[TaskId]) -> None:
        try:
            for task in takewhile(lambda _: self.may_be_told(node), tasks):
                async with self._tasks.holding(task):
                    with contextlib.suppress(Unreadable):
                        await self.clean(task, node)
        except BusFailed as error:
            log.warning("cleaning.interrupted", node=node, error=error.message)
        finally:
            self._under_way.discard(node)

    async def clean(self, task_id: TaskId, node_id: NodeId) -> None:
        """Tell one node about one task, whose lock is held; forget a removed task when no node has to be told any more."""
        task = self._index.tasks.get(task_id)
        for attempt in task.attempts if task else ():
            if attempt.node == node_id and attempt.cleanup is not Cleanup.NONE and await self._delivered(attempt):
                await self._tasks.write(task_id, cleaned(attempt.number))
        await self.forget_if_done(task_id)

    async def forget_if_done(self, task_id: TaskId) -> None:
        """Delete the record of a removed task (its lock is held) when nothing is left to be told."""
        task = self._index.tasks.get(task_id)
        if task and is_done_with(task):
            await self._forget(task, "removed")

    async def _delivered(self, attempt: Attempt) -> bool:
        node = self._nodes.get(attempt.node)
        if node is None:
            return not attempt.recovered  # its node is registered later than the task, if at all
        try:
            found = await self._deliver(node, attempt)
        except ClusterError as error:
            log.info("node.removal_not_delivered", node=node.id, attempt=attempt.node_task_id, error=error.message)
            return False
        if not found and not self._cannot_come(attempt):
            return False
        self._lingering.pop(attempt.node_task_id, None)
        log.info(
            "node.removal_delivered", node=node.id, attempt=attempt.node_task_id, to=str(attempt.cleanup), found=found
        )
        return True

    async def _deliver(self, node: NodeState, attempt: Attempt) -> bool:
        if attempt.cleanup is Cleanup.CANCEL:
            return await self._api.cancel(node.record, attempt.node_task_id, self._timeout_s)
        found = await self._api.remove(node.record, attempt.node_task_id, self._timeout_s)
        if not found and attempt.running_at_ms is None and self._cannot_come(attempt):
            await self._api.discard(node.record, attempt.node_task_id, self._timeout_s)
        return found

    def _cannot_come(self, attempt: Attempt) -> bool:
        """Whether it is too late for an upload owner to commit it, counted from when this process first told its node."""
        if attempt.running_at_ms is not None:
            return True
        now = self._clock.instant()
        return now - self._lingering.setdefault(attempt.node_task_id, now) >= self._linger_s

    # --- records ---------------------------------------------------------------------------------------------------

    async def forget_old(self) -> None:
        """Delete records of tasks that ended long ago (the nodes have their own retention), or whose removal was interrupted."""
        before_ms = self._oldest_ms()
        for task in [task for task in self._index.tasks.values() if self._is_old(task, before_ms)]:
            async with self._tasks.holding(task.id):
                with contextlib.suppress(Unreadable):
                    await self._forget_if_old(task.id, before_ms)
        while await self._forget_archived(before_ms) == SLICE_COUNT:
            pass

    async def _forget_if_old(self, task_id: TaskId, before_ms: int) -> None:
        task = self._index.tasks.get(task_id)
        if task is not None and self._is_old(task, before_ms):
            await self._forget(task, "removed" if task.removed else "ended long ago")

    async def _forget_archived(self, before_ms: int) -> int:
        """Delete some of the archived records of tasks that ended before; how many there were."""
        old = self._archive.table.ended_before(before_ms, SLICE_COUNT)
        for task_id in old:
            async with self._tasks.holding(task_id):
                try:
                    await self._forget_ended(task_id)
                except Unreadable:
                    self._archive.leave_out(task_id)
        return len(old)

    async def _forget_ended(self, task_id: TaskId) -> None:
        found = await self._tasks.lookup(task_id)
        if found and found.archived:
            await self._forget(found.task, "ended long ago")
        else:
            await self._archive.drop(task_id)

    async def _forget(self, task: Task, reason: str) -> None:
        await self._tasks.forget(task.id, reason, self._remembered_s)
        if task.id not in self._index.tasks:
            await self._consoles.drop(task)
            log.info("task.forgotten", task=task.id, reason=reason)

    def _oldest_ms(self) -> int:
        """Say when a task must have ended to be kept. Where the wall clock has stepped, records go late rather than early.

        The earlier of two times counts: what the wall clock says, and what it would say had nobody touched it since this term began.
        """
        now = read(self._clock)
        led_s = now.instant - self._began.instant
        if led_s < seen_s(self._retention_s):
            return 0
        counted_ms = self._began.wall_ms + round(led_s * 1000)
        return min(now.wall_ms, counted_ms) - round(self._retention_s * 1000)

    def _is_old(self, task: Task | None, before_ms: int) -> bool:
        if task is None or not task.state.ended:
            return False
        return is_done_with(task) or (task.ended_at_ms or before_ms) < before_ms

    async def forget_retired(self) -> None:
        """Delete records of removed nodes that no task needs any more."""
        for node in self._nodes.retired():
            if not self._node_store.is_needed(node.id):
                with contextlib.suppress(Unreadable):
                    await self._node_store.drop(node.id)
                    log.info("node.forgotten", node=node.id, reason="no task needs it any more")


def is_done_with(task: Task) -> bool:
    """Whether it was removed and no node has to be told any more."""
    return task.removed and not task.is_untold


def cleaned(number: int) -> Callable[[Task], Task]:
    """Make the decision that notes that a node has been told about an attempt."""
    return lambda task: to_clean(task, number, Cleanup.NONE)


MOVES_COUNT: Final = 16
"""At the same time."""
PAUSE_S: Final = 1.0
AGAIN_S: Final = 10.0
"""After NATS did not answer."""


class Archiver:
    """Puts ended tasks away."""

    def __init__(self, records: Records, consoles: ConsoleStore) -> None:
        self._tasks = records.tasks
        self._sync = records.sync
        self._archive = records.archive
        self._index = records.index
        self._clock = records.clock
        self._signals = records.signals
        self._consoles = consoles
        self._delay_queue: DelayQueue[TaskId] = DelayQueue()
        for task in self._index.tasks.values():
            self._task_changed(None, task)
        self._signals.task_listeners.append(self._task_changed)

    async def run(self) -> None:
        """Read what is there and renew what is old, once; then put away for ever what has ended. Raises BusFailed."""
        if not self._archive.is_loaded:
            await self.read()
        await self.renew()
        while True:
            beat()
            await self.put_away_due()
            await sleep_together(PAUSE_S)

    async def read(self) -> None:
        """Read what is in the archive, and put right what a predecessor left half done. Raises BusFailed."""
        for task in await self._archive.load():
            await self._tasks.drop_twin(task)

    async def renew(self) -> None:
        """Write anew what an older version wrote, and remove what it left of deleted records. Raises BusFailed."""
        while self._sync.outdated:
            await self._sync.renew(self._sync.outdated[-1])
            self._sync.outdated.pop()
        if count := await self._sync.forget_deleted():
            log.info("records.forgotten", records=count)

    async def put_away_due(self) -> None:
        """Put away all that is due."""
        due = self._delay_queue.take_due(self._clock.instant())
        for first in range(0, len(due), MOVES_COUNT):
            async with asyncio.TaskGroup() as moves:
                for task in due[first : first + MOVES_COUNT]:
                    moves.create_task(self._put_away(task), name=f"archive {task}")

    async def _put_away(self, task_id: TaskId) -> None:
        try:
            async with self._tasks.holding(task_id):
                task = self._index.tasks.get(task_id)
                if task is not None and is_settled(task):
                    await self._keep_tail(task)
                    await self._tasks.put_away(task_id)
        except ClusterError as error:
            log.info("task.archive_failed", task=task_id, reason=error.message)
            self._delay_queue.set(task_id, self._clock.instant() + AGAIN_S)

    async def _keep_tail(self, task: Task) -> None:
        """Keep what the record alone has of a console. Raises BusFailed."""
        if task.console_kept or task.known is None or not task.known.console_tail:
            return
        await self._consoles.keep_tail(task.id, task.known)
        await self._tasks.write(task.id, lambda now: with_console(now, kept=True) if is_settled(now) else now)

    def _task_changed(self, _before: Task | None, after: Task | None) -> None:
        if after is not None and is_settled(after):
            self._delay_queue.set(after.id, self._settled_at(after))
        elif after is not None:
            self._delay_queue.discard(after.id)

    def _settled_at(self, task: Task) -> Instant:
        now = read(self._clock)
        return now.since(task.ended_at_ms or 0, SETTLED_S) + SETTLED_S
