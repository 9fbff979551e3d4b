"""In which order waiting tasks should get slots, for people: what the walk of the queue (placement/core/reservations.py) would do if every slot took every task.

Without tenants that is the order of `place_of`, as it stands. With tenants whose turn it is depends on what is served before: so the first
`FORESEEN_COUNT` are played on a copy of the clocks, which is kept until anything changes, and those behind them are listed by place.
"""

from bisect import bisect_left
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Final

from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.services.scheduler.placement.core.lanes import WaitingLane, WaitingLanes
from clusterodm.services.scheduler.placement.core.shares import FairShares, OwnersInTurn
from clusterodm.services.scheduler.records.core import Key, TaskIndex, place_of

FORESEEN_COUNT: Final = 500


class QueueOrder:
    """The order, and which place a task has in it."""

    def __init__(self, index: TaskIndex, queue: WaitingLanes, shares: FairShares) -> None:
        self._index = index
        self._queue = queue
        self._shares = shares
        self._as_of: object = None
        self._at: dict[TaskId, int] = {}
        """Which place each of those has that were played, from 1."""
        self._keys: list[Key] = []
        """The same by what would be their places without tenants."""

    def page(self, offset_count: int, limit_count: int) -> list[TaskId]:
        """Name some of the waiting tasks in their order."""
        played = self._played()
        first = list(islice(played, offset_count, offset_count + limit_count))
        others = (task for task in self._index.by_place if task not in played)
        begin = max(0, offset_count - len(played))
        return [*first, *islice(others, begin, begin + limit_count - len(first))]

    def position(self, task: Task) -> int:
        """Say which place a waiting task has, from 1."""
        key, played = place_of(task), self._played()
        if task.id in played:
            return played[task.id]
        return self._index.by_place.position(key) + len(self._keys) - bisect_left(self._keys, key)

    def _played(self) -> dict[TaskId, int]:
        if not self._shares:
            return {}
        now = (self._queue.version, self._shares.version)
        if self._as_of != now:
            order = list(islice(play(self._queue, self._shares.copy(), self._index), FORESEEN_COUNT))
            self._as_of, self._at = now, {task: at for at, task in enumerate(order, start=1)}
            self._keys = sorted(place_of(self._index.tasks[task]) for task in order)
        return self._at


def play(queue: WaitingLanes, shares: FairShares, index: TaskIndex) -> Iterator[TaskId]:
    """Serve one task after the other. The clocks of `shares` go on by it."""
    lanes: dict[Owner, list[WaitingLane]] = {}
    for lane in queue:
        lanes.setdefault(lane.id.owner, []).append(lane)
    following = {owner: merge(*theirs) for owner, theirs in lanes.items()}
    turns = OwnersInTurn(shares)

    def put(owner: Owner) -> None:
        if (key := next(following[owner], None)) is not None:
            heads[owner] = index.tasks[key[1]]
            turns.put(owner, heads[owner])

    heads: dict[Owner, Task] = {}
    for owner in following:
        put(owner)
    while turns:
        owner = turns.pop()
        shares.served(heads[owner])
        yield heads[owner].id
        put(owner)
