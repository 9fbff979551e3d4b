"""Has the work of each machine's state done, step by step, until it has reached one that has none.

One worker per machine. Each reads the record, does the work of its state (lifecycle.py), writes the next state, and goes on; what a
worker did before a crash the next one does again. Whoever wants a machine to go calls `stop`: it ends the worker, writes
`destroying`, and starts one that destroys.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import structlog

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import BusFailed, Conflict, ProviderFailed, Trouble
from clusterodm.libs.common.model.machines import MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.ports import Term
from clusterodm.libs.common.process.lifecycle import cancel_and_wait, mention_failure
from clusterodm.services.autoscaler.machine_life.life import MachineStep, possible
from clusterodm.services.autoscaler.machines.handlers.lifecycle import StateWork
from clusterodm.services.autoscaler.providers.ports import Sleep
from clusterodm.services.autoscaler.records import MachineStore, Transitions

log = structlog.get_logger()

LONGEST_RETRY_S: Final = 300.0
BOOTING: Final = (MachineState.CREATING, MachineState.SETTING_UP)
AT_WORK: Final = {
    MachineState.REQUESTED,
    MachineState.CREATING,
    MachineState.SETTING_UP,
    MachineState.DESTROYING,
}


class MachineController:
    """The workers of all machines."""

    def __init__(  # noqa: PLR0913 what it works with, and how it waits
        self,
        *,
        store: MachineStore,
        transitions: Transitions,
        work: StateWork,
        term: Term,
        changed: Callable[[], None],
        first_retry_s: float,
        sleep: Sleep,
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._work = work
        self._term = term
        self._changed = changed
        self._first_retry_s = first_retry_s
        self._sleep = sleep
        self._workers: dict[MachineId, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End all workers; their machines' records say where they were."""
        await cancel_and_wait(*self._workers.values())

    def ensure_worker(self, machine: MachineId) -> None:
        """See to it that somebody works on a machine, if its state needs it."""
        known = self._store.get(machine)
        if known is None or known.state not in AT_WORK or machine in self._workers:
            return
        worker = asyncio.get_running_loop().create_task(self._work_until_done(machine), name=f"machine {machine}")
        self._workers[machine] = worker
        worker.add_done_callback(mention_failure)
        worker.add_done_callback(lambda done: self._forget_worker(machine, done))

    def recover(self) -> None:
        """Go on with what was under way. What was only requested is left to the next plan: it may not be wanted any more."""
        for machine in self._store.alive():
            if machine.state is not MachineState.REQUESTED:
                self.ensure_worker(machine.id)

    async def stop(self, machine: MachineId, reason: str, **facts: Any) -> None:
        """Destroy a machine whatever is being done with it. Raises BusFailed."""
        known = self._store.get(machine)
        if known is None or not possible(known.state, MachineStep.STOP):
            return
        await self._end_worker(machine)
        await self._transitions.step(machine, MachineStep.STOP, reason, **facts)
        await self._end_worker(machine)  # a plan may have had one begun before that was written
        self.ensure_worker(machine)

    async def boot_failed(self, machine: MachineId, last_words: str, now_ms: WallMs) -> bool:
        """Give a machine up that says itself that it will not come up; whether it was still expected to. Raises BusFailed."""
        known = self._store.get(machine)
        if known is None or known.state not in BOOTING:
            return False
        failure = f"its boot has failed: {last_words}"
        log.warning("machine.boot_failed", machine=machine, reason=failure)
        facts = {"failure": failure, "trouble": str(Trouble.RETRYABLE), "may_be_left": True, "failed_at_ms": now_ms}
        await self.stop(machine, "it did not come up", **facts)
        return True

    async def retry_now(self, machine: MachineId) -> None:
        """Do the work of a machine's state now that it waits for its next try."""
        await self._end_worker(machine)
        self.ensure_worker(machine)

    async def _end_worker(self, machine: MachineId) -> None:
        if worker := self._workers.get(machine):
            await cancel_and_wait(worker)
            self._forget_worker(machine, worker)

    def _forget_worker(self, machine: MachineId, worker: asyncio.Task[None]) -> None:
        """Forget a worker that has ended; its successor stays."""
        if self._workers.get(machine) is worker:
            del self._workers[machine]

    async def _work_until_done(self, machine_id: MachineId) -> None:
        retry_s = self._first_retry_s
        while (machine := self._store.get(machine_id)) and machine.state in AT_WORK and self._term.valid:
            try:
                await self._work.do(machine)
            except (BusFailed, Conflict) as error:
                log.warning("machine.deferred", machine=machine_id, reason=error.message)
                await self._sleep(retry_s)
            except ProviderFailed as error:  # only from destroying: until it is confirmed
                log.warning("machine.destroy_deferred", machine=machine_id, reason=error.message, trouble=error.trouble)
                await self._work.note_removal(machine_id, error)
                await self._sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)
        self._changed()
