"""Whether anybody leads, seen by an autoscaler without a configuration.

Such a one may run beside others: one is started with every cluster. "There is no autoscaler" is true only when nobody leads, and
has not led for a while: between two terms there is still one. So it answers as if it led, for a term that is
valid as long as nobody leads in truth (clusterodm.libs.common.ports.Term).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.health import LEADER_ANSWERS, LeaderAnswers
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.process.loops import background, every, missed

log = structlog.get_logger()

OBSERVE_EVERY_S: Final = 3.0
"""Whoever begins to lead says so itself; to ask is for what was not heard, and for whether it still does."""
BETWEEN_TERMS_S: Final = 15.0
"""So long a take-over may last: the lease's time and the reading of all records."""


@asynccontextmanager
async def while_nobody_leads(bus: Bus, service: str) -> AsyncIterator["NoLeader"]:
    """Keep looking whether anybody leads, while the context is open."""
    no_leader = NoLeader(bus, service)
    async with bus.subscribe(LEADER_ANSWERS, no_leader.heard):
        await no_leader.observe()
        async with background(lambda: every(OBSERVE_EVERY_S, no_leader.observe, "see who leads"), "see who leads"):
            yield no_leader


class NoLeader:
    """The time in which nobody leads."""

    epoch = 0
    """Lower than that of any leader."""

    def __init__(self, bus: Bus, service: str, between_terms_s: float = BETWEEN_TERMS_S) -> None:
        self._bus = bus
        self._service = service
        self._between_terms_s = between_terms_s
        self._seen_at: Instant | None = None

    @property
    def valid(self) -> bool:
        """Whether nobody leads."""
        return self._seen_at is None or monotonic_s() - self._seen_at > self._between_terms_s

    async def over(self) -> None:
        """Wait for ever: it comes and goes."""
        await asyncio.Event().wait()

    async def observe(self) -> None:
        """See whether somebody leads. Who cannot see leaves it at what was seen last."""
        try:
            led = await self._bus.led(self._service)
        except BusFailed as error:
            missed(error)
            return
        if led:
            self._seen()

    async def heard(self, told: LeaderAnswers) -> None:
        """Hear that somebody answers from now on; those that have no configuration say so, too."""
        if told.owner == self._service and told.epoch > self.epoch:
            self._seen()

    def _seen(self) -> None:
        if self._seen_at is None:
            log.info("request.left_to_leader", lease=self._service)
        self._seen_at = monotonic_s()
