"""Keeps what machines say while they boot, and gives it to operators."""

from typing import Final

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import NotFound, Unreadable
from clusterodm.libs.common.messages.boot_logs import (
    BootLog,
    BootLogLines,
    BootOutputHeard,
    ReadBootLog,
    ReportBootOutput,
)
from clusterodm.libs.common.messages.buckets import BOOT_LOGS
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.boot_logs.core import grown, lines_from, listened_to
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.machines.handlers.order_factory import OrderFactory
from clusterodm.services.autoscaler.providers.core.order_words import secrets_of
from clusterodm.services.autoscaler.records import MachineStore

NOTHING: Final = BootLog()


class BootLogs:
    """The logs of all machines. The bucket is opened when the first machine talks: an autoscaler works without it."""

    def __init__(
        self, bus: Bus, configuration: Configuration, store: MachineStore, orders: OrderFactory, clock: Clock
    ) -> None:
        self._bus = bus
        self._configuration = configuration
        self._store = store
        self._orders = orders
        self._clock = clock

    def __repr__(self) -> str:
        """Show whose machines they are of."""
        return f"BootLogs({self._store!r})"

    async def report(self, request: ReportBootOutput) -> BootOutputHeard:
        """Keep what a machine says; it may say what it was given, and is shown to people. Raises BusFailed."""
        now_ms, machine = self._clock.wall_ms(), self._store.get(request.machine)
        if machine is None or not listened_to(machine, now_ms):
            return BootOutputHeard(kept=False)
        secrets: list[Secret] = [*self._configuration.secrets, *secrets_of(self._orders.order(machine).launch)]
        known = await self._kept(machine.id)
        log = grown(known, request.first_line, request.lines, secrets, now_ms)
        if log is not known:
            await (await self._bus.bucket(BOOT_LOGS)).put(machine.id, log)
        return BootOutputHeard(kept=True)

    async def read(self, request: ReadBootLog) -> BootLogLines:
        """Give lines of a log; a machine that has not said anything has none. Raises NotFound, BusFailed."""
        machine = self._store.get(request.machine)
        if machine is None:
            raise NotFound(f"There is no machine {request.machine}")
        return lines_from(await self._kept(machine.id), machine, request.from_line, self._clock.wall_ms())

    async def _kept(self, machine: MachineId) -> BootLog:
        try:
            entry = await (await self._bus.bucket(BOOT_LOGS)).get(machine)
        except Unreadable:  # by a later version: what comes now begins anew
            return NOTHING
        return entry.value if entry else NOTHING
