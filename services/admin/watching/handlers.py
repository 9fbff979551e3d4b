"""Follows what operators watch: uploads and spools as the proxies tell of them, samples, and events.

A sample is taken twice a minute, whether somebody looks or not; all the rest is read when it is asked for the first time. Events are read
from their stream: the last thousands, and from then on what is new, by whoever asks.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import structlog

from clusterodm.libs.common.bus.mirror import Mirror
from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.buckets import PROGRESS, PROXIES, SAMPLES, SPOOLS
from clusterodm.libs.common.messages.health import STANDBY_REPORTED, StandbyReported
from clusterodm.libs.common.messages.machines import GET_AUTOSCALER_STATUS, AutoscalerStatus, GetAutoscalerStatus
from clusterodm.libs.common.messages.overview import (
    GET_OVERVIEW,
    ClusterOverview,
    GetOverview,
    Sample,
    SpoolReport,
    UploadProgress,
)
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.libs.common.ports import Bucket, Bus, StoredEvent
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.process.loops import background, every
from clusterodm.services.admin.watching.core import SAMPLE_S, SampleHistory, key_at, sample_of

log = structlog.get_logger()

EVENTS_COUNT: Final = 5_000
"""Events in memory."""
HINTS: Final = "hint."
"""What services of builds before say to each other: it was kept with the events, and nobody looks for it."""
AWAY_S: Final = 60.0
"""A spool of which nothing was heard for so long is not there."""
STANDBY_AWAY_S: Final = 15.0
"""A standby that has said nothing for so long is not there: it says how it is every five seconds."""
STANDBYS_COUNT: Final = 100
TIMEOUT_S: Final = 1.0
SILENT_TIMEOUT_S: Final = 0.05
"""So long the autoscaler is waited for, and so long once it has not answered."""


class EventLog:
    """The last events."""

    def __init__(self, bus: Bus) -> None:
        self.events: deque[StoredEvent] = deque(maxlen=EVENTS_COUNT)
        self._bus = bus
        self.reached = 0
        """The sequence up to which the stream was read."""
        self._one_at_a_time = asyncio.Lock()
        self._begun_count = self._done_count = 0
        """Readings that have begun, and which of them has ended last."""
        self._failed: BusFailed | None = None
        """Why that one came to nothing."""

    async def read(self) -> None:
        """Take in what is new. Raises BusFailed.

        Those who ask while one reads are answered by the next reading, all by the same: however many listen, nobody waits for more than two of them where
        NATS is silent.
        """
        wanted = self._begun_count + 1
        async with self._one_at_a_time:
            if self._done_count < wanted:
                await self._read()
            if self._failed is not None:
                raise BusFailed(self._failed.message)

    async def _read(self) -> None:
        self._begun_count = reading = self._begun_count + 1
        self._failed = None
        try:
            found = await self._bus.stored_events(self.reached, EVENTS_COUNT)
        except BusFailed as error:
            self._failed, self._done_count = error, reading
            return
        self._done_count = reading
        if found.reached < self.reached:  # the stream began anew
            self.events.clear()
        self.reached = found.reached
        self.events.extend(each for each in found.events if not each.name.startswith(HINTS))

    def since(self, sequence: int) -> list[StoredEvent]:
        """List those after one, the oldest first; all there are when that one was of a stream that is no more."""
        newer = takewhile(lambda each: each.sequence > sequence or sequence > self.reached, reversed(self.events))
        return list(newer)[::-1]


@dataclass(frozen=True)
class HeardStandby:
    """A process that waits to lead."""

    reported: StandbyReported
    age_s: float
    """How old its last word is."""


class Standbys:
    """The processes that wait to lead, as they say themselves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[Instant, StandbyReported]] = {}

    async def hear(self, reported: StandbyReported) -> None:
        """Take in what one says; those that say nothing any more, or are too many, go."""
        self._heard.pop(reported.instance, None)
        self._heard[reported.instance] = (self._clock.instant(), reported)
        self._heard = dict(list(self._there().items())[-STANDBYS_COUNT:])

    def known(self, service: str) -> list[HeardStandby]:
        """List those of a service, the one that has waited for the longest first."""
        now = self._clock.instant()
        there = [
            HeardStandby(said, round(now - at, 1))
            for at, said in self._there().values()
            if said.health.service == service
        ]
        return sorted(there, key=lambda each: (each.reported.since_ms, each.reported.instance))

    def _there(self) -> dict[str, tuple[Instant, StandbyReported]]:
        now = self._clock.instant()
        return {name: heard for name, heard in self._heard.items() if now - heard[0] <= STANDBY_AWAY_S}


