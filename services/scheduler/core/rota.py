"""What is due when: keys with a time each. The next one is found without looking at the others."""

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Rota(Generic[Key]):
    """Times by key; setting a key again moves it."""

    def __init__(self) -> None:
        self._at: dict[Key, int] = {}
        self._heap: list[tuple[int, int, Key]] = []
        self._count = 0

    def __contains__(self, key: Key) -> bool:
        """Whether it is due at some time."""
        return key in self._at

    def set(self, key: Key, at_ms: int) -> None:
        """Make it due then."""
        self._count += 1
        self._at[key] = at_ms
        heappush(self._heap, (at_ms, self._count, key))

    def discard(self, key: Key) -> None:
        """Make it never due."""
        self._at.pop(key, None)

    def next_ms(self) -> int | None:
        """When the next one is due."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ms: int) -> list[Key]:
        """Take out what is due."""
        due: list[Key] = []
        while (at_ms := self.next_ms()) is not None and at_ms <= now_ms:
            _, _, key = heappop(self._heap)
            del self._at[key]
            due.append(key)
        return due
