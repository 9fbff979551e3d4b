"""What the services need from the bus and its stores, as Protocols.

The real ones are `bus.NatsBus` and `store.NatsBucket`; the fakes are in `testing`. One contract suite holds both
(tests/contract/test_bus.py, test_store.py).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from clusterodm.libs.common.merging import LaterRecord
from clusterodm.libs.common.messages.kinds import BucketName, Event, ObjectsName, Request, Snapshot

Payload = TypeVar("Payload")
Reply = TypeVar("Reply")
Value = TypeVar("Value")

Handler = Callable[[Any], Awaitable[Any]]
"""Answers one request: takes the decoded message, returns the reply, raises a ClusterError to refuse."""


@dataclass(frozen=True)
class Entry(Generic[Value]):
    """A value with the revision at which it was read (revisions grow over the whole bucket)."""

    key: str
    value: Value
    revision: int


@dataclass(frozen=True)
class Change(Generic[Value]):
    """One step of a watch. `value` None: the key is gone."""

    key: str
    value: Value | None
    revision: int


@dataclass(frozen=True)
class Seen:
    """A key at a revision, without its value."""

    key: str
    revision: int
    gone: bool
    """It was deleted at that revision."""


@dataclass(frozen=True)
class Unread:
    """One step of a watch: there is a value now that this version cannot read. It is not gone, and nothing is known of it."""

    key: str
    revision: int


@dataclass(frozen=True)
class Reset:
    """One step of a watch: the bucket began anew, so that revisions may be lower than those before.

    All that is present follows, then what is there no more is told as gone: whoever mirrors the bucket has its content then.
    """


Step = Change[Value] | Unread | Reset | None
"""What a watch yields. None, once: all that there was has been told."""


class Loaded(dict[str, Entry[Value]]):
    """All values of a bucket by key, and which keys have one that this version cannot read."""

    def __init__(self, entries: Mapping[str, Entry[Value]], unreadable: Mapping[str, int]) -> None:
        super().__init__(entries)
        self.unreadable = unreadable
        """Their revisions."""


class Watch(Protocol[Value]):
    """A watch of a bucket under way."""

    def __aiter__(self) -> Self:
        """Iterate over the steps, for ever."""

    async def __anext__(self) -> Step[Value]:
        """Wait for the next step."""


class Bucket(Protocol[Value]):
    """A typed key-value store with compare-and-set. Raises BusFailed when NATS does not answer.

    A value that cannot be decoded is logged with its key, counted, and skipped; it never counts as missing.
    """

    async def get(self, key: str) -> Entry[Value] | None:
        """Read one key as the last write left it. Raises Unreadable."""

    async def load(self) -> Loaded[Value]:
        """Read everything."""

    def pages(self) -> AsyncGenerator[list[Entry[Value]]]:
        """Read everything, a page at a time, so that nothing else waits for long; what this version cannot read is left out."""

    async def later(self, key: str) -> LaterRecord | None:
        """Say how a record is written that a later version wrote, for whoever writes it elsewhere; None: none has, that was read here."""

    async def create(self, key: str, value: Value, *, later: LaterRecord | None = None) -> int:
        """Write a key that must not exist, with what this version does not know of where it was read; the new revision. Raises Conflict."""

    async def update(self, key: str, value: Value, revision: int) -> int:
        """Write a key that must still be at `revision`; the new revision. Raises Conflict."""

    async def put(self, key: str, value: Value, *, ttl_s: int | None = None, later: LaterRecord | None = None) -> int:
        """Write a key whatever it holds; the new revision. It goes by itself after `ttl_s`, without a trace.

        What this version does not know stays: of the record it read under this key, and of `later`.
        """

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove a key; nothing happens when it does not exist. With a revision: only if it is still there, else Conflict.

        What NATS keeps of it for those who watch goes by itself after some minutes.
        """

    async def forget_deleted(self) -> int:
        """Remove what deletions by older versions have left for ever; how many there were."""

    def watch(self) -> AbstractAsyncContextManager[Watch[Value]]:
        """Yield all present values, then None once, then every change, for ever (also across restarts of NATS).

        After an interruption what has changed comes again, without another None; what was deleted meanwhile comes as
        a change to None.
        """

    def watch_revisions(self) -> AbstractAsyncContextManager[AsyncIterator[Seen | Reset]]:
        """Yield everything present and every change, deletions too, for ever; no values are read. `Reset` before all that is present when the bucket began anew."""


