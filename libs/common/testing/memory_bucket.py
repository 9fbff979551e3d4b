"""`MemoryBucket` implements `ports.Bucket` in one process; see memory_bus."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import msgspec

from clusterodm.libs.common.bus.store import KEY
from clusterodm.libs.common.errors import BusFailed, Conflict, Unreadable
from clusterodm.libs.common.merging import LaterRecord, encoded
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.ports import Change, Entry, Loaded, Reset, Seen, Step, Unread

if TYPE_CHECKING:
    from clusterodm.libs.common.testing.memory_bus import MemoryBus

Payload = TypeVar("Payload")
Value = TypeVar("Value")


class MemoryBucket(Generic[Value]):
    """A key-value store in a dict. Tests may `write_raw` what a later version would, and have it `begin_anew`."""

    def __init__(self, bus: "MemoryBus", name: BucketName[Value]) -> None:
        self._bus = bus
        self._name = name
        self._entries: dict[str, tuple[bytes, int]] = {}
        self._revision = 0
        self._watchers: set[asyncio.Queue[Step[Value]]] = set()

    async def get(self, key: str) -> Entry[Value] | None:
        """Read one key."""
        self._bus.require_connection()
        if key not in self._entries:
            return None
        step = self._step(key)
        if isinstance(step, Unread):
            raise Unreadable(f"{self._name.name}/{key} was written by a later version; this one cannot read it")
        return entry_of(step)

    async def load(self) -> Loaded[Value]:
        """Read everything."""
        self._bus.require_connection()
        steps = [self._step(key) for key in self._entries]
        return Loaded(
            {step.key: entry_of(step) for step in steps if isinstance(step, Change)},
            {step.key: step.revision for step in steps if isinstance(step, Unread)},
        )

    async def pages(self) -> AsyncGenerator[list[Entry[Value]]]:
        """Read everything, a page at a time."""
        for entry in (await self.load()).values():
            yield [entry]

    async def later(self, key: str) -> LaterRecord | None:
        """Say how a record is written, whoever wrote it: nothing comes of it where there is nothing unknown."""
        self._bus.require_connection()
        return LaterRecord(self._entries[key][0], 0) if key in self._entries else None

    async def create(self, key: str, value: Value, *, later: LaterRecord | None = None) -> int:
        """Write a key that must not exist."""
        self._bus.require_connection()
        self._require_key(key, "written")
        if key in self._entries:
            raise Conflict(f"{self._name.name}/{key} exists")
        return self.write_raw(key, self._encoded(value, later))

    async def update(self, key: str, value: Value, revision: int) -> int:
        """Write a key that must still be at `revision`."""
        self._bus.require_connection()
        self._require_key(key, "written")
        if self._entries.get(key, (b"", 0))[1] != revision:
            raise Conflict(f"{self._name.name}/{key} is no longer at revision {revision}")
        return self.write_raw(key, self._encoded(value, await self.later(key)))

    async def put(self, key: str, value: Value, *, ttl_s: int | None = None, later: LaterRecord | None = None) -> int:
        """Write a key whatever it holds."""
        self._bus.require_connection()
        self._require_key(key, "written")
        revision = self.write_raw(key, self._encoded(value, await self.later(key), later))
        if ttl_s is not None:
            asyncio.get_running_loop().call_later(ttl_s, self._expire, key, revision)
        return revision

    def _encoded(self, value: Value, *later: LaterRecord | None) -> bytes:
        return encoded(self._name.value, value, later)[0]

    def _expire(self, key: str, revision: int) -> None:
        if self._entries.get(key, (b"", 0))[1] == revision:
            del self._entries[key]

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove a key."""
        self._bus.require_connection()
        self._require_key(key, "deleted")
        if revision is not None and self._entries.get(key, (b"", 0))[1] != revision:
            raise Conflict(f"{self._name.name}/{key} is no longer at revision {revision}")
        if self._entries.pop(key, None):
            self._revision += 1
            self._tell(Change(key, None, self._revision))

    def _require_key(self, key: str, what: str) -> None:
        if not KEY.fullmatch(key):
            raise BusFailed(f"{self._name.name}/{key} not {what}: not a key")

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["MemoryWatch[Value]"]:
        """Follow all keys."""
        steps: asyncio.Queue[Step[Value]] = asyncio.Queue()
        for step in self._present():
            steps.put_nowait(step)
        steps.put_nowait(None)
        self._watchers.add(steps)
        try:
            yield MemoryWatch(steps)
        finally:
            self._watchers.discard(steps)

    @asynccontextmanager
    async def watch_revisions(self) -> AsyncIterator[AsyncIterator[Seen | Reset]]:
        """Follow all keys without their values."""
        async with self.watch() as changes:
            yield (
                step
                if isinstance(step, Reset)
                else Seen(step.key, step.revision, isinstance(step, Change) and step.value is None)
                async for step in changes
                if step is not None
            )

    async def forget_deleted(self) -> int:
        """Nothing is left of what was deleted."""
        self._bus.require_connection()
        return 0

    def write_raw(self, key: str, payload: bytes) -> int:
        """Write bytes."""
        self._revision += 1
        self._entries[key] = payload, self._revision
        self._tell(self._step(key))
        return self._revision

    def read_raw(self, key: str) -> bytes:
        """Read what was written."""
        return self._entries[key][0]

    def begin_anew(self, values: Mapping[str, Value]) -> None:
        """Play a NATS whose store was lost, or an older one restored: other content, and revisions from 1 on."""
        gone = self._entries.keys() - values.keys()
        self._entries = {key: (msgspec.json.encode(value), at) for at, (key, value) in enumerate(values.items(), 1)}
        self._revision = len(self._entries)
        self._tell(Reset())
        for step in self._present():
            self._tell(step)
        for key in sorted(gone):
            self._tell(Change(key, None, max(1, self._revision)))

    def _present(self) -> list[Change[Value] | Unread]:
        return sorted((self._step(key) for key in self._entries), key=lambda step: step.revision)

    def _step(self, key: str) -> Change[Value] | Unread:
        payload, revision = self._entries[key]
        try:
            return Change(key, msgspec.json.decode(payload, type=self._name.value), revision)
        except msgspec.DecodeError:
            return Unread(key, revision)

    def _tell(self, step: Step[Value]) -> None:
        async def deliver() -> None:
            self._deliver(step)

        if not self._bus.faults.holds(deliver):
            self._deliver(step)

    def _deliver(self, step: Step[Value]) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(step)


