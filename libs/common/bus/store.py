"""Typed key-value stores over NATS JetStream: compare-and-set, and watches that survive everything.

Keys are checked: only `-/_=.a-zA-Z0-9`, no colon. Values are JSON of a Struct, at most 1 MiB. A marker without a value (deleted,
purged, expired) counts as missing, and a key is created again over it.

What is read is asked of the stream's leader, never of a replica that may lag behind: a read decides what is written next. How
changes are followed is in watches.py: whoever was interrupted lists everything again. So the marker that a deletion leaves is needed
only by those who watch at that moment: it carries a time to live (NATS' ADR-43), and then nothing is left of the key.

A value that cannot be decoded was written by a later version. It is logged with its key, counted, and skipped; it is there. Of one that
can, the fields that are not known here are kept when it is written again (merging.py); only keys of such records are remembered.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, TypeVar

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.kv import KeyValue

from clusterodm.libs.common.bus.connection import Reconnection
from clusterodm.libs.common.bus.consumers import Consumer, Interrupted, SignsOfLife, StreamMessage
from clusterodm.libs.common.bus.pages import pages_of
from clusterodm.libs.common.bus.replicas import Replicas, is_alone
from clusterodm.libs.common.bus.retrying import NATS_ERRORS, try_timeout
from clusterodm.libs.common.bus.rights import Following, denials_of, failure_of
from clusterodm.libs.common.bus.streams import NOT_MADE, conform, why
from clusterodm.libs.common.bus.watches import NatsWatch, revisions_of
from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed, Conflict, Unreadable
from clusterodm.libs.common.merging import LaterRecord, encoded, fields_count
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.ports import Change, Entry, Loaded, Reset, Seen, Step, Unread
from clusterodm.libs.common.process.lifecycle import SystemClock, cancellable, monotonic_s
from clusterodm.libs.common.process.loops import listening
from clusterodm.libs.common.telemetry.metrics import UNREADABLE

log = structlog.get_logger()

Value = TypeVar("Value")
RETRY_S: Final = 0.25
KEY: Final = re.compile(r"[-/_=a-zA-Z0-9](?:[-/_=.a-zA-Z0-9]*[-/_=a-zA-Z0-9])?")
WRONG_REVISION: Final = (10071, 10164)
"""NATS' codes for a write to a subject whose last message is another than expected."""
NO_STREAM: Final = 10059
"""NATS' code for a stream that is not there; a message that is not there has another."""
OPERATION: Final = "KV-Operation"
FIELDS: Final = "Clusterodm-Fields"
"""How many fields the version knew that wrote a record."""
MARKER: Final = "Nats-Marker-Reason"
"""On a marker that NATS itself leaves behind for what has expired."""
MARKER_TTL_S: Final = 300
"""How long the marker of a deletion stays: longer than any watch lags behind that has not to begin anew."""
DUPLICATES_S: Final = 120.0
LEADERLESS_S: Final = 10.0
"""Servers of NATS agree on a leader within nine seconds, if they can."""
REMOVED_IN_S: Final = 1.0
EXPECTED: Final = api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value


async def open_bucket(
    client: Client,
    js: JetStreamContext,
    name: BucketName[Value],
    replicas: Replicas,
    marker_ttl_s: int = MARKER_TTL_S,
) -> "NatsBucket[Value]":
    """Open a bucket, creating it when it does not exist. Raises BusFailed, soon."""
    bucket = NatsBucket(client, js, name, replicas, marker_ttl_s)
    await bucket.open_soon()
    return bucket


async def opened(js: JetStreamContext, config: api.KeyValueConfig, replicas: Replicas | None) -> KeyValue:
    """Open a bucket; one that does not exist is created with `replicas`, without them not. Raises what nats-py raises."""
    if replicas is None:
        return await js.key_value(config.bucket)
    stream = f"KV_{config.bucket}"
    try:
        await conform(js, stream, replicas)
        return await js.key_value(config.bucket)
    except (nats.js.errors.NotFoundError, nats.js.errors.BucketNotFoundError):
        return await replicas.made(stream, lambda count: js.create_key_value(config.evolve(replicas=count)))


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


