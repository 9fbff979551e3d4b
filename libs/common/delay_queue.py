"""What is due when: keys with an instant each. The next one is found without looking at the others."""

from collections.abc import Hashable
from heapq import heappop, heappush
from math import inf
from typing import Generic, TypeVar

from clusterodm.libs.common.clocks import Instant

Key = TypeVar("Key", bound=Hashable)


class DelayQueue(Generic[Key]):
    """Instants by key; setting a key again moves it."""

    def __init__(self) -> None:
        self._at: dict[Key, Instant] = {}
        self._heap: list[tuple[Instant, int, Key]] = []
        self._count = 0

    def __contains__(self, key: Key) -> bool:
        """Whether it is due at some time."""
        return key in self._at

    def set(self, key: Key, at: Instant) -> None:
        """Make it due then."""
        self._count += 1
        self._at[key] = at
        heappush(self._heap, (at, self._count, key))

    def discard(self, key: Key) -> None:
        """Make it never due."""
        self._at.pop(key, None)

    def next(self) -> Instant | None:
        """When the next one is due."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def left_s(self, now: Instant, most_s: float, least_s: float = 0.0) -> float:
        """How long to wait for the next one: `most_s` at most, and `least_s` at least, so that what is due soon after comes with it."""
        due = self.next()
        return most_s if due is None else min(most_s, max(least_s, due - now))

    def take_due(self, now: Instant, most_count: float = inf) -> list[Key]:
        """Take out what is due, the longest due first."""
        due: list[Key] = []
        while len(due) < most_count and (at := self.next()) is not None and at <= now:
            _, _, key = heappop(self._heap)
            del self._at[key]
            due.append(key)
        return due
