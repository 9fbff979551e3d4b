"""Typed key-value stores over NATS JetStream: compare-and-set, and watches that survive everything.

Keys are checked by NATS: only `-/_=.a-zA-Z0-9`, no colon. Values are JSON of a Struct, at most 1 MiB. A marker without a
value (deleted, purged, expired) counts as missing, and a key is created again over it.

When a watch has told all that there was is found out here and not by nats-py (2.16): it takes a bucket for empty when NATS has
sent the values and nobody has read them yet, which on a busy computer is one load in some hundred. A scheduler that began
with an empty list would lose every task.

A watch is restarted when the connection came back, and compares: what it knew and no longer sees is told as deleted. So the marker
that a deletion leaves is needed only by those who watch at that moment: it carries a time to live (NATS' ADR-43), and then
nothing is left of the key.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.js import JetStreamContext, api
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE, KeyValue

from libs.common.errors import BusFailed, Conflict
from libs.common.lifecycle import heeding, now_ms
from libs.common.messages import BucketName
from libs.common.patience import in_time
from libs.common.ports import Change, Entry, Seen

log = structlog.get_logger()

Value = TypeVar("Value")
LOST: Final = (nats.errors.Error, nats.js.errors.Error, OSError, asyncio.TimeoutError)
RETRY_S: Final = 0.25
WRONG_REVISION: Final = 10071
"""NATS' code for a write to a subject whose last message is another than expected."""
GONE: Final = (KV_DEL, KV_PURGE)
MARKER_TTL_S: Final = 300
"""How long the marker of a deletion stays: longer than any watch lags behind that has not to begin anew."""
DUPLICATES_S: Final = 120.0


async def open_bucket(
    js: JetStreamContext, name: BucketName[Value], replicas_count: int, marker_ttl_s: int = MARKER_TTL_S
) -> "NatsBucket[Value]":
    """Open a bucket, creating it when it does not exist. Raises BusFailed, soon."""
    try:
        async with in_time():
            store = await heeding(opened_as(js, name, replicas_count))
    except LOST as error:
        raise BusFailed(f"bucket {name.name} cannot be opened: {error!r}") from None
    return NatsBucket(js, store, name, marker_ttl_s)


async def opened_as(js: JetStreamContext, name: BucketName[Any], replicas_count: int) -> KeyValue:
    """Open a bucket, creating its stream when it does not exist. Raises what nats-py raises."""
    try:
        return await js.key_value(name.name)
    except nats.js.errors.BucketNotFoundError:
        await js.add_stream(stream_of(name, replicas_count))
        return await js.key_value(name.name)


def stream_of(name: BucketName[Any], replicas_count: int) -> api.StreamConfig:
    """Say what the stream of a bucket is like: as nats-py makes it, and how safe its writes are."""
    quick = not name.durable and replicas_count == 1
    return api.StreamConfig(
        name=f"KV_{name.name}",
        subjects=[f"$KV.{name.name}.>"],
        allow_direct=True,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
        deny_delete=True,
        discard=api.DiscardPolicy.NEW,
        duplicate_window=min(DUPLICATES_S, name.expires_s or DUPLICATES_S),
        max_age=name.expires_s,
        max_msgs_per_subject=1,
        num_replicas=replicas_count,
        storage=api.StorageType.FILE,
        persist_mode=api.PersistMode.ASYNC if quick else None,
    )


async def opened(js: JetStreamContext, config: api.KeyValueConfig) -> KeyValue:
    """Open a bucket, creating it when it does not exist. Raises what nats-py raises."""
    try:
        return await js.key_value(config.bucket)
    except nats.js.errors.BucketNotFoundError:
        return await js.create_key_value(config)


