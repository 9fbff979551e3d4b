"""Uploads that nobody goes on with: what came last is too long ago, so they go.

Never touched: an upload that a request is writing to or whose client has just committed it, and a task that the scheduler knows. A committed upload that the
scheduler has never heard of (the commit broke off before it was submitted) is like an open one: its client was told that
the commit failed, and may commit again until it is swept.

A proxy that is gone for good leaves its announcements behind: those of no task, and of an age that no upload reaches, go too.
Should it come back after all, it announces again what it has.

Idle is what this process has seen, and before that what files and records say. Nothing goes before this process has run for an hour
(half of a shorter limit) itself: a clock that was put forward while it was stopped makes everything look old.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Clock, InstantCache, read, seen_s
from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.process.loops import background, every
from clusterodm.services.proxy.spool.core.upload import Mark, SpooledUpload
from clusterodm.services.proxy.spool.ports import SweptSpool

log = structlog.get_logger()

SWEEP_EVERY_S: Final = 300.0
WITHDRAW_EVERY_S: Final = 2.0
WITHDRAW: Final = "withdraw announcements"
HOUR_S: Final = 3600.0
LIMIT_HOURS: Final = 48.0
"""Always, as the original."""
LOST_S: Final = 7 * 24 * HOUR_S


class UploadExpiry:
    """Removes stale uploads; `sweep` is called every few minutes."""

    def __init__(self, bus: Bus, spool: SweptSpool, stale_after_hours: float, clock: Clock | None = None) -> None:
        self._bus = bus
        self._spool = spool
        self._stale_after_s = min(stale_after_hours or LIMIT_HOURS, LIMIT_HOURS) * HOUR_S
        self._clock = clock or SystemClock()
        self._began = self._clock.instant()
        self._announced: InstantCache[TaskId] = InstantCache()

    async def sweep(self) -> None:
        """Remove what is stale, then put the announcements right. Raises BusFailed."""
        now = self._clock.instant()
        if now - self._began >= seen_s(self._stale_after_s):
            for task in [held.draft.task for held in self._spool.unsubmitted()]:
                if await self._is_abandoned(task):
                    await self._spool.discard(task)
        await self._spool.remove_orphans(LIMIT_HOURS * HOUR_S)
        await self._sweep_announcements()

    async def _sweep_announcements(self) -> None:
        now, found = read(self._clock), await self._spool.announce()
        self._announced.keep({upload.task for upload in found})
        for upload in found:
            announced = self._announced.since(upload.task, upload.created_at_ms, now, LOST_S - seen_s(LOST_S))
            if now.instant - announced > LOST_S and not await self._known(upload.task):
                log.info("upload.announcement_removed", task=upload.task)
                await self._spool.forget(upload)

    async def _is_abandoned(self, task: TaskId) -> bool:
        """Look at an upload as it is now: while others were looked at, or the scheduler was asked, its client may have gone on."""
        held = self._spool.find(task)
        if held is None or not self._is_stale(held):
            return False
        if held.committed:
            known, held = await self._known(task), self._spool.find(task)
            if known or held is None or not self._is_stale(held):
                return False
        log.info("upload.expired", task=task, idle_s=round(self._clock.instant() - held.active))
        return True

    def _is_stale(self, held: SpooledUpload) -> bool:
        is_idle = self._clock.instant() - held.active > self._stale_after_s
        return is_idle and not held.receiving and Mark.SUBMITTED not in held.marks

    async def _known(self, task: TaskId) -> bool:
        try:
            await self._bus.request(GET_TASK, TaskRef(task=task))
        except NotFound:
            return False
        return True


@asynccontextmanager
async def expiring(bus: Bus, spool: SweptSpool, stale_after_hours: float) -> AsyncIterator[None]:
    """Remove stale uploads while the context is open."""
    expiry = UploadExpiry(bus, spool, stale_after_hours)
    async with (
        background(lambda: every(SWEEP_EVERY_S, expiry.sweep, "sweep"), "sweep"),
        background(lambda: every(WITHDRAW_EVERY_S, spool.withdraw_owed, WITHDRAW), WITHDRAW),
    ):
        yield
