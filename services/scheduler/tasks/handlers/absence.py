"""Upload owners that do not answer: what users are told of them, and the end of tasks whose upload owner does not come back at all.

A task that waits for photos nobody can reach holds no slot, and it does not wait for ever. Since when it has been waiting is in its record, so
that a restart of the scheduler does not begin anew; how long that may be is `--holder-gone-h`. A spool that turns up later still has the
photos: its user may restart the task from them.

An upload owner may also be there and not have the photos: an older store was restored, and the task was removed, or has been completed, since. Where
a node still has it under its own id, it is found there. Else it fails, `--node-grace-s` after that was first reported: since when is in its record, too.
Each term of a scheduler waits for `SEEN_S` of that itself, so that the nodes that are registered have been asked. Meanwhile it takes no slot.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Instant, InstantCache, WallMs, read, seen_s
from clusterodm.libs.common.errors import ClusterError, Refused
from clusterodm.libs.common.messages.placement import ReportInputsLost
from clusterodm.libs.common.messages.tasks import AttemptStage, KnownAttempt, TaskRecord
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.handlers.node_store import announced_at, known_proxies
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.proxies import upload_owner_gone
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.life import abandoned, with_line, without_inputs
from clusterodm.services.scheduler.task_life.transitions import INPUTS_MISSING, UPLOAD_OWNER_AWAY
from clusterodm.services.scheduler.tasks.core.submission import with_known
from clusterodm.services.scheduler.tasks.ports import TaskQueue

log = structlog.get_logger()

HOUR_S: Final = 3600.0
SEEN_S: Final = 15.0
"""Nodes that are registered have been probed by then, and proxies have reported what they do not have (every few seconds)."""
MISSING_LINE: Final = (
    f"Waiting for a node that has it already: {INPUTS_MISSING}, as after the restore of an older backup. "
    "It fails if none joins within {grace_s:g} s"
)
NOT_THERE: Final = "its photos are not there any more: it was removed or completed after the backup that the cluster's records come from"


class AbsentProxies:
    """Ends tasks whose upload owner is gone for good."""

    def __init__(  # noqa: PLR0913, PLR0917 its collaborators
        self,
        records: Records,
        bus: Bus,
        api: NodeApi,
        events: EventPublisher,
        queue: TaskQueue,
        settings: SchedulerSettings,
    ) -> None:
        self._queue = queue
        self._api = api
        self._timeout_s = settings.action_timeout_s
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._bus = bus
        self._events = events
        self._limit_h = settings.holder_gone_h
        self._since: InstantCache[TaskId] = InstantCache()
        self._node_grace_s = settings.node_grace_s
        self._unfound: InstantCache[TaskId] = InstantCache()
        """Waiting tasks without photos that no node has that is here: since when."""
        for task in self._waiting():
            if task.inputs_missing_since_ms:
                self._wait_until(task)

    async def check(self) -> None:
        """Fail what has been waiting for its upload owner for too long."""
        now, limit_s = read(self._clock), self._limit_h * HOUR_S
        tasks = self._waiting()
        waiting = [task for task in tasks if self._waits(task)]
        self._since.keep({task.id for task in waiting})
        self._unfound.keep({task.id for task in tasks if task.inputs_missing_since_ms})
        for task in waiting:
            since = self._since.since(task.id, task.upload_owner_away_since_ms, now, limit_s - seen_s(limit_s))
            if now.instant - since > limit_s:
                await self._abandon(task)

    def _waiting(self) -> list[Task]:
        return [task for task in map(self._index.tasks.get, self._index.waiting) if task]

    def _waits(self, task: Task) -> bool:
        return bool(task.upload_owner_away_since_ms) and self._queue.is_away(task.upload_owner)

    # --- an upload owner without the photos ---------------------------------------------------------------------------------

    async def inputs_lost(self, request: ReportInputsLost) -> TaskRecord:
        """Find a task on the nodes whose upload owner does not have its photos, or end it.

        Raises Refused while a node may still join that has it: it was registered after the backup, and comes within the grace.
        """
        known = (await self._tasks.find(request.task)).task
        if known.upload_owner != request.upload_owner:
            raise Refused(f"{request.task} is held by another proxy")
        found = await self._where(known) if known.state is TaskState.WAITING else None
        if known.state is TaskState.WAITING and found is None and await self._may_be_found(known):
            raise Refused(f"no node that is here has {request.task}, and others may still join")
        change = await self._tasks.change(request.task, lambda task: self._without(task, found))
        if change.task.state is not change.before.state:
            log.warning("inputs.lost", task=request.task, found_on=found.node if found else None)
            await self._events.publish_end(change.before, change.task, NOT_THERE)
        return change.record

    async def _may_be_found(self, known: Task) -> bool:
        now_ms, grace_s = self._clock.wall_ms(), self._node_grace_s
        task = (await self._tasks.change(known.id, lambda task: with_inputs_missing(task, grace_s, now_ms))).task
        return task.state is TaskState.WAITING and self._clock.instant() < self._wait_until(task)

    def _wait_until(self, task: Task) -> Instant:
        """Wait for a node that has it, and place it nowhere until it is over and has been reported once more: nobody could send it."""
        now, grace_s = read(self._clock), self._node_grace_s
        most_s = grace_s - min(SEEN_S, grace_s / 2)
        until = self._unfound.since(task.id, task.inputs_missing_since_ms, now, most_s) + grace_s
        self._index.hold_back(task.id, max(until, now.instant) + SEEN_S)
        return until

    def _without(self, task: Task, found: KnownAttempt | None) -> Task:
        now_ms = self._clock.wall_ms()
        if task.state is TaskState.RUNNING:
            return without_inputs(task, NOT_THERE, now_ms)
        if task.state is not TaskState.WAITING:
            return task
        return with_known(task, found, now_ms, last=True) if found else abandoned(task, NOT_THERE, now_ms)

    async def _where(self, task: Task) -> KnownAttempt | None:
        """Ask all nodes that are there whether they have it under its own id."""
        asked = [node for node in self._nodes.listed() if node.online]
        answers = await asyncio.gather(*(self._has(node, task) for node in asked))
        return next((observation for observation in answers if observation), None)

    async def _has(self, node: NodeState, task: Task) -> KnownAttempt | None:
        node_task = NodeTaskId(task.id)
        tried = any((each.node, each.node_task_id) == (node.id, node_task) for each in task.attempts)
        try:
            observation = None if tried else await self._api.observe(node.record, node_task, None, self._timeout_s)
        except ClusterError:
            return None
        return known_on(node.record, node_task, self._clock.wall_ms()) if observation else None

    # --- upload owners that are gone ---------------------------------------------------------------------------------------

    async def _abandon(self, task: Task) -> None:
        url, proxies = await announced_at(self._bus, task.id), await known_proxies(self._bus)
        reason, now_ms = upload_owner_gone(task.upload_owner, url, proxies, self._limit_h), self._clock.wall_ms()

        def decide(now: Task) -> Task:
            still = now.state is TaskState.WAITING and now.waiting_because == UPLOAD_OWNER_AWAY
            return abandoned(now, reason, now_ms) if still else now

        change = await self._tasks.change(task.id, decide)
        if change.made:
            log.error("photos.lost", task=task.id, upload_owner=task.upload_owner, reason=reason)
            await self._events.publish_end(change.before, change.task, reason)


def with_inputs_missing(task: Task, grace_s: float, now_ms: WallMs) -> Task:
    """Note that a task that waits has no photos, and tell its user what it waits for; once."""
    if task.state is not TaskState.WAITING or task.inputs_missing_since_ms:
        return task
    return msgspec.structs.replace(
        task,
        inputs_missing_since_ms=now_ms,
        waiting_because=INPUTS_MISSING,
        timeline=with_line(task.timeline, MISSING_LINE.format(grace_s=grace_s), now_ms),
    )


def known_on(node: Node, node_task: NodeTaskId, now_ms: WallMs) -> KnownAttempt:
    """Make an attempt of a task that was found on a node."""
    return KnownAttempt(
        number=1,
        node=node.id,
        hostname=node.hostname,
        port=node.port,
        node_task_id=node_task,
        stage=AttemptStage.COMMITTED,
        started_at_ms=now_ms,
        running_at_ms=now_ms,
        machine=node.machine,
    )