class Objects(Protocol):
    """A store of large things. Raises BusFailed when NATS does not answer in time."""

    async def put(self, key: str, content: bytes) -> None:
        """Write a key whatever it holds."""

    async def get(self, key: str) -> bytes | None:
        """Read a key."""

    async def delete(self, key: str) -> None:
        """Remove a key; nothing happens when it does not exist."""


class Term(Protocol):
    """A time of leading: see libs/common/bus/leases.py."""

    epoch: int
    """Grows from term to term; travels with commands."""

    @property
    def valid(self) -> bool:
        """Whether the holder may decide at this moment; to be asked before each decision."""

    async def over(self) -> None:
        """Wait until the term has ended."""


@dataclass(frozen=True)
class StoredEvent:
    """An event as its stream keeps it."""

    sequence: int
    name: str
    """`noun.past`"""
    at_ms: int
    """When NATS took it."""
    payload: dict[str, Any]
    """What it says, as JSON."""
    cause: str = ""


@dataclass(frozen=True)
class StoredEvents:
    """Events that were read, in their order."""

    events: tuple[StoredEvent, ...]
    reached: int
    """The last sequence of the stream then."""


class Bus(Protocol):
    """Requests, events, snapshots, and leadership."""

    @property
    def connected(self) -> bool:
        """Whether NATS is there, as far as is known at this moment."""

    @property
    def away_s(self) -> float:
        """How long NATS is known to be away: from when that was noticed until the last try to reach it failed. 0: it is there."""

    @property
    def connections_count(self) -> int:
        """How many connections to NATS there have been: behind another one the store may be another, too."""

    @property
    def servers_count(self) -> int:
        """How many servers of NATS there may be: those that were named, and those they have told of."""

    async def ping_s(self) -> float:
        """Ask NATS for a sign of life; how long that took, seconds. Raises BusFailed."""

    async def request(
        self, request: Request[Payload, Reply], message: Payload, timeout_s: float | None = None
    ) -> Reply:
        """Ask the owner. Raises what its handler raised, or BusFailed."""

    def serve(
        self, service: str, handlers: Mapping[Request[Any, Any], Handler], *, term: Term | None = None
    ) -> AbstractAsyncContextManager[None]:
        """Answer requests while the context is open; each in a task of its own, a bounded number at once.

        Several that serve the same share the requests. With a `term`, each is heard by all who serve it, and answered
        by the one whose term is valid: a leader that is frozen swallows nothing of what its successor should answer,
        and is silent when it wakes up. A term that ended while a request was worked on leaves it without an answer.
        """

    async def publish(self, event: Event[Payload], message: Payload) -> None:
        """Publish an event. Never raises for a bus that is away: events are for information."""

    def subscribe(
        self, event: Event[Payload], handler: Callable[[Payload], Awaitable[None]]
    ) -> AbstractAsyncContextManager[None]:
        """Call `handler` for every event told while the context is open, one at a time."""

    async def stored_events(self, after: int, most_count: int) -> StoredEvents:
        """Read the last events of their stream that follow a sequence, at most so many. Raises BusFailed."""

    async def publish_snapshot(self, snapshot: Snapshot[Payload], message: Payload) -> None:
        """Replace the last value. Raises BusFailed."""

    def watch_snapshot(
        self, snapshot: Snapshot[Payload], durable: str, handler: Callable[[Payload], Awaitable[None]]
    ) -> AbstractAsyncContextManager[None]:
        """Call `handler` with the last value and then with every new one, through a durable consumer.

        They come in the order in which NATS took them, whatever times they say: none that is older than the one before.
        """

    async def bucket(self, name: BucketName[Value]) -> Bucket[Value]:
        """Open a bucket, creating it if need be."""

    async def objects(self, name: ObjectsName, ttl_s: float) -> Objects:
        """Open a store of large things, creating it if need be; each thing goes `ttl_s` after it was written."""

    def lead(self, name: str, holder: str, ttl_s: int = 5) -> AbstractAsyncContextManager[Term]:
        """Wait until the lease is free, hold it while the context is open, and free it at the end."""

    async def led(self, name: str) -> bool:
        """Whether somebody holds a lease. Raises BusFailed."""
