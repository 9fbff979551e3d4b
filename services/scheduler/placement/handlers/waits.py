"""What becomes of tasks that wait: why they do is told to their users, and those that no node takes end.

There is a line in the timeline when the reason is another, for some tasks at a time, round and round. What it costs does not grow with the queue; the further back a task waits, the later it hears of a change.

A task ends that a node has refused and that no other takes (placement/core/supply.py); all others wait for a node.
"""

from itertools import islice
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant, Now, read
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.estimates import Estimates
from clusterodm.services.scheduler.placement.core.supply import Rental, has_prospect, was_refused, why_unplaceable
from clusterodm.services.scheduler.placement.core.waiting import UPLOAD_OWNER_BUSY, gone_beyond, longest_wait_s
from clusterodm.services.scheduler.records.core import Key, key_of
from clusterodm.services.scheduler.records.handlers.node_store import announced_at, known_proxies
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.proxies import upload_owner_away
from clusterodm.services.scheduler.registry.ranking import need_of
from clusterodm.services.scheduler.task_life.life import abandoned
from clusterodm.services.scheduler.task_life.transitions import (
    UPLOAD_OWNER_AWAY,
    waiting_because,
    waiting_for_upload_owner,
)

log = structlog.get_logger()

PAGE_COUNT: Final = 100
WRITTEN_COUNT: Final = 25
"""So many in a round at most: looking is cheap, a record is a durable write."""


class WaitExplainer:
    """Keeps the reasons in the records of waiting tasks."""

    def __init__(self, state: ClusterState, records: Records, bus: Bus, estimates: Estimates) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._state = state
        self._bus = bus
        self._estimates = estimates
        self._last: Key | None = None

    async def explain(self) -> None:
        """Look at the next waiting tasks; after the last begin with the first."""
        page = tuple(islice(self._index.waiting.behind(self._last), PAGE_COUNT))
        self._last = key_of(self._index.tasks[page[-1]]) if len(page) == PAGE_COUNT else None
        written_count = 0
        for task in [self._index.tasks[task] for task in page if task in self._state.queue]:
            written_count += await self._explain(task)
            if written_count == WRITTEN_COUNT:
                self._last = key_of(task)
                return

    async def _explain(self, task: Task) -> bool:
        """Say why a task waits; whether that is new."""
        now = read(self._clock)
        if self._state.reasons.lacks_inputs(task, now.instant):
            return False  # told by who has learned it (tasks/handlers/absence.py)
        if task.upload_owner in self._state.proxies.away:
            if task.waiting_because == UPLOAD_OWNER_AWAY:
                return False
            await self._say_upload_owner_is_away(task)
            return True
        if self._has_waited_too_long(task, now):
            await self._tasks.change(task.id, gone_beyond)
            return True
        because, word = (
            self._state.reasons.why_waiting(task, now.instant),
            self._state.supply.word(task.id, now.instant),
        )
        start = self._estimates.start_of(task, now)
        if (
            self._is_about_to_begin(task, because, now.instant)
            or waiting_because(task, because, now.wall_ms, word, start) == task
        ):
            return False
        await self._tasks.change(task.id, lambda known: waiting_because(known, because, now.wall_ms, word, start))
        return True

    def _has_waited_too_long(self, task: Task, now: Now) -> bool:
        """Whether a sub-model has waited for as long as it counts as running. One that was tried is under way somehow."""
        if (
            task.id not in self._state.submodels.counted
            or task.attempts
            or self._state.supply.helps((task.id,), now.instant)
        ):
            return False
        longest_s = longest_wait_s(task)
        return now.instant - now.since(task.committed_at_ms, 2 * longest_s) > longest_s

    def _is_about_to_begin(self, task: Task, because: str, now: Instant) -> bool:
        """Whether it waits only because its upload owner is just about to ask."""
        return because != UPLOAD_OWNER_BUSY and self._index.not_before.get(task.id, now) <= now and self._has_slot(task)

    def _has_slot(self, task: Task) -> bool:
        deferred = self._state.foresight.why_deferred(task.id) is not None or not self._state.quota.left_count(
            task.owner
        )
        return not deferred and self._nodes.open.has_room and self._nodes.open.free_for(need_of(task)) is not None

    async def _say_upload_owner_is_away(self, task: Task) -> None:
        """Tell whose photos lie with a proxy that does not answer what its task waits for."""
        url, proxies = await announced_at(self._bus, task.id), await known_proxies(self._bus)
        line, now_ms = upload_owner_away(task.upload_owner, url, proxies), self._clock.wall_ms()
        change = await self._tasks.change(task.id, lambda now: waiting_for_upload_owner(now, line, now_ms))
        if change.made:
            log.warning("task.upload_owner_awaited", task=task.id, upload_owner=task.upload_owner, told=line)


SILENCE_S: Final = 15.0
"""An autoscaler that starts again has spoken by then."""


class UnplaceableTasks:
    """Looks after tasks that were refused."""

    def __init__(self, state: ClusterState, records: Records, events: EventPublisher) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._signals = records.signals
        self._state = state
        self._events = events
        self._refused: dict[TaskId, Instant | None] = {}
        """Since when each has had no prospect but an autoscaler that is silent; None: it has one."""
        for task in self._index.tasks.values():
            self._task_changed(None, task)
        self._signals.task_listeners.append(self._task_changed)

    async def check(self) -> None:
        """End those that have no prospect any more."""
        for task_id in list(self._refused):
            task = self._index.tasks.get(task_id)
            if task is not None and self._is_over(task):
                await self._end(task)

    def _is_over(self, task: Task) -> bool:
        now, nodes = self._clock.instant(), self._nodes.listed()
        rental = self._state.supply.rental(task.id, now)
        if has_prospect(task, nodes, rental):
            self._refused[task.id] = None
            return False
        since = self._refused[task.id] or now
        self._refused[task.id] = since
        return rental is not Rental.SILENT or now - since >= SILENCE_S

    async def _end(self, task: Task) -> None:
        reason, now_ms = why_unplaceable(task, self._nodes.listed()), self._clock.wall_ms()

        def decide(now: Task) -> Task:
            return abandoned(now, reason, now_ms) if was_refused(now) else now

        change = await self._tasks.change(task.id, decide)
        if change.made:
            log.warning("task.unplaceable", task=task.id, reason=reason)
            await self._events.publish_end(change.before, change.task, reason)

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        if after is not None and was_refused(after):
            self._refused.setdefault(after.id, None)
        elif before is not None:
            self._refused.pop(before.id, None)
