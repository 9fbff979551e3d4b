"""Tells operators of uploads that are not committed yet, and of the disk under the spool: KV `progress` and `spools`.

Every few seconds the open uploads are looked at in memory, and what has changed since it was last told is written; nothing on the way of
an upload waits for that, or knows of it. What an earlier run of this proxy had told, and is no more, is deleted at the first look.
What cannot be written now (NATS is away) is written when it can.
"""

import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import PROGRESS, SPOOLS
from clusterodm.libs.common.messages.health import HealthReport, SettingInForce
from clusterodm.libs.common.messages.overview import SpoolReport, UploadProgress
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bucket, Bus
from clusterodm.libs.common.process.lifecycle import SystemClock, threaded
from clusterodm.libs.common.process.loops import background, every, missed
from clusterodm.libs.common.version import VERSION
from clusterodm.services.proxy.spool.core.upload import SpooledUpload
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

PUBLISH_EVERY_S: Final = 2.0
PUBLISH_AGAIN_S: Final = 6 * 3600.0
"""What does not change is told again so often: long before it expires."""
REPORT_EVERY_S: Final = 10.0
NAME_LENGTH: Final = 300

Usage = Callable[[], tuple[int, int]]
"""Bytes that are free on the disk, and that it has."""


HowIsIt = Callable[[], Awaitable[HealthReport]]


class UploadReporter:
    """Keeps what is told of the uploads of one spool up to date."""

    def __init__(  # noqa: PLR0913, PLR0917 what it tells, and of what
        self,
        spool: Spool,
        progress: Bucket[UploadProgress],
        spools: Bucket[SpoolReport],
        usage: Usage,
        clock: Clock,
        settings: tuple[SettingInForce, ...] = (),
        health: HowIsIt | None = None,
    ) -> None:
        self._spool = spool
        self._progress = progress
        self._spools = spools
        self._usage = usage
        self._clock = clock
        self._settings = settings
        self._health = health
        self._published: dict[TaskId, tuple[UploadProgress, Instant]] = {}
        self._is_first = True
        self._measured_at = clock.instant()
        self._reported_at: Instant | None = None
        self._rate_bytes_per_s = 0.0

    async def publish(self) -> None:
        """Write what has changed. Raises BusFailed."""
        if self._is_first:
            await self._forget_earlier()
            self._is_first = False
        now = self._clock.instant()
        elapsed_s, self._measured_at = max(now - self._measured_at, 0.001), now
        held = {each.draft.task: each for each in self._spool.being_uploaded()}
        self._rate_bytes_per_s = 0.0
        for task, upload in held.items():
            await self._publish_upload(task, upload, elapsed_s, now)
        for task in self._published.keys() - held.keys():
            await self._progress.delete(task)
            del self._published[task]
        await self._report(now, len(held))

    async def _publish_upload(self, task: TaskId, upload: SpooledUpload, elapsed_s: float, now: Instant) -> None:
        before, published_at = self._published.get(task, (None, now))
        progress = progress_of(upload, self._spool.instance, before, elapsed_s)
        self._rate_bytes_per_s += progress.rate_bytes_per_s
        if before is None or has_changed(before, progress) or now - published_at > PUBLISH_AGAIN_S:
            await self._progress.put(task, msgspec.structs.replace(progress, at_ms=self._clock.wall_ms()))
            self._published[task] = progress, now

    async def _forget_earlier(self) -> None:
        for task, entry in (await self._progress.load()).items():
            if entry.value.instance == self._spool.instance:
                await self._progress.delete(task)

    async def _report(self, now: Instant, uploads_count: int) -> None:
        if self._reported_at is not None and now - self._reported_at < REPORT_EVERY_S:
            return
        free_bytes, total_bytes = await threaded(self._usage, "look at the disk")
        report = SpoolReport(
            instance=self._spool.instance,
            host=socket.gethostname(),
            version=VERSION,
            free_bytes=free_bytes,
            total_bytes=total_bytes,
            uploads_count=uploads_count,
            tasks_count=self._spool.entries_count - uploads_count,
            rate_bytes_per_s=self._rate_bytes_per_s,
            received_bytes=self._spool.received_bytes,
            at_ms=self._clock.wall_ms(),
            settings=self._settings,
            health=await self._health() if self._health else None,
        )
        await self._spools.put(self._spool.instance, report)
        self._reported_at = now


def progress_of(
    upload: SpooledUpload, instance: InstanceId, before: UploadProgress | None, elapsed_s: float
) -> UploadProgress:
    """Say how far an upload is, and how fast it has been since the last look."""
    draft = upload.draft
    gained_bytes = upload.arrived_bytes - (before.arrived_bytes if before else 0)
    return UploadProgress(
        task=draft.task,
        instance=instance,
        name=draft.name[:NAME_LENGTH],
        owner=draft.owner,
        created_at_ms=draft.received_at_ms or draft.created_at_ms,
        files_count=upload.arrived_count,
        arrived_bytes=upload.arrived_bytes,
        rate_bytes_per_s=round(max(gained_bytes, 0) / elapsed_s, 1),
        receiving=upload.receiving,
    )


def has_changed(before: UploadProgress, now: UploadProgress) -> bool:
    """Whether operators see a difference."""
    return msgspec.structs.replace(before, at_ms=0) != now


def usage_of(folder: Path) -> Usage:
    """Look at the disk on which a folder lies."""

    def usage() -> tuple[int, int]:
        found = shutil.disk_usage(folder)
        return found.free, found.total

    return usage


@asynccontextmanager
async def publishing_progress(
    bus: Bus, spool: Spool, folder: Path, settings: tuple[SettingInForce, ...] = (), health: HowIsIt | None = None
) -> AsyncIterator[None]:
    """Tell of uploads while the context is open."""
    buckets = await bus.bucket(PROGRESS), await bus.bucket(SPOOLS)
    reporter = UploadReporter(spool, *buckets, usage_of(folder), SystemClock(), settings, health)

    async def publish() -> None:
        try:
            await reporter.publish()
        except BusFailed as error:
            log.debug("progress.not_written", reason=error.message)
            missed(error)

    async with background(lambda: every(PUBLISH_EVERY_S, publish, "tell of uploads"), "tell of uploads"):
        yield
