"""A bucket in memory: whoever asks often is answered from here.

A mirror follows one bucket and keeps, per key, the value with the highest revision it has seen. A deleted key leaves its
revision behind as a tombstone for a while, so that an older value that arrives late cannot bring it back. It goes on
answering while NATS is away, with what was last said.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from clusterodm.libs.common.ports import Bucket, Reset, Unread

Value = TypeVar("Value")

TOMBSTONES_COUNT: Final = 10_000


class Mirror(Generic[Value]):
    """A bucket in memory."""

    def __init__(self, name: str, on_change: Callable[[str, Value | None, Value | None], None] | None = None) -> None:
        self.name = name
        self.values: dict[str, tuple[Value, int]] = {}
        self.loaded = asyncio.Event()
        self.resets_count = 0
        """How often the bucket began anew."""
        self._on_change = on_change
        """Called with key, old and new value."""
        self._gone: dict[str, int] = {}
        self._last: dict[str, int] = {}
        """Of keys that are gone: the revision of the last value."""

    def __repr__(self) -> str:
        """Show its size."""
        return f"Mirror({self.name} {len(self.values)}{'' if self.loaded.is_set() else ' loading'})"

    def get(self, key: str) -> Value | None:
        """Look up a value."""
        entry = self.values.get(key)
        return entry[0] if entry else None

    def take(self, key: str, value: Value | None, revision: int) -> None:
        """Take over a change unless something newer is known; None: the key is gone."""
        old = self.values.get(key)
        if revision <= max(old[1] if old else 0, self._gone.get(key, 0)):
            return
        if value is None:
            self.values.pop(key, None)
            if (
                old is None or old[1]
            ):  # else it is from before the bucket began anew: no revision of now is older than that
                self._bury(key, revision, old[1] if old else 0)
        else:
            self.values[key] = (value, revision)
            self._gone.pop(key, None)
            self._last.pop(key, None)
        if self._on_change:
            self._on_change(key, old[0] if old else None, value)

    def forget(self, key: str) -> None:
        """Drop a key that its owner says is gone; what was written up to now cannot bring it back."""
        if entry := self.values.pop(key, None):
            self._bury(key, entry[1], entry[1])
            if self._on_change:
                self._on_change(key, entry[0], None)

    def begin_anew(self) -> None:
        """Forget which revisions were seen: what comes from now on counts, however low its revision is."""
        self.resets_count += 1
        self._gone.clear()
        self._last.clear()
        self.values = {key: (value, 0) for key, (value, _) in self.values.items()}

    def newest(self, key: str) -> int:
        """Say at which revision the newest value was that was ever seen of a key; 0: that is not known."""
        entry = self.values.get(key)
        return entry[1] if entry else self._last.get(key, 0)

    def _bury(self, key: str, revision: int, last: int) -> None:
        self._gone[key] = revision
        self._last[key] = max(last, self._last.get(key, 0))
        while len(self._gone) > TOMBSTONES_COUNT:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            self._last.pop(oldest, None)

    async def watch(self, bucket: Bucket[Value]) -> None:
        """Take over every change, for ever."""
        async with bucket.watch() as changes:
            async for change in changes:
                if change is None:
                    self.loaded.set()
                elif isinstance(change, Reset):
                    self.begin_anew()
                elif not isinstance(change, Unread):
                    self.take(change.key, change.value, change.revision)
