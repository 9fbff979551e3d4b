"""Uploads that nobody goes on with: what came last is too long ago, so they go.

Never touched: an upload that a request is writing to, and a task that the scheduler knows. A committed upload that the
scheduler has never heard of (the commit broke off before it was submitted) is like an open one: its client was told that
the commit failed, and may commit again until it is swept.

A proxy that is gone for good leaves its announcements behind: those of no task, and of an age that no upload reaches, go too.
Should it come back after all, it announces again what it has.
"""

from collections.abc import Callable
from typing import Final, Protocol

import structlog

from libs.common.errors import NotFound
from libs.common.lifecycle import now_ms
from libs.common.messages import GET_TASK, TaskRef
from libs.common.model import TaskId, Upload
from libs.common.ports import Bus
from services.proxy.ports import Held, Mark, Spool

log = structlog.get_logger()

HOUR_MS: Final = 3_600_000
LIMIT_HOURS: Final = 48.0
"""Always, as the original."""
LOST_HOURS: Final = 7 * 24.0


class SweptSpool(Spool, Protocol):
    """What sweeping needs of the spool beyond ports.Spool."""

    async def announce(self) -> list[Upload]:
        """Put KV `uploads` right; what the other proxies hold."""
        ...

    async def forget(self, lost: Upload) -> None:
        """Remove another proxy's announcement."""
        ...

    async def remove_orphans(self, before_ms: int) -> None:
        """Remove directories that are no uploads and have been untouched since `before_ms`."""
        ...


class Sweeper:
    """Removes stale uploads; `sweep` is called every few minutes."""

    def __init__(
        self, bus: Bus, spool: SweptSpool, stale_after_hours: float, clock: Callable[[], int] = now_ms
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._stale_after_ms = int(min(stale_after_hours or LIMIT_HOURS, LIMIT_HOURS) * HOUR_MS)
        self._clock = clock

    async def sweep(self) -> None:
        """Remove what is stale, then put the announcements right. Raises BusFailed."""
        now = self._clock()
        for held in self._spool.held():
            if now - held.active_at_ms > self._stale_after_ms and await self._abandoned(held):
                log.info("stale upload removed", task=held.draft.task, idle_ms=now - held.active_at_ms)
                await self._spool.discard(held.draft.task)
        await self._spool.remove_orphans(now - int(LIMIT_HOURS * HOUR_MS))
        for held_elsewhere in await self._spool.announce():
            if now - held_elsewhere.created_at_ms > LOST_HOURS * HOUR_MS and not await self._known(held_elsewhere.task):
                log.info("announcement of a lost proxy removed", task=held_elsewhere.task)
                await self._spool.forget(held_elsewhere)

    async def _abandoned(self, held: Held) -> bool:
        if held.receiving or Mark.SUBMITTED in held.marks:
            return False
        return not held.committed or not await self._known(held.draft.task)

    async def _known(self, task: TaskId) -> bool:
        try:
            await self._bus.ask(GET_TASK, TaskRef(task=task))
        except NotFound:
            return False
        return True
