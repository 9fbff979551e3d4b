"""Who gets the slots that are free: the oldest task first, among those whose holders ask at this moment and can send.

One synchronous step, from the choice to the reservation. It looks at the oldest task of each lane (core/lanes.py): the oldest of these
is served; where no open node takes it, none of its lane can be served, since open nodes only become fewer from here on. So it costs
what is placed and how many lanes there are, and not how many tasks wait.

Nobody starves: a task is passed over only when no open node takes it, or its holder or its owner has enough under way, or it is
better off elsewhere (core/foresight.py, core/supply.py). None behind it can get a node that it could have used.
"""

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush

from libs.common.model import Task, TaskId
from services.scheduler.core.holders import Holders
from services.scheduler.core.lanes import Kind, Lane, Lanes
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.placement import Placement, need_of
from services.scheduler.core.queue import Allowance, Key
from services.scheduler.core.registry import Registry


class Walk:
    """One walk of the queue."""

    def __init__(  # noqa: PLR0913, PLR0917 everything that it depends on
        self,
        tasks: Mapping[TaskId, Task],
        registry: Registry,
        holders: Holders,
        allowance: Allowance,
        may: Callable[[Task], bool],
        holds: Callable[[Task, NodeState], bool],
    ) -> None:
        self._tasks = tasks
        self._registry = registry
        self._holders = holders
        self._allowance = allowance
        self._may = may
        """Whether a task may be placed now."""
        self._holds = holds
        """Whether a task is held back from a slot that is free."""

    def reserve_all(self, lanes: Lanes, reserve: Callable[[Task, Placement], None]) -> None:
        """Give out what is free. `reserve` must take the slot, and the task out of its lane, before it returns."""
        if not self._registry.has_room:
            return
        heads: list[tuple[Key, Lane]] = [
            (key, lane)
            for holder in self._holders.asking()
            if self._holders.room_count(holder)
            for lane in lanes.of_holder(holder)
            if (key := lane.order.first())
        ]
        heapify(heads)
        hopeless: set[Kind] = set()
        while heads and self._registry.has_room:
            key, lane = heappop(heads)
            if lane.id.kind in hopeless or not self._may_send(self._tasks[key[1]]):
                continue
            if not self._serve(self._tasks[key[1]], reserve):
                hopeless.add(lane.id.kind)
            elif following := lane.order.next_after(key):
                heappush(heads, (following, lane))

    def _may_send(self, task: Task) -> bool:
        return self._holders.room_count(task.holder) > 0 and self._allowance.left_count(task.owner) > 0

    def _serve(self, task: Task, reserve: Callable[[Task, Placement], None]) -> bool:
        """Serve one task if it can be; whether there is a node at all that takes such a task."""
        if self._may(task):
            choice = self._registry.choose(need_of(task))
            if choice is None:
                return False
            if not self._holds(task, choice.node):
                reserve(task, choice)
        return True