class NatsBucket(Generic[Value]):
    """One bucket. `libs.common.ports.Bucket` says what each method promises."""

    def __init__(
        self, js: JetStreamContext, store: KeyValue, name: BucketName[Value], marker_ttl_s: int = MARKER_TTL_S
    ) -> None:
        self._js = js
        self._store = store
        self._name = name.name
        self._marker_ttl_s = marker_ttl_s
        self._decoder = msgspec.json.Decoder(name.value)
        self._watchers: set[KeyValue.KeyWatcher] = set()

    def __repr__(self) -> str:
        """Show its name."""
        return f"NatsBucket({self._name})"

    async def get(self, key: str) -> Entry[Value] | None:
        """Read one key."""
        try:
            entry = await heeding(self._store.get(key))
        except nats.js.errors.KeyNotFoundError:
            return None
        except LOST as error:
            raise self._failed("read", key, error) from None
        if not entry.value:
            return None
        return Entry(key, self._decoder.decode(entry.value), entry.revision or 0)

    async def load(self) -> dict[str, Entry[Value]]:
        """Read everything."""
        found: dict[str, Entry[Value]] = {}
        async with self.watch() as changes:
            async for change in changes:
                if change is None:
                    break
                if change.value is not None:
                    found[change.key] = Entry(change.key, change.value, change.revision)
        return found

    async def create(self, key: str, value: Value) -> int:
        """Write a key that must not exist."""
        try:
            return await heeding(self._store.create(key, msgspec.json.encode(value)))
        except nats.js.errors.KeyWrongLastSequenceError:
            raise Conflict(f"{self._name}/{key} exists") from None
        except LOST as error:
            raise self._failed("created", key, error) from None

    async def update(self, key: str, value: Value, revision: int) -> int:
        """Write a key that must still be at `revision`."""
        try:
            return await heeding(self._store.update(key, msgspec.json.encode(value), last=revision))
        except nats.js.errors.KeyWrongLastSequenceError:
            raise Conflict(f"{self._name}/{key} is no longer at revision {revision}") from None
        except LOST as error:
            raise self._failed("updated", key, error) from None

    async def put(self, key: str, value: Value, *, ttl_s: int | None = None) -> int:
        """Write a key whatever it holds. With a time to live as NATS' ADR-48 has it: a header of the message."""
        content = msgspec.json.encode(value)
        try:
            if ttl_s is None:
                return await heeding(self._store.put(key, content))
            return (await heeding(self._js.publish(f"$KV.{self._name}.{key}", content, msg_ttl=ttl_s))).seq
        except LOST as error:
            raise self._failed("written", key, error) from None

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove a key with all that was kept of it."""
        headers = {KV_OP: KV_DEL}
        if revision is not None:
            headers[api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value] = str(revision)
        try:
            await heeding(self._js.publish(self._subject(key), headers=headers, msg_ttl=self._marker_ttl_s))
        except nats.js.errors.APIError as error:
            if error.err_code != WRONG_REVISION:
                raise self._failed("deleted", key, error) from None
            raise Conflict(f"{self._name}/{key} is no longer at revision {revision}") from None
        except LOST as error:
            raise self._failed("deleted", key, error) from None

    async def forget_deleted(self) -> int:
        """Remove markers without a time to live, as older versions left them. Raises BusFailed."""
        try:
            old = [each async for each in self._old_markers()]
            for key, revision in old:
                await heeding(self._js.purge_stream(f"KV_{self._name}", seq=revision + 1, subject=self._subject(key)))
        except LOST as error:
            raise self._failed("forgotten", "deleted keys", error) from None
        return len(old)

    async def _old_markers(self) -> AsyncGenerator[tuple[str, int]]:
        """Find the markers that should have gone by themselves long ago."""
        before = datetime.fromtimestamp(now_ms() / 1000 - 2 * self._marker_ttl_s, UTC)
        async with self._watching(meta_only=True) as watch:
            async for entry in watch.watcher:
                if entry is not None and entry.operation in GONE and entry.created and entry.created < before:
                    yield entry.key, entry.revision or 0
                if watch.completed_by(entry):
                    return

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Change[Value] | None]]:
        """Follow all keys."""
        changes = self._changes()
        try:
            yield changes
        finally:
            await changes.aclose()

    @asynccontextmanager
    async def watch_revisions(self) -> AsyncIterator[AsyncIterator[Seen]]:
        """Follow all keys without their values."""
        revisions = self._revisions()
        try:
            yield revisions
        finally:
            await revisions.aclose()

    async def _revisions(self) -> AsyncGenerator[Seen]:
        while True:
            async with self._watching(meta_only=True) as watch:
                async for entry in watch.watcher:
                    if entry is not None:
                        yield Seen(entry.key, entry.revision or 0, entry.operation in GONE)

    def restart_watches(self) -> None:
        """End the running watches so that they begin anew; called when the connection came back."""
        for watcher in self._watchers:
            with contextlib.suppress(asyncio.QueueFull):
                watcher._updates.put_nowait(KeyValue.KeyWatcher.STOP_ITER)  # noqa: SLF001 stop() would ask the old server

    async def _changes(self) -> AsyncGenerator[Change[Value] | None]:
        known: dict[str, int] = {}
        complete = False
        while True:
            listed: set[str] = set()
            async with self._watching() as watch:
                async for entry in watch.watcher:
                    if entry is not None:
                        listed.add(entry.key)
                        if known.get(entry.key) != entry.revision:
                            yield self._learn(known, entry)
                    if not watch.completed_by(entry):
                        continue
                    for change in forgotten(known, listed):
                        yield change
                    if not complete:
                        complete = True
                        yield None

    def _learn(self, known: dict[str, int], entry: KeyValue.Entry) -> Change[Value]:
        revision = entry.revision or 0
        if entry.operation in GONE or not entry.value:
            known.pop(entry.key, None)
            return Change(entry.key, None, revision)
        known[entry.key] = revision
        return Change(entry.key, self._decoder.decode(entry.value), revision)

    @asynccontextmanager
    async def _watching(self, *, meta_only: bool = False) -> AsyncIterator["Watch"]:
        watch = await self._start_watch(meta_only=meta_only)
        self._watchers.add(watch.watcher)
        try:
            yield watch
        finally:
            self._watchers.discard(watch.watcher)
            await watch.end()

    async def _start_watch(self, *, meta_only: bool) -> "Watch":
        tries_count = 0
        while True:
            try:
                async with in_time(tries_count):
                    return await heeding(Watch.start(self._store, meta_only=meta_only))
            except LOST as error:
                tries_count += 1
                log.debug("watch not started", bucket=self._name, error=repr(error))
                await asyncio.sleep(RETRY_S)

    def _subject(self, key: str) -> str:
        return f"$KV.{self._name}.{key}"

    def _failed(self, what: str, key: str, error: Any) -> BusFailed:
        return BusFailed(f"{self._name}/{key} not {what}: {type(error).__name__}")


class Watch:
    """A watch of nats-py's, and whether it has told all that there was when it began."""

    def __init__(self, watcher: KeyValue.KeyWatcher) -> None:
        self.watcher = watcher
        self._sub: Any = watcher._sub  # noqa: SLF001 there is no other door
        self._consumer = ""
        self._empty = False
        self._seen = False
        self._complete = False

    @classmethod
    async def start(cls, store: KeyValue, *, meta_only: bool) -> "Watch":
        """Start one, and ask NATS whether it has anything to send. Raises what nats-py raises."""
        watch = cls(await store.watchall(meta_only=meta_only))
        try:
            told = await watch._sub.consumer_info()
        except BaseException:
            await watch.end()
            raise
        watch._consumer = f"{told.stream_name}.{told.name}"
        watch._empty = not told.num_pending and not (told.delivered and told.delivered.consumer_seq)
        return watch

    def completed_by(self, entry: KeyValue.Entry | None) -> bool:
        """Whether all has been told with this entry, which is true once. nats-py's own sign, None, comes too early at times."""
        self._seen = self._seen or entry is not None
        if self._complete:
            return False
        self._complete = (self._empty or self._seen) if entry is None else entry.delta == 0
        return self._complete

    async def end(self) -> None:
        """End it, on the server too, where it would stay for minutes: a stream has room for a thousand consumers.

        The watcher's own stop() also fills the queue, which nobody reads any more. Nothing is waited for: NATS may be away.
        """
        with contextlib.suppress(*LOST):
            await heeding(self._sub.unsubscribe())
            if self._consumer:
                await heeding(self._sub._conn.publish(f"$JS.API.CONSUMER.DELETE.{self._consumer}"))  # noqa: SLF001


def forgotten(known: dict[str, int], listed: set[str]) -> list[Change[Any]]:
    """Tell what was known and is no longer listed; forget it."""
    gone = [key for key in known if key not in listed]
    return [Change(key, None, known.pop(key)) for key in gone]
