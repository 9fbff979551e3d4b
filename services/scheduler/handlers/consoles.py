"""The whole console of each task that has ended, kept when its node may be gone.

While a task runs, its node has its console; the record holds the tail. When the end is seen, the whole of it is fetched once more
and put into the object store, and only then the end is written: whoever reads the record finds the console. Where that fails
or takes too long, the task has ended all the same and the tail has to do. A kept console goes with its record.
"""

import asyncio
from collections import OrderedDict
from typing import Final

import structlog

from libs.common.errors import BusFailed, ClusterError
from libs.common.messages import CONSOLES
from libs.common.model import LastKnown, Node, NodeTaskId, Task, TaskId
from libs.common.ports import Bus, Objects
from services.scheduler.core.console import KeptConsole, packed, tail_of, unpacked
from services.scheduler.handlers.office import Office
from services.scheduler.ports import NodeApi
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

REMEMBERED_COUNT: Final = 16
"""Consoles that are kept in memory, unpacked: who reads one reads it again from the next line on."""


class Consoles:
    """Keeps and reads consoles."""

    def __init__(self, objects: Objects, api: NodeApi, office: Office, settings: SchedulerSettings) -> None:
        self._objects = objects
        self._api = api
        self._office = office
        self._timeout_s = settings.console_timeout_s
        self._read: OrderedDict[tuple[TaskId, int | None], KeptConsole] = OrderedDict()

    @classmethod
    async def open(cls, bus: Bus, api: NodeApi, office: Office, settings: SchedulerSettings) -> "Consoles":
        """Open the store."""
        objects = await bus.objects(CONSOLES, settings.task_retention_h * 3600)
        return cls(objects, api, office, settings)

    async def keep(self, task: TaskId, node: Node, node_task: NodeTaskId) -> bool:
        """Fetch a console from its node and keep it; whether that worked, within its time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                lines = await self._api.output(node, node_task, 0, self._timeout_s)
                if lines is None:
                    return False
                stored_bytes = await self._put(task, KeptConsole(lines))
        except (ClusterError, TimeoutError) as error:
            log.warning("console not kept", task=task, node=node.id, error=str(error) or type(error).__name__)
            return False
        log.info("console kept", task=task, lines=len(lines), stored_bytes=stored_bytes)
        return True

    async def keep_seen(self, task: TaskId, known: LastKnown | None) -> bool:
        """Keep what was last seen of a console, if there is anything; whether that worked."""
        if known is None or not known.console_tail:
            return False
        try:
            await self.keep_tail(task, known)
        except BusFailed as error:
            log.warning("console not kept", task=task, error=error.message)
            return False
        return True

    async def keep_tail(self, task: TaskId, known: LastKnown) -> None:
        """Keep what was last seen of a console whose node cannot be asked. Raises BusFailed."""
        await self._put(task, tail_of(known))

    async def _put(self, task: TaskId, console: KeptConsole) -> int:
        content = await asyncio.to_thread(packed, console)
        self._office.require()
        await self._objects.put(task, content)
        return len(content)

    async def read(self, task: Task) -> KeptConsole | None:
        """Read a kept console; None when there is none to be had."""
        key = (task.id, task.ended_at_ms)
        if key not in self._read:
            console = await self._load(task.id) if task.console_kept else None
            if console is None:
                return None
            self._read[key] = console
            while len(self._read) > REMEMBERED_COUNT:
                self._read.popitem(last=False)
        self._read.move_to_end(key)
        return self._read[key]

    async def drop(self, task: Task) -> None:
        """Delete what is kept of a task. What cannot be deleted now goes with its time."""
        if not task.console_kept:
            return
        try:
            await self._objects.delete(task.id)
        except BusFailed as error:
            log.warning("console not deleted", task=task.id, error=error.message)

    async def _load(self, task: TaskId) -> KeptConsole | None:
        try:
            content = await self._objects.get(task)
        except BusFailed as error:
            log.warning("console not read", task=task, error=error.message)
            return None
        return None if content is None else await asyncio.to_thread(unpacked, content)
