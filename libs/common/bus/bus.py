"""The bus over NATS: requests, events, snapshots. With `store`, what the other modules of this room are for.

Requests are served through nats.micro (serving.py), so that `nats micro ls|info|stats` shows every service and endpoint. nats-py runs
the handlers of one subscription one at a time, so each request gets an asyncio task of its own from a bounded limiter. A
ClusterError crosses the bus by its wire name (errors.ERROR_NAMES); anything else is logged here with its trace and
reaches the caller as BusFailed without its text.

How requests are asked is in requests.py. Each carries the id of its cause (`CAUSE`), events told while it is handled carry it on, and
logs show it. A message that cannot be decoded, as a later version may send it, is logged, counted and skipped.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from clusterodm.libs.common.bus.connection import (
    PING_EVERY_S,
    UNANSWERED_PINGS_COUNT,
    Absence,
    Reconnection,
    close,
    open_client,
    shutting_down,
)
from clusterodm.libs.common.bus.endpoints import OUT_OF_A_STREAM, decoded, hand_over
from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.bus.keeper import StreamKeeper
from clusterodm.libs.common.bus.layout import SERVICES, makes_streams
from clusterodm.libs.common.bus.leases import LeaseTerm, hold, is_held
from clusterodm.libs.common.bus.objects import NatsObjects, open_objects
from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.replies import CAUSE, MESSAGE_ID
from clusterodm.libs.common.bus.requests import Requests
from clusterodm.libs.common.bus.retrying import NATS_ERRORS, retry, try_timeout
from clusterodm.libs.common.bus.rights import NatsDenials, failure_of
from clusterodm.libs.common.bus.serving import SERVICES as SERVICES_ROOM
from clusterodm.libs.common.bus.serving import STOP_GRACE_S, ProgramsConnection, parted, served
from clusterodm.libs.common.bus.store import NatsBucket
from clusterodm.libs.common.bus.stored_events import events_after
from clusterodm.libs.common.bus.streams import open_events, open_snapshot, why
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.health import LEADER_ANSWERS, LeaderAnswers, RightRefused
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM as EVENTS
from clusterodm.libs.common.messages.kinds import BucketName, Event, ObjectsName, Request, Snapshot
from clusterodm.libs.common.messages.operators import LOG_LEVEL_SET, LogLevelSet
from clusterodm.libs.common.ports import Handler, StoredEvents, Term
from clusterodm.libs.common.process.lifecycle import SystemClock, cancellable, monotonic_s
from clusterodm.libs.common.process.loops import background, beat, missed, running_loops
from clusterodm.libs.common.settings.settings import MetricsSettings
from clusterodm.libs.common.telemetry.log import hide, set_level
from clusterodm.libs.common.telemetry.metrics import counter
from clusterodm.libs.common.telemetry.otlp import exported
from clusterodm.libs.common.telemetry.request_context import cause
from clusterodm.libs.common.telemetry.tracing import TRACEPARENT, current

log = structlog.get_logger()

Payload = TypeVar("Payload")
Reply = TypeVar("Reply")
Value = TypeVar("Value")

NOT_NEEDED_WAIT_S: Final = 1.0
"""For a bucket that may be lost, and that another service makes: nothing is kept waiting for it, as by a scheduler of an earlier version."""
RETRY_S: Final = 0.1
PING_TIMEOUT_S: Final = PING_EVERY_S * (UNANSWERED_PINGS_COUNT + 1) + 2
"""Longer than the connection lasts without an answer: nats-py reads no more when a pong comes for a ping that was given up."""
EVENTS_LOST: Final = counter(
    "clusterodm_bus_events_lost_total", "Events that could not be published: NATS was away", "event"
)


class NatsBus:
    """The bus of one process. `clusterodm.libs.common.ports.Bus` says what each method promises."""

    def __init__(  # noqa: PLR0913, PLR0917 its connections, and whose they are
        self,
        client: Client,
        for_programs: ProgramsConnection,
        replicas_count: int,
        wait_s: float,
        absence: Absence,
        service: str = "",
    ) -> None:
        self._client = client
        self._for_programs = for_programs
        """Another one, for the requests of programs (serving.py)."""
        self._service = service
        self._makes = makes_streams(service)
        self._keeper: StreamKeeper | None = None
        """Of a process that has made all streams, and sees to it that they stay."""
        self._absence = absence
        self._wait_s = wait_s
        self.denials = NatsDenials()
        """What NATS has refused to this user; it is the reason of a failure that is no more than silence otherwise."""
        self._nonce = new_id()
        self._js: JetStreamContext = client.jetstream(timeout=5)
        self._replicas = Replicas(replicas_count)
        self._requests = Requests(client)
        self._reconnection = Reconnection(client)
        self._answering: dict[str, Term] = {}
        """What this process leads and answers."""
        self._buckets: dict[str, NatsBucket[Any]] = {}
        self._objects: dict[tuple[str, float], NatsObjects] = {}
        self._compared: set[str] = set()
        """Streams of snapshots that this process writes to, and has compared with the settings."""

    def __repr__(self) -> str:
        """Show where it is connected to."""
        return f"NatsBus({'connected' if self.connected else 'away'})"

    @property
    def url(self) -> str:
        """Where it is connected to at this moment, without any token; empty: nowhere."""
        where = self._client.connected_url
        return f"nats://{where.hostname}:{where.port}" if where else ""

    @property
    def connected(self) -> bool:
        """Whether NATS is there at this moment."""
        return self._client.is_connected

    def refused_since(self, since: Instant) -> str:
        """Say what NATS has refused to this process since then; empty: nothing."""
        return self.denials.since(since)

    def rights_lacking(self) -> tuple[RightRefused, ...]:
        """Name the rights that NATS refuses to this process at present."""
        return (*self.denials.lacking(), *self._for_programs.denials.lacking())

    @property
    def away_s(self) -> float:
        """How long NATS is known to be away; see ports.Bus."""
        return 0.0 if self.connected else self._absence.lasts_s

    @property
    def connections_count(self) -> int:
        """How many connections to NATS there have been; see ports.Bus. It grows before anything comes over a new one."""
        return 1 + self._client.stats["reconnects"]

    @property
    def servers_count(self) -> int:
        """How many servers of NATS there may be; see ports.Bus."""
        return len(self._client.servers)

    async def ping_s(self) -> float:
        """Ask NATS for a sign of life; see ports.Bus."""
        began = monotonic_s()
        try:  # a ping that is cancelled is given up, too
            await asyncio.shield(self._client.flush(timeout=PING_TIMEOUT_S))
        except NATS_ERRORS as error:
            raise BusFailed(f"no answer to a ping: {type(error).__name__}") from None
        return monotonic_s() - began

    async def reconnected(self) -> None:
        """Start the watches again, ask again what may be asked twice, and say of what this process is the leader."""
        for bucket in self._buckets.values():
            bucket.reconnected()
        self._requests.reconnected()
        self._reconnection.happened()
        for owner, term in self._answering.items():
            await self._announce(owner, term)

    @asynccontextmanager
    async def hearing_leaders(self) -> AsyncIterator[None]:
        """Hear who answers from now on, while the context is open."""

        async def heard(told: LeaderAnswers) -> None:
            self._requests.leader_answers(told.owner)

        async with self.subscribe(LEADER_ANSWERS, heard):
            yield

    @asynccontextmanager
    async def hearing_log_levels(self) -> AsyncIterator[None]:
        """Log as operators say from now on, while the context is open; programs that are no service do not listen."""

        async def heard(told: LogLevelSet) -> None:
            if told.service in {"", self._service}:
                set_level("warning")  # so that this line is seen, whatever was before and comes after
                log.warning("log.level_set", to=told.level)
                set_level(told.level)

        if self._service not in SERVICES:
            yield
            return
        async with self.subscribe(LOG_LEVEL_SET, heard):
            yield

    async def _announce(self, owner: str, term: Term) -> None:
        if term.valid:
            await self.publish(LEADER_ANSWERS, LeaderAnswers(owner=owner, epoch=term.epoch))

    async def request(
        self, request: Request[Payload, Reply], message: Payload, timeout_s: float | None = None
    ) -> Reply:
        """Ask the owner; see ports.Bus."""
        return await self._requests.request(request, message, timeout_s)

    @asynccontextmanager
    async def serve(
        self, service: str, handlers: Mapping[Request[Any, Any], Handler], *, term: Term | None = None
    ) -> AsyncIterator[None]:
        """Answer requests; see ports.Bus."""
        own, programs = parted(handlers)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(served(self._client, service, own, term, SERVICES_ROOM))
            if programs:
                await stack.enter_async_context(self._for_programs.served(service, programs, term))
            try:
                if term is not None:
                    self._answering[service] = term
                    await self._announce(service, term)
                yield
            finally:
                self._answering.pop(service, None)

    async def publish(self, event: Event[Payload], message: Payload) -> None:
        """Publish an event; see ports.Bus."""
        headers = {CAUSE: cause.get() or new_id(), MESSAGE_ID: new_id()}
        if (span := current.get()) is not None:
            headers[TRACEPARENT] = span.header
        try:
            await cancellable(self._client.publish(event.subject, msgspec.json.encode(message), headers=headers))
        except NATS_ERRORS as error:
            EVENTS_LOST.inc(event.name)
            log.warning("event.publish_failed", message=event.name, error=type(error).__name__)

    @asynccontextmanager
    async def subscribe(
        self, event: Event[Payload], handler: Callable[[Payload], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Call the handler for every event; see ports.Bus."""

        async def heard(message: Msg) -> None:
            if message.subject != event.subject:
                log.warning("event.refused", message=event.name, reason=OUT_OF_A_STREAM)
                return
            told = decoded(event.name, message.data, event.payload)
            if told is not None:
                try:
                    await handler(told)
                except Exception:
                    log.exception("event.handler_failed", message=event.name)

        subscription = await cancellable(self._client.subscribe(event.subject, cb=heard))
        try:
            yield
        finally:
            with contextlib.suppress(*NATS_ERRORS):
                await cancellable(subscription.unsubscribe())

    async def stored_events(self, after: int, most_count: int) -> StoredEvents:
        """Read the last events; see ports.Bus."""
        try:
            return await events_after(self._client, self._js, after, most_count)
        except NATS_ERRORS as error:
            raise failure_of(f"events cannot be read: {why(error)}", error) from None

    async def publish_snapshot(self, snapshot: Snapshot[Payload], message: Payload) -> None:
        """Replace the last value; see ports.Bus."""
        payload = msgspec.json.encode(message)
        await self._reconnection.require(f"snapshot {snapshot.name} not stored")
        if snapshot.stream not in self._compared:
            await self._open_snapshot(snapshot)
            self._compared.add(snapshot.stream)
        try:
            try:
                await cancellable(self._js.publish(snapshot.subject, payload))
            except nats.js.errors.NoStreamResponseError:
                await self._open_snapshot(snapshot)
                await cancellable(self._js.publish(snapshot.subject, payload))
        except NATS_ERRORS as error:
            raise failure_of(f"snapshot {snapshot.name} not stored: {why(error)}", error) from None

    @asynccontextmanager
    async def watch_snapshot(
        self, snapshot: Snapshot[Payload], durable: str, handler: Callable[[Payload], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Call the handler with the last value and every new one; see ports.Bus."""
        async with background(lambda: self._consume(snapshot, durable, handler), name=f"follow {snapshot.name}"):
            yield

    async def bucket(self, name: BucketName[Value]) -> NatsBucket[Value]:
        """Open a bucket; see ports.Bus."""
        if name.name not in self._buckets:
            bucket = NatsBucket(self._client, self._js, name, self._replicas, makes=self._makes)
            try:
                wait_s = self._wait_s if self._makes or name.durable else min(self._wait_s, NOT_NEEDED_WAIT_S)
                await retry(bucket.open_soon, f"bucket {name.name} opens", wait_s)
            except BusFailed as error:
                if name.durable:
                    raise self.denials.failure(error.message) from None
                log.warning("bucket.skipped", bucket=name.name, reason=error.message)
            self._buckets[name.name] = bucket
        return self._buckets[name.name]

    async def objects(self, name: ObjectsName, ttl_s: float) -> NatsObjects:
        """Open a store of large things; see ports.Bus."""
        if (name.name, ttl_s) not in self._objects:
            self._objects[name.name, ttl_s] = await retry(
                lambda: open_objects(self._js, name, self._replicas, ttl_s), f"{name.name} open", self._wait_s
            )
        return self._objects[name.name, ttl_s]

    @asynccontextmanager
    async def lead(self, name: str, holder: str, ttl_s: int = 5) -> AsyncIterator[LeaseTerm]:
        """Hold a lease; see ports.Bus."""
        replicas = self._replicas if self._makes else None
        async with hold(self._js, replicas, name, f"{holder} {self._nonce}", ttl_s) as term:
            yield term

    async def led(self, name: str) -> bool:
        """Whether somebody holds a lease; see ports.Bus."""
        return await is_held(self._js, name)

    async def explain_replicas(self) -> None:
        """Say which streams have fewer replicas than the setting says, for ever."""
        await self._replicas.explain()

    def report_replicas(self) -> None:
        """Say it now, if there is anything that was not said."""
        self._replicas.report()

    async def prepare(self) -> None:
        """Make sure that JetStream answers, and that what this process makes is there. Raises BusFailed when NATS has no room for it."""
        if self._makes:
            await open_events(self._js, self._replicas)
            with contextlib.suppress(BusFailed):  # then the loop does it that looks every now and then
                await self.keep_laid_out()
        else:
            with contextlib.suppress(nats.js.errors.NotFoundError):  # an answer, too
                await self._js.stream_info(EVENTS)

    async def lay_out(self) -> None:
        """Make every stream that is not there; compare those that are with the settings; from then on they are kept. Raises BusFailed."""
        keeper = StreamKeeper(self._client, self._js, self._replicas, self.bucket, self._wait_s)
        await keeper.lay_out()
        self._keeper = keeper

    async def keep_laid_out(self) -> None:
        """Make again what NATS has lost of it, if this process has laid it out. Raises BusFailed."""
        if self._keeper is not None:
            await self._keeper.keep()

    async def _open_snapshot(self, snapshot: Snapshot[Any]) -> None:
        await open_snapshot(self._js, snapshot, self._replicas, makes=self._makes)

    async def _hand_over_last(self, snapshot: Snapshot[Payload], handler: Callable[[Payload], Awaitable[None]]) -> int:
        """Begin with the present value: the durable consumer remembers it as seen, a restarted process does not. Its sequence."""
        with contextlib.suppress(nats.js.errors.NotFoundError):
            last = await cancellable(self._js.get_last_msg(snapshot.stream, snapshot.subject))
            await hand_over(snapshot, last.data or b"", handler)
            return last.seq or 0
        return 0

    @asynccontextmanager
    async def _pulling(
        self, snapshot: Snapshot[Any], durable: str, tries_count: int
    ) -> AsyncIterator[JetStreamContext.PullSubscription]:
        """Take part in a durable consumer while the context is open: what is left behind is subscribed again with every new connection."""
        config = api.ConsumerConfig(deliver_policy=api.DeliverPolicy.NEW, ack_wait=30)
        async with try_timeout(tries_count):
            subscribing = self._js.pull_subscribe(snapshot.subject, durable, stream=snapshot.stream, config=config)
            consumer = await cancellable(subscribing)
        try:
            yield consumer
        finally:
            with contextlib.suppress(*NATS_ERRORS):
                await cancellable(consumer.unsubscribe())

    async def _consume(
        self, snapshot: Snapshot[Payload], durable: str, handler: Callable[[Payload], Awaitable[None]]
    ) -> None:
        tries_count = 0
        while True:
            try:
                await self._open_snapshot(snapshot)
                async with self._pulling(snapshot, durable, tries_count) as consumer:
                    tries_count = 0
                    await self._follow(consumer, snapshot, handler)
            except (BusFailed, *NATS_ERRORS) as error:
                tries_count += 1
                log.debug("snapshot.not_found", snapshot=snapshot.name, error=repr(error))
                said = error if isinstance(error, BusFailed) else failure_of(f"{snapshot.name}: {why(error)}", error)
                await asyncio.sleep(max(RETRY_S, missed(said)))

    async def _follow(
        self,
        consumer: JetStreamContext.PullSubscription,
        snapshot: Snapshot[Payload],
        handler: Callable[[Payload], Awaitable[None]],
    ) -> None:
        """Hand over what is there and what comes, over one connection: behind another one the stream may be another, too."""
        sequence, connections_count = await self._hand_over_last(snapshot, handler), self.connections_count
        while connections_count == self.connections_count:
            if self.connected:
                beat()
            with contextlib.suppress(nats.errors.TimeoutError):
                for message in await cancellable(consumer.fetch(1, timeout=5)):
                    if message.metadata.sequence.stream > sequence:  # what is redelivered late is old
                        sequence = message.metadata.sequence.stream
                        await hand_over(snapshot, message.data, handler)
                    await cancellable(message.ack())


async def prepare_again(bus: NatsBus, back: asyncio.Event) -> None:
    """Make sure, each time NATS is back, that the stream of events exists: it may have lost its store."""
    while True:
        await back.wait()
        back.clear()
        await until_ready(bus)


@asynccontextmanager
async def connect(url: str, name: str, *, wait_s: float = 30.0, replicas_count: int = 1) -> AsyncIterator[NatsBus]:
    """Connect to NATS, waiting for it up to `wait_s` seconds, then reconnect for ever.

    `url`: one or several, separated by commas; may hold a token (`nats://token@host:port`). Raises BusFailed.
    """
    opened: list[NatsBus] = []
    absence, denials = Absence(SystemClock()), NatsDenials()
    closing, back = asyncio.Event(), asyncio.Event()
    deadline_s = monotonic_s() + wait_s

    async def reconnected() -> None:
        absence.ends()
        log.info("nats.reconnected")
        for bus in opened:
            await bus.reconnected()
        back.set()

    async def disconnected() -> None:
        if not closing.is_set():
            absence.begins()
            log.warning("nats.disconnected")

    async def trouble(_error: Exception) -> None:
        absence.goes_on()

    client = await open_client(url, name, wait_s, denials, told=trouble, lost=disconnected, back=reconnected)
    for_programs = ProgramsConnection(url, name, wait_s)
    bus = NatsBus(client, for_programs, replicas_count, wait_s, absence, name)
    bus.denials = denials
    try:
        try:
            async with asyncio.timeout(deadline_s - monotonic_s()):
                await until_ready(bus)
        except TimeoutError:
            raise denials.failure(f"no NATS with JetStream at {hide(url)} in {wait_s:g} s") from None
        opened.append(bus)
        with running_loops().depending_on(bus):
            async with (
                background(lambda: prepare_again(bus, back), name="prepare nats again"),
                background(bus.explain_replicas, name="explain replicas"),
                background(lambda: shutting_down(client, absence), name="shut down what does not close"),
                bus.hearing_leaders(),
                bus.hearing_log_levels(),
            ):
                yield bus
    finally:
        closing.set()
        bus.report_replicas()
        await for_programs.close()
        await close(client, STOP_GRACE_S)


@asynccontextmanager
async def connected(settings: MetricsSettings, service: str) -> AsyncIterator[NatsBus]:
    """Connect as the settings of a service say, and send its spans, while the context is open. Raises BusFailed, Refused."""
    wait_s, replicas_count = settings.nats_wait_s, settings.nats_replicas_count
    async with (
        exported(service, settings.traces_to),
        connect(settings.nats_url, service, wait_s=wait_s, replicas_count=replicas_count) as bus,
    ):
        yield bus


async def until_ready(bus: NatsBus) -> None:
    """Wait until JetStream answers: after a start of the server it comes a moment later than its port."""
    tries_count = 0
    while True:
        try:
            async with try_timeout(tries_count):
                return await cancellable(bus.prepare())
        except NATS_ERRORS as error:
            tries_count += 1
            log.debug("jetstream.not_ready", error=repr(error))
            await asyncio.sleep(RETRY_S)