class Watched:
    """All that is followed."""

    def __init__(self, bus: Bus, clock: Clock | None = None) -> None:
        self.uploads: Mirror[UploadProgress] = Mirror(PROGRESS.name)
        self.spools: Mirror[SpoolReport] = Mirror(SPOOLS.name, self._hear_spool)
        self.proxies: Mirror[Proxy] = Mirror(PROXIES.name)
        self.events = EventLog(bus)
        self._bus = bus
        self._clock = clock or SystemClock()
        self._heard: dict[str, Instant] = {}
        """When each proxy last told of its spool, by our clock: its own may be hours away from ours."""
        self.standbys = Standbys(self._clock)
        self._history: SampleHistory | None = None
        self._samples: Bucket[Sample] | None = None
        self._before: ClusterOverview | None = None
        self._spools_before: list[SpoolReport] = []
        self._loading = asyncio.Lock()
        self._autoscaler_silent = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow and sample while the context is open. Raises BusFailed."""
        proxies = await self._bus.bucket(PROXIES)  # the one that has to be there first: the others may be missing
        self._samples = await self._bus.bucket(SAMPLES)
        async with AsyncExitStack() as stack:
            uploads, spools = await self._bus.bucket(PROGRESS), await self._bus.bucket(SPOOLS)
            for start, name in (
                (lambda: self.uploads.watch(uploads), "mirror progress"),
                (lambda: self.spools.watch(spools), "mirror spools"),
                (lambda: self.proxies.watch(proxies), "mirror proxies"),
                (lambda: every(SAMPLE_S, self.sample, "sample"), "sample"),
            ):
                await stack.enter_async_context(background(start, name))
            await stack.enter_async_context(self._bus.subscribe(STANDBY_REPORTED, self.standbys.hear))
            yield

    async def sample(self) -> None:
        """Take a sample and keep it. Raises BusFailed."""
        overview, now_ms, spools = await self.overview(), self._clock.wall_ms(), self.known_spools()
        sample = sample_of(
            now_ms,
            overview,
            self._before,
            await self.autoscaler(waits=True),
            self.known_uploads(),
            spools,
            self._spools_before,
        )
        self._before, self._spools_before = overview, spools
        if self._history is not None:
            self._history.add(sample)
        if self._samples is not None:
            await self._samples.put(key_at(now_ms), sample)

    async def overview(self) -> ClusterOverview | None:
        """Ask the scheduler; None: it does not answer."""
        try:
            return await self._bus.request(GET_OVERVIEW, GetOverview())
        except ClusterError as error:
            log.debug("overview.not_read", reason=error.message)
            return None

    async def autoscaler(self, *, waits: bool = False) -> AutoscalerStatus | None:
        """Ask the autoscaler; None: there is none, or it does not answer. Where it has not answered before, pages do not wait for it, but samples do."""
        timeout_s = SILENT_TIMEOUT_S if self._autoscaler_silent and not waits else TIMEOUT_S
        try:
            status = await self._bus.request(GET_AUTOSCALER_STATUS, GetAutoscalerStatus(), timeout_s=timeout_s)
        except ClusterError as error:
            self._autoscaler_silent = True
            log.debug("autoscaler.not_read", reason=error.message)
            return None
        self._autoscaler_silent = False
        return status

    def known_uploads(self) -> list[UploadProgress]:
        """List uploads that are not committed, the newest first."""
        return sorted((value for value, _ in self.uploads.values.values()), key=lambda each: -each.created_at_ms)

    def known_spools(self) -> list[SpoolReport]:
        """List the spools of proxies that are there."""
        now = self._clock.instant()
        there = (report for key, (report, _) in self.spools.values.items() if now - self._heard[key] <= AWAY_S)
        return sorted(there, key=lambda each: each.instance)

    def _hear_spool(self, instance: str, _before: SpoolReport | None, report: SpoolReport | None) -> None:
        if report is None:
            self._heard.pop(instance, None)
        else:
            self._heard[instance] = self._clock.instant()

    async def history(self) -> SampleHistory:
        """Find the samples, read when they are asked for the first time. Raises BusFailed."""
        async with self._loading:
            if self._history is None:
                self._history = await self._read()
        return self._history

    async def _read(self) -> SampleHistory:
        history = SampleHistory()
        if self._samples is None:
            return history
        try:
            found = [entry.value async for page in self._samples.pages() for entry in page]
        except BusFailed as error:
            log.warning("samples.not_read", reason=error.message)
            raise
        for sample in sorted(found, key=lambda each: each.at_ms):
            history.add(sample)
        return history
