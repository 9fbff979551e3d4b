"""The order of tasks, and how many of them an owner may have under way.

The order is that of the commits; a task that lost its node keeps its old place. Who gets a free slot is in placement/core/reservations.py.

An owner may have a limited number of tasks under way (`Allowance`); what goes beyond it waits, and the others behind it are not
held up.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from libs.common.model import Task, TaskId

Key = tuple[int, TaskId]


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

    def first(self) -> Key | None:
        """Say who is the oldest."""
        return self._keys[0] if self._keys else None

    def next_after(self, key: Key) -> Key | None:
        """Say who comes after a key, which need not be there."""
        at = bisect_left(self._keys, key)
        at += at < len(self._keys) and self._keys[at] == key
        return self._keys[at] if at < len(self._keys) else None

    def keys(self) -> Iterator[Key]:
        """Go through the places, first the oldest."""
        return iter(self._keys)

    def behind(self, key: Key | None) -> Iterator[TaskId]:
        """Those after a key; all when there is none."""
        start = 0 if key is None else bisect_left(self._keys, key)
        for at in range(start, len(self._keys)):
            if self._keys[at] != key:
                yield self._keys[at][1]
