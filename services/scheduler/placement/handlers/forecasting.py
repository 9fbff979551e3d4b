"""Plays the queue ahead now and then, for whoever wants to know when tasks should begin (placement/core/forecast.py).

A walk is long where very many wait, so it is done in slices, and rests afterwards for `REST` times as long as it took: the more wait, the older an
estimate may be. Nothing is written: after a restart the next walk finds all of it again.
"""

import asyncio
from itertools import chain
from typing import Final

from clusterodm.libs.common.bus.retrying import Slices
from clusterodm.libs.common.clocks import read
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.process.loops import beat
from clusterodm.libs.common.process.moments import wait_for_turn
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.estimates import Estimates
from clusterodm.services.scheduler.placement.core.forecast import QueueForecast
from clusterodm.services.scheduler.records.handlers.recovery import Records

EVERY_S: Final = 10.0
"""Also where nothing happens: what goes on for longer than expected puts off what waits."""
LEAST_S: Final = 1.0
REST: Final = 100
"""At most a hundredth of a core is spent on walks."""


class Forecaster:
    """The estimates, and what brings them up to date."""

    def __init__(self, state: ClusterState, records: Records) -> None:
        self.estimates = Estimates(state)
        self._state = state
        self._clock = records.clock
        self._changed = asyncio.Event()
        records.signals.task_listeners.append(self._task_changed)

    async def run(self) -> None:
        """Walk when the queue has changed, and now and then, for ever."""
        while True:
            beat()
            took_s = await self.refresh()
            await asyncio.sleep(max(LEAST_S, took_s * REST))
            await wait_for_turn(self._changed, EVERY_S)

    async def refresh(self) -> float:
        """Walk once; how long that took, seconds, without the turns of others as far as they were long."""
        self._changed.clear()
        slices, began, took_s = Slices(), self._clock.instant(), 0.0
        forecast = QueueForecast(self._state, began)
        for _ in chain(forecast.walk(), self.estimates.take(forecast)):
            took_s += self._clock.instant() - began
            await slices.turn()
            began = self._clock.instant()
        return took_s + (self._clock.instant() - began)

    def expected(self, task: Task) -> Expected | None:
        """Say what is expected of a task; None: it has ended, or nobody knows."""
        return self.estimates.of(task, read(self._clock))

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        self.estimates.task_changed(before, after, self._clock.instant())
        if any(task is not None and task.state is TaskState.WAITING for task in (before, after)):
            self._changed.set()
