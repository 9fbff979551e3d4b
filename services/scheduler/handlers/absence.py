"""Holders that do not answer: what users are told of them, and the end of tasks whose holder does not come back at all.

A task that waits for photos nobody can reach holds no slot, and it does not wait for ever. Since when it has been waiting is in its record, so
that a restart of the scheduler does not begin anew; how long that may be is `--holder-gone-h`. A spool that turns up later still has the
photos: its user may restart the task from them.
"""

from typing import Final

import structlog

from libs.common.clocks import InstantCache, seen_s
from libs.common.messages import PROXIES, UPLOADS
from libs.common.model import InstanceId, Proxy, Task, TaskId, TaskState
from libs.common.ports import Bus
from services.scheduler.core.tasks import HOLDER_AWAY
from services.scheduler.core.whereabouts import holder_away, holder_gone
from services.scheduler.core.wishes import abandoned
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.voice import Voice
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

HOUR_S: Final = 3600.0


async def line_about(bus: Bus, task: Task) -> str:
    """Say for which proxy a task waits, and where its photos should be. Raises BusFailed."""
    return holder_away(task.holder, await announced_at(bus, task.id), await known_proxies(bus))


async def announced_at(bus: Bus, task: TaskId) -> str:
    """Say where the upload of a task was announced; empty: nowhere."""
    notice = await (await bus.bucket(UPLOADS)).get(task)
    return notice.value.url if notice else ""


async def known_proxies(bus: Bus) -> dict[InstanceId, Proxy]:
    """List the proxies that have announced themselves."""
    return {entry.value.instance: entry.value for entry in (await (await bus.bucket(PROXIES)).load()).values()}


class Absences:
    """Ends tasks whose holder is gone for good."""

    def __init__(self, ledger: Ledger, bus: Bus, voice: Voice, settings: SchedulerSettings) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._bus = bus
        self._voice = voice
        self._limit_h = settings.holder_gone_h
        self._since: InstantCache[TaskId] = InstantCache()

    async def check(self) -> None:
        """Fail what has been waiting for its holder for too long."""
        now, limit_s = self._ledger.now(), self._limit_h * HOUR_S
        waiting = [task for task in map(self._board.tasks.get, self._board.waiting) if task and self._waits(task)]
        self._since.keep({task.id for task in waiting})
        for task in waiting:
            since = self._since.since(task.id, task.holder_away_since_ms, now, limit_s - seen_s(limit_s))
            if now.instant - since > limit_s:
                await self._abandon(task)

    def _waits(self, task: Task) -> bool:
        return bool(task.holder_away_since_ms) and task.holder in self._board.holders.away

    async def _abandon(self, task: Task) -> None:
        url, proxies = await announced_at(self._bus, task.id), await known_proxies(self._bus)
        reason, now_ms = holder_gone(task.holder, url, proxies, self._limit_h), self._ledger.now_ms()

        def decide(now: Task) -> Task:
            still = now.state is TaskState.WAITING and now.waiting_because == HOLDER_AWAY
            return abandoned(now, reason, now_ms) if still else now

        record = await self._ledger.change(task.id, decide)
        log.error("photos of a task are lost", task=task.id, holder=task.holder, reason=reason)
        await self._voice.of_end(record.task, reason)
