"""What nodes say of tasks and is kept: the last of those that run, the whole console of those that have ended.

What nodes last said of running tasks is in memory after each look, and in KV `observations` now and then. Nothing is decided by it. It is there so that a poll whose node is silent is answered with something, by whichever proxy, also when a
scheduler has just taken over. So it is cheap: a short tail of the console, no options that the task has itself, not on disk before
it is answered, and no more often than every ten seconds of a task.

While a task runs, its node has its console; the record holds the tail. When the end is seen, the whole of it is fetched once more
and put into the object store, and only then the end is written: whoever reads the record finds the console. Where that fails
or takes too long, the task has ended all the same and the tail has to do. A kept console goes with its record.
"""

import asyncio
from collections import OrderedDict
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.chosen import differences
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.delay_queue import DelayQueue
from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.http_io.room import ROOM, size_of
from clusterodm.libs.common.messages.buckets import CONSOLES, OBSERVATIONS
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import LastKnown, Observation, Task, TaskState
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.libs.common.ports import Bucket, Bus, Objects
from clusterodm.services.scheduler.leadership import Leadership
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.tasks.core.observation import (
    KeptConsole,
    is_due,
    packed,
    shortened,
    tail_of,
    unpacked,
)

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)

READ_S: Final = 3.0
"""So long is waited for what may be lost, with nobody leading."""
LINGER_S: Final = 60.0
"""So long after a run what was seen of it stays: whoever reads it must have heard first that the run is over."""


class ObservationStore:
    """Keeps what was seen."""

    def __init__(self, records: Records, bucket: Bucket[Observation]) -> None:
        self._index = records.index
        self._clock = records.clock
        self._signals = records.signals
        self._bucket = bucket
        self._written: dict[TaskId, tuple[LastKnown, Instant]] = {}
        self._over: DelayQueue[TaskId] = DelayQueue()
        self._signals.task_listeners.append(self._task_changed)

    @classmethod
    async def open(cls, bus: Bus, records: Records) -> "ObservationStore":
        """Read what was seen last of the tasks that run, if it is there. What is of an earlier run goes. Raises BusFailed."""
        observer = cls(records, await bus.bucket(OBSERVATIONS))
        try:
            async with asyncio.timeout(READ_S):
                found = await observer._bucket.load()
        except (BusFailed, TimeoutError) as error:
            log.warning("observations.read_failed", reason=str(error) or type(error).__name__)
            return observer
        for key, entry in found.items():
            observer._remember(TaskId(key), entry.value)
        return observer

    def _remember(self, task_id: TaskId, seen: Observation) -> None:
        task = self._index.tasks.get(task_id)
        shown = self._index.shown(task).with_seen(seen) if task else None
        if shown is not None and shown.known is seen.known:
            self._index.observe(task_id, seen.known)
        elif task is None or task.state is not TaskState.RUNNING:
            self._over.set(task_id, self._clock.instant() + LINGER_S)

    async def note(self, task: Task, known: LastKnown) -> None:
        """Take in what was seen of a running task, and write it if that is due."""
        self._index.observe(task.id, known)
        now = self._clock.instant()
        written, at = self._written.get(task.id, (None, now))
        if not is_due(written, known, now - at):
            return
        self._written[task.id] = known, now
        try:
            await self._bucket.put(task.id, observation_of(task, known))
        except BusFailed as error:
            log.debug("observation.write_failed", task=task.id, error=error.message)

    async def forget_over(self) -> None:
        """Delete what was seen of runs that are over; what cannot be deleted goes by itself, some days later."""
        try:
            for task in self._over.take_due(self._clock.instant()):
                await self._bucket.delete(task)
        except BusFailed as error:
            log.debug("observations.delete_failed", error=error.message)

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        if after is not None and after.state is TaskState.RUNNING:
            self._over.discard(after.id)
        elif before is not None and before.state is TaskState.RUNNING:
            self._written.pop(before.id, None)
            self._over.set(before.id, self._clock.instant() + LINGER_S)


