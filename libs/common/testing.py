"""In-memory fakes of the bus and its buckets: one process, no NATS, the same promises.

`MemoryBus` implements `ports.Bus` and `MemoryBucket` implements `ports.Bucket`; the contract suites in tests/contract hold
them to what the real ones do. Messages pass through JSON here too, so that what cannot travel fails in a unit test. Tests
may look at `told` (every event, in order), switch `connected` off to play a NATS that is away, and let things get lost or come late
(`faults`).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, Self, TypeVar

import msgspec
import structlog

from clusterodm.libs.common.clocks import Instant, Now, WallMs
from clusterodm.libs.common.errors import BusFailed, ClusterError, Conflict, Unreadable
from clusterodm.libs.common.faults import Faults
from clusterodm.libs.common.loops import background
from clusterodm.libs.common.merging import merged
from clusterodm.libs.common.messages.kinds import BucketName, Event, ObjectsName, Request, Snapshot
from clusterodm.libs.common.ports import (
    Change,
    Entry,
    Handler,
    Loaded,
    Reset,
    Seen,
    Step,
    StoredEvent,
    StoredEvents,
    Term,
    Unread,
)

log = structlog.get_logger()

Asked = TypeVar("Asked")
Reply = TypeVar("Reply")
Told = TypeVar("Told")
Value = TypeVar("Value")


class FakeClock:
    """Both clocks of a process, turned by hand: `pass_s` moves both, `step_wall_s` the wall clock alone, in either direction."""

    def __init__(self, wall_ms: int = 1_700_000_000_000, instant_s: float = 1_000.0) -> None:
        self._wall_ms = wall_ms
        self._instant_s = instant_s

    def __repr__(self) -> str:
        """Show both."""
        return f"FakeClock(wall_ms={self._wall_ms} instant_s={self._instant_s:g})"

    def wall_ms(self) -> WallMs:
        """Say what time it is."""
        return WallMs(self._wall_ms)

    def instant(self) -> Instant:
        """Say where the monotonic clock is."""
        return Instant(self._instant_s)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self._wall_ms += round(seconds * 1000)
        self._instant_s += seconds

    def step_wall_s(self, seconds: float) -> None:
        """Set the wall clock: somebody corrects it, or the computer has slept."""
        self._wall_ms += round(seconds * 1000)


def clocks_at(ms: int) -> Now:
    """Give both clocks so many milliseconds after their beginning."""
    return Now(WallMs(ms), Instant(ms / 1000))


class MemoryBucket(Generic[Value]):
    """A key-value store in a dict. Tests may `write_raw` what a later version would, and have it `begin_anew`."""

    def __init__(self, bus: "MemoryBus", name: BucketName[Value]) -> None:
        self._bus = bus
        self._name = name
        self._entries: dict[str, tuple[bytes, int]] = {}
        self._revision = 0
        self._watchers: set[asyncio.Queue[Step[Value]]] = set()

    def __repr__(self) -> str:
        """Show its name and size."""
        return f"MemoryBucket({self._name.name} {len(self._entries)} keys)"

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

    async def create(self, key: str, value: Value) -> int:
        """Write a key that must not exist."""
        self._bus.require_connection()
        if key in self._entries:
            raise Conflict(f"{self._name.name}/{key} exists")
        return self.write_raw(key, msgspec.json.encode(value))

    async def update(self, key: str, value: Value, revision: int) -> int:
        """Write a key that must still be at `revision`."""
        self._bus.require_connection()
        if self._entries.get(key, (b"", 0))[1] != revision:
            raise Conflict(f"{self._name.name}/{key} is no longer at revision {revision}")
        return self.write_raw(key, merged(self._name.value, msgspec.json.encode(value), self._entries[key][0]))

    async def put(self, key: str, value: Value, *, ttl_s: int | None = None) -> int:
        """Write a key whatever it holds."""
        self._bus.require_connection()
        revision = self.write_raw(key, msgspec.json.encode(value))
        if ttl_s is not None:
            asyncio.get_running_loop().call_later(ttl_s, self._expire, key, revision)
        return revision

    def _expire(self, key: str, revision: int) -> None:
        if self._entries.get(key, (b"", 0))[1] == revision:
            del self._entries[key]

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove a key."""
        self._bus.require_connection()
        if revision is not None and self._entries.get(key, (b"", 0))[1] != revision:
            raise Conflict(f"{self._name.name}/{key} is no longer at revision {revision}")
        if self._entries.pop(key, None):
            self._revision += 1
            self._tell(Change(key, None, self._revision))

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
    async def watch_revisions(self) -> AsyncIterator[AsyncIterator[Seen]]:
        """Follow all keys without their values."""
        async with self.watch() as changes:
            yield (
                Seen(step.key, step.revision, isinstance(step, Change) and step.value is None)
                async for step in changes
                if isinstance(step, Change | Unread)
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

    def __repr__(self) -> str:
        """Show its size."""
        return f"MemoryObjects({len(self._contents)} keys)"

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


async def endless(queue: "asyncio.Queue[Told]") -> AsyncIterator[Told]:
    """Yield what comes through a queue, for ever."""
    while True:
        yield await queue.get()


class MemoryBus:
    """A bus inside one process."""

    def __init__(self) -> None:
        self.connected = True
        self.away_s = 0.0
        """How long it is known to be away, as the test plays it."""
        self.servers_count = 1
        self.faults = Faults()
        self.told: list[tuple[str, Any]] = []
        """Every event told: its name and message."""
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, list[Callable[[Any], Awaitable[None]]]] = {}
        self._snapshots: dict[str, bytes] = {}
        self._followers: dict[str, list[asyncio.Queue[bytes]]] = {}
        self._buckets: dict[str, MemoryBucket[Any]] = {}
        self._objects: dict[str, MemoryObjects] = {}
        self._leases: dict[str, asyncio.Lock] = {}
        self._epoch = 0

    def require_connection(self) -> None:
        """Raise BusFailed while the test plays a NATS that is away."""
        if not self.connected:
            raise BusFailed("nats is away")

    async def ping_s(self) -> float:
        """Take no time."""
        self.require_connection()
        return 0.0

    async def request(self, request: Request[Asked, Reply], message: Asked, timeout_s: float | None = None) -> Reply:
        """Ask the owner."""
        self.require_connection()
        handler = self._handlers.get(request.subject)
        if handler is None or self.faults.loses(request.subject):
            raise BusFailed(f"nobody answers {request.name}")
        asked = msgspec.json.decode(msgspec.json.encode(message), type=request.asked)
        try:
            async with asyncio.timeout(request.timeout_s if timeout_s is None else timeout_s):
                answer = await handler(asked)
        except ClusterError:
            raise
        except TimeoutError:
            raise BusFailed(f"no answer to {request.name}: TimeoutError") from None
        except Exception:
            log.exception("request.failed", request=request.name)
            raise BusFailed(f"{request.owner} failed") from None
        self.faults.require_answer(request.subject)
        reply: Reply = msgspec.json.decode(msgspec.json.encode(answer), type=request.reply)
        return reply

    @asynccontextmanager
    async def serve(
        self, service: str, handlers: Mapping[Request[Any, Any], Handler], *, term: Term | None = None
    ) -> AsyncIterator[None]:
        """Answer requests."""
        del service
        ours = {request.subject: while_leading(handler, term) for request, handler in handlers.items()}
        self._handlers.update(ours)
        try:
            yield
        finally:
            for subject, handler in ours.items():
                if self._handlers.get(subject) is handler:
                    del self._handlers[subject]

    async def publish(self, event: Event[Told], message: Told) -> None:
        """Publish an event."""
        self.told.append((event.name, message))
        if not self.connected or self.faults.loses(event.subject):
            return

        async def deliver() -> None:
            for listener in self._listeners.get(event.subject, []):
                with contextlib.suppress(Exception):
                    await listener(msgspec.json.decode(msgspec.json.encode(message), type=event.told))

        if not self.faults.holds(deliver):
            await deliver()

    async def stored_events(self, after: int, most_count: int) -> StoredEvents:
        """Read the last events that were told; their times are not kept."""
        self.require_connection()
        events = [
            StoredEvent(number, name, 0, msgspec.to_builtins(message))
            for number, (name, message) in enumerate(self.told, start=1)
            if number > after
        ]
        return StoredEvents(tuple(events[-most_count:]), len(self.told))

    @asynccontextmanager
    async def subscribe(self, event: Event[Told], handler: Callable[[Told], Awaitable[None]]) -> AsyncIterator[None]:
        """Call the handler for every event."""
        listeners = self._listeners.setdefault(event.subject, [])
        listeners.append(handler)
        try:
            yield
        finally:
            listeners.remove(handler)

    async def publish_snapshot(self, snapshot: Snapshot[Told], message: Told) -> None:
        """Replace the last value."""
        self.require_connection()
        self._snapshots[snapshot.name] = msgspec.json.encode(message)
        for follower in self._followers.get(snapshot.name, []):
            follower.put_nowait(self._snapshots[snapshot.name])

    @asynccontextmanager
    async def watch_snapshot(
        self, snapshot: Snapshot[Told], durable: str, handler: Callable[[Told], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Call the handler with the last value and every new one."""
        values: asyncio.Queue[bytes] = asyncio.Queue()
        if snapshot.name in self._snapshots:
            values.put_nowait(self._snapshots[snapshot.name])
        self._followers.setdefault(snapshot.name, []).append(values)

        async def follow() -> None:
            async for value in endless(values):
                await handler(msgspec.json.decode(value, type=snapshot.told))

        async with background(follow, name=f"follow {snapshot.name} as {durable}"):
            yield
        self._followers[snapshot.name].remove(values)

    async def bucket(self, name: BucketName[Value]) -> MemoryBucket[Value]:
        """Open a bucket."""
        if name.name not in self._buckets:
            self._buckets[name.name] = MemoryBucket(self, name)
        return self._buckets[name.name]

    async def objects(self, name: ObjectsName, ttl_s: float) -> "MemoryObjects":
        """Open a store of large things; nothing in it grows old."""
        del ttl_s
        return self._objects.setdefault(name.name, MemoryObjects(self))

    @asynccontextmanager
    async def lead(self, name: str, holder: str, ttl_s: int = 5) -> AsyncIterator["MemoryTerm"]:
        """Hold a lease."""
        del holder, ttl_s
        async with self._leases.setdefault(name, asyncio.Lock()):
            self._epoch += 1
            term = MemoryTerm(self._epoch)
            try:
                yield term
            finally:
                term.end()

    async def led(self, name: str) -> bool:
        """Whether somebody holds a lease."""
        self.require_connection()
        return name in self._leases and self._leases[name].locked()


def while_leading(handler: Handler, term: Term | None) -> Handler:
    """Leave a request without an answer when the term is over; to its caller that looks like a time limit."""

    async def handle(asked: Any) -> Any:
        if term is None:
            return await handler(asked)
        answer = await handler(asked) if term.valid else None
        if not term.valid:
            raise BusFailed("no answer: the term is over")
        return answer

    return handle


class MemoryTerm:
    """A time of leading that ends with its context, or when a test says so."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._over = asyncio.Event()

    @property
    def valid(self) -> bool:
        """Whether the holder may decide."""
        return not self._over.is_set()

    async def over(self) -> None:
        """Wait until the term has ended."""
        await self._over.wait()

    def end(self) -> None:
        """Take the lease away."""
        self._over.set()
