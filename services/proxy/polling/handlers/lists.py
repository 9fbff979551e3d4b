"""The lists of tasks, by owner.

An owner's tasks are all known to the scheduler, also those that ended long ago. Where it cannot be asked, the list is what it
last said to this owner, with what the mirror knows of active tasks; short lists of the owners that asked last are remembered for that. An
owner of whom nothing is known gets no answer, nor one of whose tasks the scheduler does not know yet what lies here.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.tasks import LIST_TASK_IDS, ListTaskIds
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.ports import Cluster, StoreComparison, Trust

OWNERS_COUNT: Final = 100
SHORT_COUNT: Final = 1_000


class ListReading:
    """Reads one owner's list for all who want it: one reading at a time."""

    def __init__(self, read: Callable[[], Awaitable[bytes | BusFailed]]) -> None:
        self._read = read
        self._turn = asyncio.Lock()
        self._begun_count = 0
        self._said: bytes | BusFailed = b""
        self._said_of = 0
        """The number of the reading that said it."""
        self.waiting_count = 0

    async def join(self) -> bytes:
        """Take what a reading says that begins from now on. Raises BusFailed when it says nothing."""
        begun_before_count = self._begun_count
        self.waiting_count += 1
        try:
            async with self._turn:
                if self._said_of <= begun_before_count:
                    self._begun_count += 1
                    self._said, self._said_of = await self._read(), self._begun_count
                said = self._said
        finally:
            self.waiting_count -= 1
        if isinstance(said, BusFailed):
            raise BusFailed(said.message)
        return said


class TaskLists:
    """Lists tasks by owner."""

    def __init__(self, bus: Bus, cluster: Cluster, comparison: StoreComparison | None = None) -> None:
        self._bus = bus
        self._cluster = cluster
        self._comparison = comparison or Trust()
        self._listed: OrderedDict[Owner, tuple[TaskId, ...]] = OrderedDict()
        self._readings: dict[Owner, ListReading] = {}
        """Of those whose lists are read just now."""

    async def of(self, owner: Owner) -> list[TaskId]:
        """List an owner's committed tasks in the order of their commits. Raises BusFailed when nothing is known."""
        try:
            listed = await self._request(owner)
        except BusFailed:
            return self._last_known(owner)
        if await self._comparison.lacks(owner, listed):
            raise BusFailed("the records are not complete yet: a task of this owner is about to be submitted again")
        self._remember(owner, listed)
        return listed

    async def json_of(self, owner: Owner) -> bytes:
        """List them as JSON: an array of `{"uuid"}`. Who asks while the list is read waits for the next reading, which is one for all who wait.

        A list may be megabytes long, and thousands may ask for it at once. Raises BusFailed when nothing is known.
        """
        if owner not in self._readings:
            self._readings[owner] = ListReading(partial(self._read, owner))
        reading = self._readings[owner]
        try:
            return await reading.join()
        finally:
            if not reading.waiting_count:
                self._readings.pop(owner, None)

    async def _read(self, owner: Owner) -> bytes | BusFailed:
        try:
            return msgspec.json.encode([{"uuid": task} for task in await self.of(owner)])
        except BusFailed as error:
            return error

    async def _request(self, owner: Owner) -> list[TaskId]:
        listed: list[TaskId] = []
        more, after = True, None
        while more:
            page = await self._bus.request(LIST_TASK_IDS, ListTaskIds(owner=owner, after=after))
            listed.extend(page.tasks)
            more, after = page.more and bool(page.tasks), page.tasks[-1] if page.tasks else None
        return listed

    def _remember(self, owner: Owner, listed: list[TaskId]) -> None:
        self._listed.pop(owner, None)
        if len(listed) <= SHORT_COUNT:
            self._listed[owner] = tuple(listed)
        while len(self._listed) > OWNERS_COUNT:
            self._listed.popitem(last=False)

    def _last_known(self, owner: Owner) -> list[TaskId]:
        told = self._listed.get(owner)
        if told is None or not self._cluster.ready:
            raise BusFailed("the scheduler cannot be asked for the tasks of this owner")
        active = {task.id: task for task in self._cluster.tasks() if task.owner == owner}
        known = dict.fromkeys((*told, *active))
        return [task for task in known if task not in active or not active[task].removed]