def observation_of(task: Task, known: LastKnown) -> Observation:
    """Say what is written of what was seen of a running task."""
    last = task.attempts[-1]
    short = msgspec.structs.replace(differences(known, task.options), console_tail=shortened(known))
    return Observation(node_task_id=last.node_task_id, running_at_ms=last.running_at_ms or 0, known=short)


REMEMBERED_COUNT: Final = 16
"""Consoles that are kept in memory, unpacked: who reads one reads it again from the next line on."""
REMEMBERED_BYTES: Final = 64 << 20
"""Of those together; one may have more."""


class ConsoleStore:
    """Keeps and reads consoles."""

    def __init__(self, objects: Objects, api: NodeApi, leadership: Leadership, settings: SchedulerSettings) -> None:
        self._objects = objects
        self._api = api
        self._leadership = leadership
        self._timeout_s = settings.console_timeout_s
        self._read: OrderedDict[tuple[TaskId, int | None], tuple[KeptConsole, int]] = OrderedDict()
        """Each with what it takes, in bytes."""
        self._unpacking = asyncio.Lock()

    @classmethod
    async def open(cls, bus: Bus, api: NodeApi, leadership: Leadership, settings: SchedulerSettings) -> "ConsoleStore":
        """Open the store."""
        objects = await bus.objects(CONSOLES, settings.task_retention_h * 3600)
        return cls(objects, api, leadership, settings)

    async def keep(self, task: TaskId, node: Node, node_task: NodeTaskId) -> bool:
        """Fetch a console from its node and keep it; whether that worked, within its time."""
        try:
            async with asyncio.timeout(self._timeout_s), ROOM.share() as share:
                lines = await self._api.output(node, node_task, 0, self._timeout_s)
                if lines is None:
                    return False
                await share.add(size_of(lines), self._timeout_s)
                stored_bytes = await self._put(task, KeptConsole(lines))
        except (ClusterError, TimeoutError) as error:
            log.warning("console.keep_failed", task=task, node=node.id, error=str(error) or type(error).__name__)
            return False
        log.info("console.kept", task=task, lines=len(lines), stored_bytes=stored_bytes)
        return True

    async def keep_seen(self, task: TaskId, known: LastKnown | None) -> bool:
        """Keep what was last seen of a console, if there is anything; whether that worked."""
        if known is None or not known.console_tail:
            return False
        try:
            await self.keep_tail(task, known)
        except BusFailed as error:
            log.warning("console.keep_failed", task=task, error=error.message)
            return False
        return True

    async def keep_tail(self, task: TaskId, known: LastKnown) -> None:
        """Keep what was last seen of a console whose node cannot be asked. Raises BusFailed."""
        await self._put(task, tail_of(known))

    async def _put(self, task: TaskId, console: KeptConsole) -> int:
        content = await asyncio.to_thread(packed, console)
        self._leadership.require()
        await self._objects.put(task, content)
        return len(content)

    async def read(self, task: Task) -> KeptConsole | None:
        """Read a kept console; None when there is none to be had."""
        key = (task.id, task.ended_at_ms)
        known = self._read.pop(key, None)
        if known is None:
            console = await self._load(task.id) if task.console_kept else None
            if console is None:
                return None
            known = console, size_of(console.lines)
        self._read[key] = known
        while self._remembers_too_much():
            self._read.popitem(last=False)
        return known[0]

    def _remembers_too_much(self) -> bool:
        sizes_bytes = [size_bytes for _, size_bytes in self._read.values()]
        return len(sizes_bytes) > REMEMBERED_COUNT or (len(sizes_bytes) > 1 and sum(sizes_bytes) > REMEMBERED_BYTES)

    async def drop(self, task: Task) -> None:
        """Delete what is kept of a task. What cannot be deleted now goes with its time."""
        if not task.console_kept:
            return
        try:
            await self._objects.delete(task.id)
        except BusFailed as error:
            log.warning("console.delete_failed", task=task.id, error=error.message)

    async def _load(self, task: TaskId) -> KeptConsole | None:
        try:
            content = await self._objects.get(task)
        except BusFailed as error:
            at_will.warning("console.read_failed", task=task, error=error.message)
            return None
        if content is None:
            return None
        async with self._unpacking:  # one at a time, beside those that are remembered
            return await asyncio.to_thread(unpacked, content)
