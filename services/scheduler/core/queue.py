"""Who waits, in order, and who is promised the next free slot.

The order is that of the commits; a task that lost its node keeps its old place. `grant` walks it once: a task that nobody may
place now (back-off, or its holder is away) or that fits nowhere is passed over, and the others behind it get their chance.
Nobody starves by that: a task is only passed over when no open node takes it, so none behind it can get a node that it
could have used; whatever becomes free is offered to the oldest first.

An owner may have a limited number of tasks under way (`Allowance`); what goes beyond it waits, and the others behind it are not
held up.

A grant reserves its slot at once, so that simultaneous commits spread, and it expires when the holder does not pick it up; then the
holder counts as away until it asks for anything again, lest a dead proxy with a hundred tasks hold up each slot in turn.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from libs.common.clocks import Instant
from libs.common.model import InstanceId, NodeId, Owner, Task, TaskId
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.placement import Placement, need_of
from services.scheduler.core.registry import Registry

Key = tuple[int, TaskId]
NEVER: Final = -1


def key_of(task: Task) -> Key:
    """Place of a task in every order: its commit, made unique by its id."""
    return task.committed_at_ms, task.id


class Ordered:
    """Task ids in the order of their commits. Adding, removing and finding a place cost a binary search."""

    def __init__(self) -> None:
        self._keys: list[Key] = []

    def __len__(self) -> int:
        """How many."""
        return len(self._keys)

    def __iter__(self) -> Iterator[TaskId]:
        """First the oldest."""
        return (task for _, task in self._keys)

    def add(self, key: Key) -> None:
        """Put a task in its place; nothing happens when it is there."""
        if not self.has(key):
            insort(self._keys, key)

    def discard(self, key: Key) -> None:
        """Take a task out; nothing happens when it is not there."""
        if self.has(key):
            del self._keys[bisect_left(self._keys, key)]

    def has(self, key: Key) -> bool:
        """Whether it is there."""
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at] == key

    def position(self, key: Key) -> int:
        """Which place it has, or would have, from 1."""
        return bisect_left(self._keys, key) + 1

    def behind(self, key: Key | None) -> Iterator[TaskId]:
        """Those after a key; all when there is none."""
        start = 0 if key is None else bisect_left(self._keys, key)
        for at in range(start, len(self._keys)):
            if self._keys[at] != key:
                yield self._keys[at][1]


class Unpromised:
    """Waiting tasks that have been promised no slot, in order; and which of them are new since the queue was last walked.

    Those that were walked past find nothing better as long as no node has changed: then a walk is about the new ones alone.
    """

    def __init__(self) -> None:
        self.images_count = 0
        """Of all of them."""
        self._order = Ordered()
        self._new: dict[TaskId, None] = {}
        self._later: dict[TaskId, Instant] = {}
        """Until when those wait that may not be placed before a time."""
        self._version = NEVER
        """Of the nodes, when the queue was last walked."""
        self._walked: Instant | None = None

    def __repr__(self) -> str:
        """Show how many, and how many of them are new."""
        return f"Unpromised({len(self._order)} new={len(self._new)})"

    def __len__(self) -> int:
        """How many."""
        return len(self._order)

    def __iter__(self) -> Iterator[TaskId]:
        """First the oldest."""
        return iter(self._order)

    def add(self, task: Task, not_before: Instant | None) -> None:
        """Put a task in its place. `not_before`: when its back-off is over."""
        if self._order.has(key_of(task)):
            return
        self._order.add(key_of(task))
        self.images_count += task.images_count
        self._new[task.id] = None
        if not_before is not None:
            self._later[task.id] = not_before

    def discard(self, task: Task) -> None:
        """Take a task out; nothing happens when it is not there."""
        if self._order.has(key_of(task)):
            self._order.discard(key_of(task))
            self.images_count -= task.images_count
            self._new.pop(task.id, None)
            self._later.pop(task.id, None)

    def walk_all(self) -> None:
        """Let the next walk be about all of them: something else than nodes may have changed."""
        self._version = NEVER

    def to_walk(self, version: int, now: Instant) -> Iterator[TaskId]:
        """Go through those for which there may be a slot; nothing is to be added meanwhile. `version`: that of the nodes."""
        since, self._walked = self._walked, now
        is_due = any(at <= now and (since is None or since < at) for at in self._later.values())
        is_walked, new = version == self._version and not is_due, tuple(self._new)
        self._new.clear()
        return iter(new if is_walked else self._order)

    def walked(self, version: int) -> None:
        """Note that all of them have been walked past, and how the nodes were at the end of it."""
        self._version = version


@dataclass
class Grant:
    """A slot promised to a waiting task."""

    task: TaskId
    node: NodeId
    expires: Instant
    reason: str


class Allowance:
    """How many tasks each owner may have under way, promised slots included. 0: any number."""

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
        """Count a task that is under way or promised a slot; counted once however often."""
        self._under_way.setdefault(owner, set()).add(task)

    def give_back(self, owner: Owner, task: TaskId) -> None:
        """Count it no more."""
        tasks = self._under_way.get(owner, set())
        tasks.discard(task)
        if not tasks:
            self._under_way.pop(owner, None)


def may_be_placed(task: Task, away: Container[InstanceId], not_before: Mapping[TaskId, Instant], now: Instant) -> bool:
    """Whether there is any point in promising it a slot now."""
    return not_before.get(task.id, now) <= now and task.holder not in away


def grant(  # noqa: PLR0913, PLR0917 everything that a promise depends on
    waiting: Iterable[Task],
    registry: Registry,
    reserve: Callable[[Task, Placement], None],
    away: Container[InstanceId],
    allowance: Allowance,
    not_before: Mapping[TaskId, Instant],
    now: Instant,
    holds: Callable[[Task, NodeState], bool] = lambda _task, _node: False,
) -> None:
    """Promise free slots to waiting tasks, the oldest first. `reserve` must take the slot before it returns.

    `holds`: whether a task is held back from a slot that is free (core/foresight.py, core/supply.py).
    """
    hopeless: set[tuple[int, int, bool]] = set()
    for task in waiting:
        if not registry.has_room:
            return
        kind = (task.images_count, task.min_memory_bytes, bool(task.zip_url))
        if kind in hopeless or not may_be_placed(task, away, not_before, now) or not allowance.left_count(task.owner):
            continue
        choice = registry.choose(need_of(task))
        if choice is None:
            hopeless.add(kind)  # the open nodes only become fewer from here on
        elif not holds(task, choice.node):
            reserve(task, choice)
