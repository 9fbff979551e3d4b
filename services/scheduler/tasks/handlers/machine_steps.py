"""Follows the machines' records, and writes each step of a task's machine into its console (core/machine_steps.py says how).

Records, not events: an event may be lost between a write and its telling, and a record says everything again.
"""

import asyncio
from typing import Final

import structlog

from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.ports import Bucket, Bus, Change
from clusterodm.libs.common.process.loops import beat, missed
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.tasks.core.machine_steps import missing_steps, with_steps

log = structlog.get_logger()

AGAIN_S: Final = 1.0


class MachineSteps:
    """The lines about machines in the consoles of waiting tasks."""

    def __init__(self, bucket: Bucket[Machine], records: Records, again_s: float = AGAIN_S) -> None:
        self._bucket = bucket
        self._tasks = records.tasks
        self._index = records.index
        self._clock = records.clock
        self._again_s = again_s

    @classmethod
    async def open(cls, bus: Bus, records: Records) -> "MachineSteps":
        """Open the autoscaler's bucket, which is only read."""
        return cls(await bus.bucket(MACHINES), records)

    async def watch(self) -> None:
        """Keep up with the records, for ever."""
        async with self._bucket.watch() as changes:
            async for change in changes:
                if isinstance(change, Change) and change.value is not None:
                    await self.write(change.value)
                    beat()

    async def write(self, machine: Machine) -> None:
        """Write what is new of a machine; tried again while records cannot be written."""
        while (task := self._index.tasks.get(machine.for_task) if machine.for_task else None) is not None:
            if not missing_steps(task, machine):
                return
            try:
                await self._tasks.change(task.id, lambda known: with_steps(known, machine, self._clock.wall_ms()))
            except BusFailed as error:
                log.warning("task.steps_deferred", task=task.id, machine=machine.id, reason=error.message)
                await asyncio.sleep(max(self._again_s, missed(error)))
            except ClusterError as error:
                log.warning("task.steps_not_told", task=task.id, machine=machine.id, reason=error.message)
                return
            else:
                return