class MemoryWatch(Generic[Value]):
    """A watch of a bucket in memory."""

    def __init__(self, steps: "asyncio.Queue[Step[Value]]") -> None:
        self._steps = steps

    def __aiter__(self) -> Self:
        """Iterate over the steps."""
        return self

    async def __anext__(self) -> Step[Value]:
        """Wait for the next step."""
        return await self._steps.get()


def entry_of(change: Change[Any]) -> Entry[Any]:
    """Make an entry of what a watch tells of a key that is there."""
    return Entry(change.key, change.value, change.revision)


class MemoryObjects:
    """A store of large things in a dict."""

    def __init__(self, bus: "MemoryBus") -> None:
        self._bus = bus
        self._contents: dict[str, bytes] = {}

    async def put(self, key: str, content: bytes) -> None:
        """Write a key."""
        self._bus.require_connection()
        self._contents[key] = content

    async def get(self, key: str) -> bytes | None:
        """Read a key."""
        self._bus.require_connection()
        return self._contents.get(key)

    async def delete(self, key: str) -> None:
        """Remove a key."""
        self._bus.require_connection()
        self._contents.pop(key, None)


async def endless(queue: "asyncio.Queue[Payload]") -> AsyncIterator[Payload]:
    """Yield what comes through a queue, for ever."""
    while True:
        yield await queue.get()
