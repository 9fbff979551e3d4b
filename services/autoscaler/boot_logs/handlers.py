"""Keeps what is said of the boots of machines, by themselves and by those who make them, and gives it to operators."""

import asyncio
from collections.abc import Callable
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
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.loops import every
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.boot_lines import BootLines
from clusterodm.services.autoscaler.boot_logs.core import grown, lines_from, listened_to, with_unkept
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.machines.handlers.order_factory import OrderFactory
from clusterodm.services.autoscaler.providers.core.order_words import secrets_of
from clusterodm.services.autoscaler.records import MachineStore

NOTHING: Final = BootLog()
KEEP_EVERY_S: Final = 2.0


class BootLogs:
    """The logs of all machines. The bucket is opened when the first machine talks: an autoscaler works without it."""

    def __init__(  # noqa: PLR0913, PLR0917 what it works with
        self,
        bus: Bus,
        configuration: Configuration,
        store: MachineStore,
        orders: OrderFactory,
        clock: Clock,
        lines: BootLines,
    ) -> None:
        self._bus = bus
        self._configuration = configuration
        self._store = store
        self._orders = orders
        self._clock = clock
        self._lines = lines
        self._one_at_a_time = asyncio.Lock()

    async def report(self, request: ReportBootOutput) -> BootOutputHeard:
        """Keep what a machine says; it may say what it was given, and is shown to people. Raises BusFailed."""
        now_ms, machine = self._clock.wall_ms(), self._store.get(request.machine)
        if machine is None or not listened_to(machine, now_ms):
            return BootOutputHeard(kept=False)
        secrets = self._secrets(machine)
        await self._change(machine.id, lambda log: grown(log, request.first_line, request.lines, secrets, now_ms))
        return BootOutputHeard(kept=True)

    async def keep(self) -> None:
        """Keep what is said of machines by those who make them, for ever."""
        await every(KEEP_EVERY_S, self.keep_said, "keep boot logs")

    async def keep_said(self) -> None:
        """Keep what was said until now. Raises BusFailed: then it is kept the next time."""
        for machine in self._lines.machines():
            await self._keep_said(machine)

    async def read(self, request: ReadBootLog) -> BootLogLines:
        """Give lines of a log; a machine of which nothing was said has none. Raises NotFound, BusFailed."""
        machine = self._store.get(request.machine)
        if machine is None:
            raise NotFound(f"There is no machine {request.machine}")
        if machine.id in self._lines.machines():
            await self._keep_said(machine.id)
        return lines_from(await self._kept(machine.id), machine, request.from_line, self._clock.wall_ms())

    async def _keep_said(self, name: MachineId) -> None:
        taken, now_ms = self._lines.take(name), self._clock.wall_ms()
        machine = self._store.get(name)
        if machine is None:
            return
        secrets = self._secrets(machine)
        try:
            await self._change(name, lambda log: with_unkept(log, taken, secrets, now_ms))
        except BaseException:
            self._lines.give_back(name, taken)
            raise

    def _secrets(self, machine: Machine) -> list[Secret]:
        return [*self._configuration.secrets, *secrets_of(self._orders.order(machine).launch)]

    async def _change(self, machine: MachineId, change: Callable[[BootLog], BootLog]) -> None:
        """Write a log anew, unless nothing changes; one after the other."""
        async with self._one_at_a_time:
            known = await self._kept(machine)
            log = change(known)
            if log is not known:
                await (await self._bus.bucket(BOOT_LOGS)).put(machine, log)

    async def _kept(self, machine: MachineId) -> BootLog:
        try:
            entry = await (await self._bus.bucket(BOOT_LOGS)).get(machine)
        except Unreadable:  # by a later version: what comes now begins anew
            return NOTHING
        return entry.value if entry else NOTHING
