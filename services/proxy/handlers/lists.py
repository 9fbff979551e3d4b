"""An owner's tasks, for `/task/list`: the scheduler knows all of them, also those that ended long ago.

Where it cannot be asked, the list is what it last said to this owner, with what the mirror knows of active tasks; short lists
of the owners that asked last are remembered for that. An owner of whom nothing is known gets no answer.
"""

from collections import OrderedDict
from typing import Final

from libs.common.errors import BusFailed
from libs.common.messages import LIST_TASK_IDS, ListTaskIds
from libs.common.model import Owner, TaskId
from libs.common.ports import Bus
from services.proxy.ports import Cluster

OWNERS_COUNT: Final = 100
SHORT_COUNT: Final = 1_000


class TaskLists:
    """Lists tasks by owner."""

    def __init__(self, bus: Bus, cluster: Cluster) -> None:
        self._bus = bus
        self._cluster = cluster
        self._told: OrderedDict[Owner, tuple[TaskId, ...]] = OrderedDict()

    def __repr__(self) -> str:
        """Show how many lists are remembered."""
        return f"TaskLists({len(self._told)})"

    async def of(self, owner: Owner) -> list[TaskId]:
        """List an owner's committed tasks in the order of their commits. Raises BusFailed when nothing is known."""
        try:
            listed = await self._ask(owner)
        except BusFailed:
            return self._last_known(owner)
        self._remember(owner, listed)
        return listed

    async def _ask(self, owner: Owner) -> list[TaskId]:
        listed: list[TaskId] = []
        more, after = True, None
        while more:
            page = await self._bus.ask(LIST_TASK_IDS, ListTaskIds(owner=owner, after=after))
            listed.extend(page.tasks)
            more, after = page.more and bool(page.tasks), page.tasks[-1] if page.tasks else None
        return listed

    def _remember(self, owner: Owner, listed: list[TaskId]) -> None:
        self._told.pop(owner, None)
        if len(listed) <= SHORT_COUNT:
            self._told[owner] = tuple(listed)
        while len(self._told) > OWNERS_COUNT:
            self._told.popitem(last=False)

    def _last_known(self, owner: Owner) -> list[TaskId]:
        told = self._told.get(owner)
        if told is None or not self._cluster.ready:
            raise BusFailed("the scheduler cannot be asked for the tasks of this owner")
        active = {task.id: task for task in self._cluster.tasks() if task.owner == owner}
        known = dict.fromkeys((*told, *active))
        return [task for task in known if task not in active or not active[task].removed]
