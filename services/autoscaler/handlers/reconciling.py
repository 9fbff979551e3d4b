"""Compares the records with the provider's own list: at the start, and every few minutes.

    ours by its name, and no record, or one that has ended    → it has leaked: a record is made, and it is destroyed
    a record says that it is there, and it is not             → it is lost: its tasks get a new attempt
    the provider is about to take it away (spot)              → the same, while it is still there

A list is a moment old when it is read. So only what was known before it was asked for is compared, and what is missing
is looked up once more by name before it counts as lost.
"""

from collections.abc import Sequence
from typing import Final

import structlog

from libs.common.errors import BusFailed, Conflict, ProviderFailed
from libs.common.model import Machine, MachineId, MachineState, Moment
from services.autoscaler.core.life import Step
from services.autoscaler.core.names import prefix
from services.autoscaler.core.orders import Found
from services.autoscaler.core.spending import DAY_MS
from services.autoscaler.handlers.lives import Lives
from services.autoscaler.handlers.parts import Parts

log = structlog.get_logger()

KEPT_MS: Final = DAY_MS + 3_600_000
"""Records of machines that have ended serve the daily budget."""
NEWBORN_MS: Final = 60_000
"""A provider's list may be so much behind."""
NOTICE_CHECK_S: Final = 15.0
"""Amazon says two minutes before that it takes a spot instance away; a new attempt is to begin in that time."""
PRESENT: Final = {
    MachineState.SETTING_UP,
    MachineState.ONLINE,
    MachineState.BUSY,
    MachineState.IDLE,
    MachineState.DRAINING,
}


class Reconciler:
    """Records against reality."""

    def __init__(self, parts: Parts, lives: Lives) -> None:
        self._provider_name = parts.configuration.provider
        self._provider = parts.provider
        self._records = parts.records
        self._tasks = parts.tasks
        self._keeping = parts.keeping
        self._voice = parts.voice
        self._clock = parts.clock
        self._lives = lives

    async def check(self) -> None:
        """Compare once. A provider that does not answer is asked again the next time."""
        asked_at_ms = self._clock.wall_ms()
        try:
            await self._records.reload()
            listed = await self._provider.list(prefix(self._keeping.facts.cluster_id))
            await self._compare(listed, asked_at_ms)
        except (ProviderFailed, BusFailed, Conflict) as error:
            log.warning("machines not compared", reason=error.message)
        await self._forget_old()

    async def _compare(self, listed: Sequence[Found], asked_at_ms: int) -> None:
        for found in listed:
            known = self._records.get(found.name)
            if known is None:
                await self._adopt(found)
            elif known.state.ended and (known.ended_at_ms or 0) < asked_at_ms:
                await self._lives.step(known.id, Step.REAPPEAR, "it has ended and is still there", ref=found.ref)
                await self._voice.leaked(known)
                self._lives.attend(known.id)
            elif found.leaving and known.state in PRESENT:
                await self._lose(known, f"the provider takes it away: {found.leaving}")
        names = {found.name for found in listed}
        for machine in list(self._records.alive()):
            if machine.id not in names and await self._is_lost(machine, asked_at_ms):
                await self._lose(machine, "the provider has it no more")

    async def _adopt(self, found: Found) -> None:
        """Make a record of a machine that bears this cluster's name and that nobody knows, to destroy it."""
        now_ms = self._clock.wall_ms()
        machine = Machine(
            id=MachineId(found.name),
            state=MachineState.DESTROYING,
            provider=self._provider_name,
            reason="nobody knows it",
            requested_at_ms=now_ms,
            state_at_ms=now_ms,
            ref=found.ref,
            timeline=(Moment(at_ms=now_ms, text="found at the provider, and nobody knows it"),),
        )
        await self._records.create(machine)
        await self._voice.leaked(machine)
        self._lives.attend(machine.id)

    async def _is_lost(self, machine: Machine, asked_at_ms: int) -> bool:
        if machine.state not in PRESENT or asked_at_ms - (machine.created_at_ms or 0) < NEWBORN_MS:
            return False
        return await self._provider.inspect(machine.id) is None

    async def _lose(self, machine: Machine, reason: str) -> None:
        await self._lives.stop(machine.id, reason)
        await self._voice.lost(machine)

    async def _forget_old(self) -> None:
        oldest_ms = self._clock.wall_ms() - KEPT_MS
        for machine in self._records.all():
            if machine.state.ended and (machine.ended_at_ms or 0) < oldest_ms:
                if machine.node:
                    self._tasks.forget(machine.node)
                await self._records.forget(machine.id)


def interval_s(usual_s: float, *, spot: bool) -> float:
    """Say how often to compare: with spot instances often enough to see every notice."""
    return min(usual_s, NOTICE_CHECK_S) if spot else usual_s
