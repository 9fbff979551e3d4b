"""In-memory fakes of the bus and its buckets: one process, no NATS, the same promises.

`MemoryBus` implements `ports.Bus` and `MemoryBucket` implements `ports.Bucket`; the contract suites in tests/contract hold
them to what the real ones do. Messages pass through JSON here too, so that what cannot travel fails in a unit test. Tests
may look at `told` (every event, in order), switch `connected` off to play a NATS that is away, and let things get lost or come late
(`faults`).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import structlog

from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.kinds import Announcement, BucketName, Event, ObjectsName, Request, Snapshot
from clusterodm.libs.common.ports import Handler, StoredEvent, StoredEvents, Term
from clusterodm.libs.common.process.loops import background
from clusterodm.libs.common.testing.faults import Faults
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket, MemoryObjects, endless

log = structlog.get_logger()
Payload = TypeVar("Payload")
Reply = TypeVar("Reply")
Value = TypeVar("Value")


class MemoryBus:
    """A bus inside one process."""

    def __init__(self) -> None:
        self.connected = True
        self.away_s = 0.0
        """How long it is known to be away, as the test plays it."""
        self.servers_count = 1
        self.connections_count = 1
        self.faults = Faults()
        self.published: list[tuple[str, Any]] = []
        """Every event told: its name and message."""
        self._announced: set[str] = set()
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, list[Callable[[Any], Awaitable[None]]]] = {}
        self._snapshots: dict[str, bytes] = {}
        self._watchers: dict[str, list[asyncio.Queue[bytes]]] = {}
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

    async def request(
        self, request: Request[Payload, Reply], message: Payload, timeout_s: float | None = None
    ) -> Reply:
        """Ask the owner."""
        self.require_connection()
        handler = self._handlers.get(request.subject)
        if handler is None or self.faults.loses(request.subject):
            raise BusFailed(f"nobody answers {request.name}")
        asked = msgspec.json.decode(msgspec.json.encode(message), type=request.payload)
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

    async def publish(self, event: Event[Payload], message: Payload) -> None:
        """Publish an event."""
        self.published.append((event.name, message))
        if isinstance(event, Announcement):  # kept nowhere
            self._announced.add(event.name)
        if not self.connected or self.faults.loses(event.subject):
            return

        async def deliver() -> None:
            for listener in self._listeners.get(event.subject, []):
                with contextlib.suppress(Exception):
                    await listener(msgspec.json.decode(msgspec.json.encode(message), type=event.payload))

        if not self.faults.holds(deliver):
            await deliver()

    async def stored_events(self, after: int, most_count: int) -> StoredEvents:
        """Read the last events that were told; their times are not kept."""
        self.require_connection()
        stored = [each for each in self.published if each[0] not in self._announced]
        events = [
            StoredEvent(number, name, 0, msgspec.to_builtins(message))
            for number, (name, message) in enumerate(stored, start=1)
            if number > after
        ]
        return StoredEvents(tuple(events[-most_count:]), len(stored))

    @asynccontextmanager
    async def subscribe(
        self, event: Event[Payload], handler: Callable[[Payload], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Call the handler for every event."""
        listeners = self._listeners.setdefault(event.subject, [])
        listeners.append(handler)
        try:
            yield
        finally:
            listeners.remove(handler)

    async def publish_snapshot(self, snapshot: Snapshot[Payload], message: Payload) -> None:
        """Replace the last value."""
        self.require_connection()
        self._snapshots[snapshot.name] = msgspec.json.encode(message)
        for follower in self._watchers.get(snapshot.name, []):
            follower.put_nowait(self._snapshots[snapshot.name])

    @asynccontextmanager
    async def watch_snapshot(
        self, snapshot: Snapshot[Payload], durable: str, handler: Callable[[Payload], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Call the handler with the last value and every new one."""
        values: asyncio.Queue[bytes] = asyncio.Queue()
        if snapshot.name in self._snapshots:
            values.put_nowait(self._snapshots[snapshot.name])
        self._watchers.setdefault(snapshot.name, []).append(values)

        async def consume() -> None:
            async for value in endless(values):
                await handler(msgspec.json.decode(value, type=snapshot.payload))

        async with background(consume, name=f"follow {snapshot.name} as {durable}"):
            yield
        self._watchers[snapshot.name].remove(values)

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