class NatsBucket(Generic[Value]):
    """One bucket. `clusterodm.libs.common.ports.Bucket` says what each method promises."""

    def __init__(  # noqa: PLR0913, PLR0917 which bucket, where, and how it is kept
        self,
        client: Client,
        js: JetStreamContext,
        name: BucketName[Value],
        replicas: Replicas,
        marker_ttl_s: int = MARKER_TTL_S,
        clock: Clock | None = None,
        *,
        makes: bool = True,
    ) -> None:
        self.name = name.name
        self._makes = makes
        """Whether it is made here where it is missing, and compared with the settings; otherwise another service does (layout.py)."""
        self._of = name
        self._replicas = replicas
        self._closed_since: Instant | None = None
        """Since when it cannot be opened."""
        self._server_alone = False
        """The server that we are connected to is the only one: it has the bucket, or nobody has."""
        self._client, self._reconnection = client, Reconnection(client)
        self._js = js
        self._marker_ttl_s = marker_ttl_s
        self._clock = clock or SystemClock()
        self._kind = name.value
        self._decoder = msgspec.json.Decoder(name.value)
        self._fields_count = fields_count(name.value)
        self._later: set[str] = set()
        """Keys that were last written by a version that knows more fields."""
        self._unread: dict[str, int] = {}
        """The revision of each key that could not be read: it is said once, however often it is tried."""
        self._stream = f"KV_{name.name}"
        self._prefix = f"$KV.{name.name}."
        self._consumers: set[Consumer] = set()

    def __repr__(self) -> str:
        """Show its name."""
        return f"NatsBucket({self.name})"

    async def open_soon(self) -> None:
        """See that it is there, or make it. Raises BusFailed."""
        try:
            await cancellable(self.open())
        except nats.js.errors.NotFoundError:
            raise BusFailed(f"bucket {self.name} is not there yet: {NOT_MADE}") from None
        except NATS_ERRORS as error:
            raise failure_of(f"bucket {self.name} cannot be opened: {why(error)}", error) from None

    async def open(self) -> None:
        """Create it when it does not exist; one that may be lost is made anew when it cannot be as it should. Raises what nats-py raises."""
        try:
            async with try_timeout():
                fits = await self._conform()
        except NATS_ERRORS:
            if self._of.durable or not self._makes or not self._has_no_leader():
                raise
            fits = False
        if not (fits or self._of.durable):
            await self._make_anew()
        self._closed_since = None

    async def _conform(self) -> bool:
        try:
            if not self._makes:
                await self._js.stream_info(self._stream)
                return True
            return await conform(self._js, self._stream, self._replicas, self._of.expires_s, durable=self._of.durable)
        except nats.js.errors.NotFoundError:
            if not self._makes:
                raise
            await self._replicas.made(self._stream, self._make)
            return True

    async def _make(self, replicas_count: int) -> None:
        await self._js.add_stream(stream_of(self._of, replicas_count))

    async def keep(self) -> None:
        """Make it anew, with nothing in it, once its only server has been gone for long: of a bucket that may be lost. Raises BusFailed."""
        if self._server_alone:
            return
        try:
            async with try_timeout():
                info = await cancellable(self._js.stream_info(self._stream))
            self._closed_since, self._server_alone = None, is_alone(info)
        except NATS_ERRORS as error:
            if not self._has_no_leader():
                raise failure_of(f"bucket {self.name} does not answer: {why(error)}", error) from None
            try:
                await cancellable(self._make_anew())
            except NATS_ERRORS as again:
                raise failure_of(f"bucket {self.name} cannot be made anew: {why(again)}", again) from None
            self._closed_since = None

    def _has_no_leader(self) -> bool:
        """Whether it could not be opened for longer than servers take to agree on a leader: its only server is gone."""
        now = self._clock.instant()
        self._closed_since = now if self._closed_since is None else self._closed_since
        return now - self._closed_since > LEADERLESS_S

    async def _make_anew(self) -> None:
        """Remove it with what it holds, which may be lost, and make it again. Raises what nats-py raises."""
        log.warning("bucket.recreated", bucket=self.name)
        with contextlib.suppress(*NATS_ERRORS):  # who would answer may be the one that is gone
            async with asyncio.timeout(REMOVED_IN_S):
                await self._js.delete_stream(self._stream)
        try:
            async with try_timeout():
                await self._replicas.made(self._stream, self._make)
        except NATS_ERRORS as error:  # as long as a server is away NATS may refuse to plan with it
            async with try_timeout():
                await self._make(1)
            self._replicas.has_fewer(self._stream, 1, str(error))

    async def get(self, key: str) -> Entry[Value] | None:
        """Read one key."""
        found = await self._last(key)
        if found is None or is_gone(found.headers, found.data):
            return None
        revision = found.seq or 0
        self._notice(key, found.headers)
        value = self._decoded(key, found.data or b"", revision)
        if value is None:
            raise Unreadable(f"{self.name}/{key} was written by a later version; this one cannot read it")
        return Entry(key, value, revision)

    async def load(self) -> Loaded[Value]:
        """Read everything."""
        found: dict[str, Entry[Value]] = {}
        skipped: dict[str, int] = {}
        async with self._watching() as changes:
            async for change in changes:
                if change is None:
                    break
                if isinstance(change, Unread):
                    skipped[change.key] = change.revision
                elif isinstance(change, Reset) or change.value is None:
                    continue
                else:
                    found[change.key] = Entry(change.key, change.value, change.revision)
        return Loaded(found, skipped)

    async def pages(self) -> AsyncGenerator[list[Entry[Value]]]:
        """Read everything, a page at a time. Raises BusFailed."""
        try:
            async for page in pages_of(self._client, self._js, self._stream, f"{self._prefix}>"):
                yield [entry for message in page if (entry := self._entry_of(message)) is not None]
        except NATS_ERRORS as error:
            raise self._failed("read", "all keys", error) from None

    def _entry_of(self, message: Msg) -> Entry[Value] | None:
        if is_gone(message.headers, message.data):
            return None
        key, revision = message.subject.removeprefix(self._prefix), message.metadata.sequence.stream
        value = self._decoded(key, message.data, revision)
        return None if value is None else Entry(key, value, revision)

    async def later(self, key: str) -> LaterRecord | None:
        """Say how a record is written that a later version wrote."""
        return self._later_of(await self._last(key)) if key in self._later else None

    async def create(self, key: str, value: Value, *, later: LaterRecord | None = None) -> int:
        """Write a key that must not exist."""
        payload, written_by = self._encoded(key, value, later)
        try:
            return await self._publish(key, payload, {EXPECTED: "0", **written_by}, "created")
        except Conflict:
            last = await self._last(key)
            if last is None or not is_gone(last.headers, last.data):
                raise Conflict(f"{self.name}/{key} exists") from None
        return await self._publish(key, payload, {EXPECTED: str(last.seq), **written_by}, "created")

    async def update(self, key: str, value: Value, revision: int) -> int:
        """Write a key that must still be at `revision`."""
        last = await self._last(key) if key in self._later else None
        if key in self._later and (last is None or last.seq != revision):
            raise Conflict(f"{self.name}/{key} is no longer at revision {revision}")
        payload, written_by = self._encoded(key, value, self._later_of(last))
        return await self._publish(key, payload, {EXPECTED: str(revision), **written_by}, "updated")

    async def put(self, key: str, value: Value, *, ttl_s: int | None = None, later: LaterRecord | None = None) -> int:
        """Write a key whatever it holds. With a time to live as NATS' ADR-48 has it: a header of the message."""
        while key in self._later:
            last = await self._last(key)
            payload, written_by = self._encoded(key, value, self._later_of(last), later)
            expected = {EXPECTED: str(last.seq if last else 0)}
            with contextlib.suppress(Conflict):
                return await self._publish(key, payload, expected | written_by, "written", ttl_s)
        payload, written_by = self._encoded(key, value, later)
        return await self._publish(key, payload, written_by, "written", ttl_s)

    def _encoded(self, key: str, value: Value, *later: LaterRecord | None) -> tuple[bytes, dict[str, str]]:
        payload, more_count = encoded(self._kind, value, later)
        if more_count:
            self._later.add(key)
        return payload, {FIELDS: str(self._fields_count + more_count)}

    def _later_of(self, last: api.RawStreamMsg | None) -> LaterRecord | None:
        if last is None or is_gone(last.headers, last.data):
            return None
        return LaterRecord(last.data or b"", max(0, self._more_count(last.headers)))

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove a key with all that was kept of it."""
        expected = {EXPECTED: str(revision)} if revision else {}
        await self._publish(key, b"", {OPERATION: "DEL", **expected}, "deleted", self._marker_ttl_s)
        self._later.discard(key)

    async def forget_deleted(self) -> int:
        """Remove markers without a time to live, as older versions left them. Raises BusFailed."""
        try:
            old = await self._old_markers()
            for told in old:
                await cancellable(self._js.purge_stream(self._stream, seq=told.sequence + 1, subject=told.subject))
        except NATS_ERRORS as error:
            raise self._failed("forgotten", "deleted keys", error) from None
        return len(old)

    async def _old_markers(self) -> list[StreamMessage]:
        """Find the markers that should have gone by themselves long ago."""
        before = datetime.fromtimestamp(self._clock.wall_ms() / 1000 - 2 * self._marker_ttl_s, UTC)
        old: list[StreamMessage] = []
        async with self.consuming(headers_only=True) as consumer:
            with contextlib.suppress(Interrupted):
                while told := await consumer.next():
                    if OPERATION in told.headers and told.written_at < before:
                        old.append(told)
        return old

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["NatsWatch[Value]"]:
        """Follow all keys."""
        async with self._watching() as watch:
            with listening(watch.signs.silent_s):
                yield watch

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator["NatsWatch[Value]"]:
        watch = NatsWatch(self.name, self.consuming, self.key_of, self.read)
        try:
            yield watch
        finally:
            await watch.end()

    @asynccontextmanager
    async def watch_revisions(self) -> AsyncIterator[AsyncIterator[Seen | Reset]]:
        """Follow all keys without their values."""
        signs = SignsOfLife()
        revisions = revisions_of(partial(self.consuming, headers_only=True), self._seen, signs)
        try:
            with listening(signs.silent_s):
                yield revisions
        finally:
            await revisions.aclose()

    def reconnected(self) -> None:
        """Write what has waited, and have the watches begin anew; called when the connection came back, perhaps to another server."""
        self._reconnection.happened()
        self._server_alone = False
        for consumer in self._consumers:
            consumer.interrupt()

    def key_of(self, told: StreamMessage) -> str:
        """Say which key a message is about."""
        return told.subject[len(self._prefix) :]

    def _seen(self, told: StreamMessage) -> Seen:
        return Seen(self.key_of(told), told.sequence, OPERATION in told.headers or MARKER in told.headers)

    def read(self, told: StreamMessage) -> Step[Value]:
        """Make a step of a message."""
        key = self.key_of(told)
        if is_gone(told.headers, told.data):
            return Change(key, None, told.sequence)
        self._notice(key, told.headers)
        value = self._decoded(key, told.data, told.sequence)
        return Unread(key, told.sequence) if value is None else Change(key, value, told.sequence)

    @asynccontextmanager
    async def consuming(self, *, headers_only: bool = False) -> AsyncIterator[Consumer]:
        """Begin to read everything, as soon as NATS can."""
        consumer = await self._consumer(headers_only=headers_only)
        self._consumers.add(consumer)
        try:
            yield consumer
        finally:
            self._consumers.discard(consumer)
            await consumer.end()

    async def _consumer(self, *, headers_only: bool) -> Consumer:
        tries_count, following = 0, Following(denials_of(self._client), self._stream)
        while True:
            began = monotonic_s()
            consumer = Consumer(self._client, self._js, self._stream, f"{self._prefix}>", headers_only=headers_only)
            try:
                async with try_timeout(tries_count):
                    await cancellable(self._begin(consumer))
            except NATS_ERRORS as error:
                tries_count += 1
                log.debug("watch.start_failed", bucket=self.name, error=repr(error))
                await consumer.end()
                await asyncio.sleep(max(RETRY_S, following.interrupted(began)))
            except BaseException:
                await consumer.end()
                raise
            else:
                following.begun()
                return consumer

    async def _begin(self, consumer: Consumer) -> None:
        try:
            await consumer.begin()
        except nats.js.errors.NotFoundError:  # NATS began anew while we ran
            await self.open()
            await consumer.begin()
        except NATS_ERRORS:
            if self._of.durable:
                raise
            await self.open()
            await consumer.begin()

    async def _last(self, key: str) -> api.RawStreamMsg | None:
        """Read what the last write of a key left, from the stream's leader."""
        if not KEY.fullmatch(key):
            return None
        try:
            return await cancellable(self._js.get_last_msg(self._stream, self._prefix + key))
        except nats.js.errors.NotFoundError as error:
            if error.err_code == NO_STREAM:
                await self._begin_anew("read", key)
            return None
        except NATS_ERRORS as error:
            raise self._failed("read", key, error) from None

    async def _publish(
        self, key: str, payload: bytes, headers: dict[str, str], what: str, ttl_s: int | None = None
    ) -> int:
        if not KEY.fullmatch(key):
            raise BusFailed(f"{self.name}/{key} not {what}: not a key")
        await self._reconnection.require(f"{self.name}/{key} not {what}")
        send = partial(self._js.publish, self._prefix + key, payload, headers=headers, msg_ttl=ttl_s)
        try:
            try:
                return (await cancellable(send())).seq
            except nats.js.errors.NoStreamResponseError:
                await self._begin_anew(what, key)
                return (await cancellable(send())).seq
        except nats.js.errors.APIError as error:
            if error.err_code not in WRONG_REVISION:
                raise self._failed(what, key, error) from None
            expected = headers.get(EXPECTED)
            raise Conflict(f"{self.name}/{key} is no longer at revision {expected}") from None
        except NATS_ERRORS as error:
            raise self._failed(what, key, error) from None

    async def _begin_anew(self, what: str, key: str) -> None:
        """Open anew the bucket that was there: NATS has lost its store while we ran. Raises BusFailed."""
        log.warning("bucket.disappeared", bucket=self.name)
        try:
            await cancellable(self.open())
        except NATS_ERRORS as error:
            raise self._failed(what, key, error) from None

    def _notice(self, key: str, headers: Mapping[str, str] | None) -> None:
        """Remember whether a key was written by a later version."""
        if self._more_count(headers) > 0:
            self._later.add(key)
        else:
            self._later.discard(key)

    def _more_count(self, headers: Mapping[str, str] | None) -> int:
        return int((headers or {}).get(FIELDS, "0")) - self._fields_count

    def _decoded(self, key: str, data: bytes, revision: int) -> Value | None:
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            UNREADABLE.inc(self.name)
            if self._unread.get(key) != revision:
                log.warning("value.not_decoded", bucket=self.name, key=key, revision=revision, reason=str(error))
            self._unread[key] = revision
            return None

    def _failed(self, what: str, key: str, error: Any) -> BusFailed:
        return failure_of(f"{self.name}/{key} not {what}: {why(error)}", error)


def is_gone(headers: Mapping[str, str] | None, data: bytes | None) -> bool:
    """Whether a message says that its key is missing: a marker, by us or by NATS, or nothing at all."""
    return not data or OPERATION in (headers or {}) or MARKER in (headers or {})
