"""Waiting tasks by who holds them, whose they are and what they need, so that a question about all of a kind is asked once.

A *lane* holds the tasks of one upload owner and one owner that fit exactly the same nodes, in the order of the queue: their commits, where no operator has said otherwise. How many images
a task has matters to a node only by the node's limit; so between two limits that occur all numbers are alike, and a lane stands for
all of them (`LaneKind.rung`). Where tasks need more than room for their images (memory, a number of images that is not known yet, not one of some nodes) each
such need is a lane of its own.

So there are about as many lanes as upload owners times kinds of nodes, however many tasks wait: what is free is compared with each
lane, and not with each task. Owners are told apart only where they are limited.

When another limit of images appears among the nodes, or other owners have nodes of their own, all tasks are filed anew; that is rare.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import NOBODY, InstanceId, Owner, TaskId
from clusterodm.services.scheduler.records.core import Key, Ordered, place_of
from clusterodm.services.scheduler.registry.ranking import Need, NodeOnMachine, need_of


class LaneKind(NamedTuple):
    """What decides which nodes take a task."""

    rung: int
    """Between which limits of images it is; -1: a need of its own."""
    images_count: int = 0
    min_memory_bytes: int = 0
    images_known: bool = True
    barred: frozenset[NodeOnMachine] = frozenset()
    owner: Owner = NOBODY
    """Where it may fit other nodes than anybody's (registry/admissions.py)."""
    gpu: bool = False
    interruptions_count: int = 0


class LaneId(NamedTuple):
    """Whose tasks, and which."""

    upload_owner: InstanceId
    owner: Owner
    kind: LaneKind


@dataclass(eq=False)
class WaitingLane:
    """Tasks of one upload owner and owner that fit the same nodes."""

    id: LaneId
    need: Need
    """Of any of them, as far as nodes that take it or not are concerned."""
    order: Ordered = field(default_factory=Ordered)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Key]:
        """First who is next: the oldest, where no priority says otherwise."""
        return self.order.keys()


class WaitingLanes:
    """All waiting tasks for which no slot is reserved."""

    def __init__(self, *, by_owner: bool) -> None:
        self._by_owner = by_owner
        self._limits: tuple[int, ...] = ()
        self._apart: frozenset[Owner] = frozenset()
        """Owners whose tasks may fit other nodes than anybody's."""
        self._of_upload_owner: dict[InstanceId, dict[LaneId, WaitingLane]] = {}
        self._filed: dict[TaskId, LaneId] = {}
        self._places: dict[TaskId, Key] = {}
        self._images: dict[TaskId, int] = {}
        self.images_count = 0
        """Of all of them, as far as they are known."""
        self.version = 0
        """Grows with every change."""

    def __len__(self) -> int:
        return len(self._filed)

    def __contains__(self, task: TaskId) -> bool:
        """Whether a task is there."""
        return task in self._filed

    def __iter__(self) -> Iterator[WaitingLane]:
        """Go through all lanes."""
        return (lane for lanes in self._of_upload_owner.values() for lane in lanes.values())

    def upload_owners(self) -> tuple[InstanceId, ...]:
        """Name the upload owners of waiting tasks."""
        return tuple(self._of_upload_owner)

    def of_upload_owner(self, upload_owner: InstanceId) -> tuple[WaitingLane, ...]:
        """List the lanes of an upload owner."""
        return tuple(self._of_upload_owner.get(upload_owner, {}).values())

    def lane_of(self, task: TaskId) -> WaitingLane | None:
        """Find the lane that a task is in."""
        found = self._filed.get(task)
        return self._of_upload_owner[found.upload_owner][found] if found else None

    def add(self, task: Task) -> None:
        """Put a task in its place; one that is there with the same need stays."""
        lane_id = LaneId(task.upload_owner, task.owner if self._by_owner else NOBODY, self._kind_of(task))
        if self._filed.get(task.id) == lane_id and self._places[task.id] == place_of(task):
            return
        self.discard(task)
        lanes = self._of_upload_owner.setdefault(task.upload_owner, {})
        if lane_id not in lanes:
            lanes[lane_id] = WaitingLane(lane_id, self._need_of(lane_id.kind))
        lanes[lane_id].order.add(place_of(task))
        self._places[task.id] = place_of(task)
        self._filed[task.id] = lane_id
        self._images[task.id] = task.images_count or 0
        self.images_count += task.images_count or 0
        self.version += 1

    def discard(self, task: Task) -> None:
        """Take a task out; nothing happens when it is not there."""
        lane_id = self._filed.pop(task.id, None)
        if lane_id is None:
            return
        lanes = self._of_upload_owner[lane_id.upload_owner]
        lanes[lane_id].order.discard(self._places.pop(task.id))
        if not lanes[lane_id]:
            del lanes[lane_id]
        if not lanes:
            del self._of_upload_owner[lane_id.upload_owner]
        self.images_count -= self._images.pop(task.id)
        self.version += 1

    def task_changed(self, before: Task | None, after: Task | None, *, reserved: bool) -> None:
        """Hold what waits and has no slot reserved."""
        if after is not None and after.state is TaskState.WAITING:
            if not reserved:
                self.add(after)
        elif before is not None:
            self.discard(before)

    def fit(self, limits: tuple[int, ...], tasks: Mapping[TaskId, Task], apart: frozenset[Owner] = frozenset()) -> None:
        """File all tasks anew when other limits of images occur among the nodes than before, or others have nodes of their own."""
        if (limits, apart) == (self._limits, self._apart):
            return
        self._limits, self._apart = limits, apart
        self._file_anew(tasks)

    def tell_owners_apart(self, tasks: Mapping[TaskId, Task]) -> None:
        """Have lanes for each owner from now on."""
        if not self._by_owner:
            self._by_owner = True
            self._file_anew(tasks)

    def _file_anew(self, tasks: Mapping[TaskId, Task]) -> None:
        filed = [tasks[task] for task in self._filed]
        for task in filed:
            self.discard(task)
        for task in filed:
            self.add(task)

    def _kind_of(self, task: Task) -> LaneKind:
        need = need_of(task)
        owner = task.owner if task.owner in self._apart else NOBODY
        kind = LaneKind(-1, owner=owner, gpu=need.gpu, interruptions_count=need.interruptions_count)
        if need.singular:
            return kind._replace(
                images_count=need.images_count or 0,
                min_memory_bytes=need.min_memory_bytes,
                images_known=need.images_known,
                barred=need.barred,
            )
        return kind._replace(rung=bisect_left(self._limits, need.images_count or 0))

    def _need_of(self, kind: LaneKind) -> Need:
        return Need(
            self._images_of(kind),
            kind.images_known,
            min_memory_bytes=kind.min_memory_bytes,
            barred=kind.barred,
            owner=kind.owner,
            gpu=kind.gpu,
            interruptions_count=kind.interruptions_count,
        )

    def _images_of(self, kind: LaneKind) -> int | None:
        """Say for how many images a node has to be for all of a lane; None: for any number."""
        if kind.rung < 0:
            return kind.images_count
        return self._limits[kind.rung] if kind.rung < len(self._limits) else None
