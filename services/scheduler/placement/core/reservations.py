"""Slots that are reserved, for whom, and how many tasks of an owner may be under way.

The order of tasks, and how many of them an owner may have under way.

The order is that of the commits; a task that lost its node keeps its old place. Who gets a free slot is in placement/core/reservations.py.

An owner may have a limited number of tasks under way (`Allowance`); what goes beyond it waits, and the others behind it are not
held up.

Who gets the slots that are free: the oldest task first, among those whose holders ask at this moment and can send.

One synchronous step, from the choice to the reservation. It looks at the oldest task of each lane (placement/core/queue.py): the oldest of these
is served; where no open node takes it, none of its lane can be served, since open nodes only become fewer from here on. So it costs
what is placed and how many lanes there are, and not how many tasks wait.

Nobody starves: a task is passed over only when no open node takes it, or its holder or its owner has enough under way, or it is
better off elsewhere (placement/core/foresight.py, placement/core/supply.py). None behind it can get a node that it could have used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf

from libs.common.model import NodeId, Owner, Task, TaskId
from services.scheduler.placement.core.queue import Kind, Lane, Lanes
from services.scheduler.records.core import Key
from services.scheduler.registry.node_state import NodeState
from services.scheduler.registry.nodes import Registry
from services.scheduler.registry.proxies import Holders
from services.scheduler.registry.ranking import Placement, need_of


@dataclass(frozen=True)
class Reservation:
    """A slot that is kept for a waiting task from the choice until its attempt is written down."""

    task: TaskId
    node: NodeId
    reason: str


class Allowance:
    """How many tasks each owner may have under way, reserved slots included. 0: any number."""

    def __init__(self, limit_count: int = 0) -> None:
        self.limit_count = limit_count
        self._under_way: dict[Owner, set[TaskId]] = {}

    def __repr__(self) -> str:
        """Show the limit and how many owners have something under way."""
        return f"Allowance(limit={self.limit_count} owners={len(self._under_way)})"

    def used_count(self, owner: Owner) -> int:
        """Say how many of an owner's tasks are under way."""
        return len(self._under_way.get(owner, ()))

    def left_count(self, owner: Owner) -> float:
        """Say how many more may begin."""
        return max(0, self.limit_count - self.used_count(owner)) if self.limit_count else inf

    def take(self, owner: Owner, task: TaskId) -> None:
        """Count a task that is under way or has a slot reserved; counted once however often."""
        self._under_way.setdefault(owner, set()).add(task)

    def give_back(self, owner: Owner, task: TaskId) -> None:
        """Count it no more."""
        tasks = self._under_way.get(owner, set())
        tasks.discard(task)
        if not tasks:
            self._under_way.pop(owner, None)


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
