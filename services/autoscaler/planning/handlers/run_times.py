"""What is learned of running times, kept in a bucket of the autoscaler's own: one small value, written now and then.

A crash loses what was learned in the last minute, and no task waits for a write. Who leads next reads what the last leader has kept.
"""

from collections.abc import Callable, Iterable
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.ports import Bucket, Bus
from clusterodm.libs.common.run_times import RunTimes, RunTimesRecord
from clusterodm.services.autoscaler.cluster.core import CompletedTask

log = structlog.get_logger()

RUN_TIMES: Final = BucketName("run-times", RunTimesRecord, writer="autoscaler")
KEY: Final = "learned"
KEEP_EVERY_S: Final = 60.0


class RunTimeStore:
    """What is learned, and where it is kept."""

    def __init__(self, bucket: Bucket[RunTimesRecord], times: RunTimes, clock: Clock) -> None:
        self.times = times
        self._bucket = bucket
        self._clock = clock
        self._kept_at = clock.instant()
        self._changed = False

    @classmethod
    async def open(cls, bus: Bus, clock: Clock) -> "RunTimeStore":
        """Read what is kept; nothing is where it cannot be read."""
        bucket = await bus.bucket(RUN_TIMES)
        found = (await bucket.load()).get(KEY)
        return cls(bucket, RunTimes(found.value if found else None), clock)

    async def learn(self, completed: Iterable[CompletedTask], size_of: Callable[[MachineId], str]) -> None:
        """Take in tasks that were completed, and keep what is new now and then."""
        for task in completed:
            self.times.learn(task.load, size_of(task.machine), task.took_ms)
            self._changed = True
        if self._changed and self._clock.instant() - self._kept_at >= KEEP_EVERY_S:
            await self._keep()

    async def _keep(self) -> None:
        self._kept_at = self._clock.instant()
        try:
            await self._bucket.put(KEY, self.times.record)
        except BusFailed as error:
            log.warning("run_times.not_kept", reason=error.message)
            return
        self._changed = False
