"""Does the work of a machine's state, step by step, until it has reached one that has none.

One worker per machine. Each reads the record, does the work of its state, writes the next state, and goes on; what a
worker did before a crash the next one does again (core/life.py says why that is harmless). Whoever wants a machine to go
calls `stop`: it ends the worker, writes `destroying`, and starts one that destroys. Time limits come from the
configuration; what exceeds one is destroyed, because nobody knows what is there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, Self

import msgspec
import structlog

from libs.common.errors import BusFailed, ClusterError, Conflict, ProviderFailed, Refused, Trouble
from libs.common.lifecycle import ended, mention_failure, monotonic_s
from libs.common.model import Machine, MachineId, MachineState, NodeInfo
from services.autoscaler.core.learned import facts_of, left_by
from services.autoscaler.core.life import Step, after, came_to_nothing, may_exist, possible
from services.autoscaler.core.orders import Found
from services.autoscaler.handlers.parts import Parts

log = structlog.get_logger()

LONGEST_RETRY_S: Final = 300.0
PROBE_EVERY_S: Final = 1.0
AT_WORK_PAUSE_S: Final = 15.0
"""How long until a set-up is tried again whose machine stays, because its node is at work."""
SCHEDULER_WAIT_S: Final = 30.0
"""How long a scheduler that is away holds up a destruction: its own grace finds a node that is gone."""

AT_WORK: Final = {
    MachineState.REQUESTED,
    MachineState.CREATING,
    MachineState.SETTING_UP,
    MachineState.DESTROYING,
}


class Lives:
    """The workers of all machines."""

    def __init__(self, parts: Parts) -> None:
        self._records = parts.records
        self._provider = parts.provider
        self._provider_name = parts.configuration.provider
        self._cluster = parts.cluster
        self._ordering = parts.ordering
        self._asking = parts.asking
        self._voice = parts.voice
        self._clock = parts.clock
        self._patience = parts.configuration.patience
        self._changed = parts.news.set
        self._first_retry_s = parts.first_retry_s
        self._sleep = parts.sleep
        self._in_office = parts.in_office
        self._workers: dict[MachineId, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End all workers; their machines' records say where they were."""
        await ended(*self._workers.values())

    def attend(self, machine: MachineId) -> None:
        """See to it that somebody works on a machine, if its state needs it."""
        known = self._records.get(machine)
        if known is None or known.state not in AT_WORK or machine in self._workers:
            return
        worker = asyncio.get_running_loop().create_task(self._live(machine), name=f"machine {machine}")
        self._workers[machine] = worker
        worker.add_done_callback(mention_failure)
        worker.add_done_callback(lambda done: self._dismiss(machine, done))

    def recover(self) -> None:
        """Go on with what was under way. What was only requested is left to the next plan: it may not be wanted any more."""
        for machine in self._records.alive():
            if machine.state is not MachineState.REQUESTED:
                self.attend(machine.id)

    async def stop(self, machine: MachineId, reason: str, **facts: Any) -> None:
        """Destroy a machine whatever is being done with it. Raises BusFailed."""
        known = self._records.get(machine)
        if known is None or not possible(known.state, Step.STOP):
            return
        await self._end_worker(machine)
        await self.step(machine, Step.STOP, reason, **facts)
        self.attend(machine)

    async def hurry(self, machine: MachineId) -> None:
        """Do the work of a machine's state now that it waits for its next try."""
        await self._end_worker(machine)
        self.attend(machine)

    async def step(self, machine: MachineId, step: Step, reason: str, **facts: Any) -> None:
        """Take a step of a machine's life if it is still possible, write it, and tell it. Raises BusFailed."""
        for _ in range(3):
            known = self._records.get(machine)
            if known is None or not possible(known.state, step):
                return
            moved = after(known, step, self._clock.wall_ms(), reason, **facts)
            try:
                await self._records.write(moved)
            except Conflict:
                continue
            await self._voice.tell(moved)
            self._changed()
            return

    async def _end_worker(self, machine: MachineId) -> None:
        if worker := self._workers.get(machine):
            await ended(worker)
            self._dismiss(machine, worker)

    def _dismiss(self, machine: MachineId, worker: asyncio.Task[None]) -> None:
        """Forget a worker that has ended; its successor stays."""
        if self._workers.get(machine) is worker:
            del self._workers[machine]

    async def _live(self, machine_id: MachineId) -> None:
        work = {
            MachineState.REQUESTED: self._begin,
            MachineState.CREATING: self._create,
            MachineState.SETTING_UP: self._set_up,
            MachineState.DESTROYING: self._destroy,
        }
        retry_s = self._first_retry_s
        while (machine := self._records.get(machine_id)) and machine.state in work and self._in_office():
            try:
                await work[machine.state](machine)
            except (BusFailed, Conflict) as error:
                log.warning("machine waits", machine=machine_id, reason=error.message)
                await self._sleep(retry_s)
            except ProviderFailed as error:  # only from destroying: until it is confirmed
                log.warning(
                    "machine not destroyed yet", machine=machine_id, reason=error.message, trouble=error.trouble
                )
                await self._note_removal(machine_id, error)
                await self._sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)
        self._changed()

    async def _begin(self, machine: Machine) -> None:
        await self.step(machine.id, Step.BEGIN, machine.reason, called_at_ms=self._clock.wall_ms())

    async def _create(self, machine: Machine) -> None:
        try:
            async with limited(self._patience.create_s, "creating"):
                found = await self._provider.create(self._ordering.order(machine))
        except ProviderFailed as error:
            await self._fail(machine, error)
        else:
            await self.step(
                machine.id, Step.CREATED, "the provider has it", created_at_ms=self._clock.wall_ms(), **facts_of(found)
            )

    async def _set_up(self, machine: Machine) -> None:
        if machine.silent:
            return await self._wait_for_answer(machine)
        order = self._ordering.order(machine)
        known = Found(name=machine.id, ref=machine.ref, address=machine.hostname, port=machine.port)
        try:
            if not await self._answers(machine):
                async with limited(self._patience.set_up_s, "setting it up"):
                    found = await self._provider.set_up(order, known)
                machine = await self._note(machine, **facts_of(found))
            async with limited(self._patience.online_s, "waiting for its node"):
                info = await self._online(machine)
            node = await self._cluster.register(machine, self._ordering.token(machine))
        except ProviderFailed as error:
            return await self._fail(machine, error)
        except Refused as error:
            return await self._fail(machine, ProviderFailed(error.message, Trouble.REFUSED))
        return await self.step(
            machine.id,
            Step.READY,
            "its node answers",
            node=node,
            online_at_ms=self._clock.wall_ms(),
            **self._ordering.learned(machine, info),
        )

    async def _wait_for_answer(self, machine: Machine) -> None:
        """Ask the node of a machine that nobody knows; only one that does not answer as long as a boot may take is destroyed."""
        heard = await self._asking.heard(machine, self._patience.set_up_s)
        if heard is not None:
            await self._records.write(msgspec.structs.replace(heard, silent=False))
            return
        reason = f"nobody knows it, and its node has not answered for {self._patience.set_up_s} s"
        await self._voice.leaked(msgspec.structs.replace(machine, reason=reason))
        await self.step(machine.id, Step.STOP, reason)

    async def _answers(self, machine: Machine) -> bool:
        """Whether its node is there already: a machine that was taken into use may need no set-up."""
        if not (machine.hostname and machine.seen_at_ms):
            return False
        return await self._asking.info(machine) is not None

    async def _online(self, machine: Machine) -> NodeInfo:
        if not machine.hostname:
            raise ProviderFailed("the machine has no address")
        while True:
            if info := await self._asking.info(machine):
                return info
            await self._sleep(PROBE_EVERY_S)

    async def _note(self, machine: Machine, **facts: Any) -> Machine:
        """Write what was learned without a step."""
        noted = msgspec.structs.replace(machine, **facts)
        if noted != machine:
            await self._records.write(noted)
        return noted

    async def _fail(self, machine: Machine, error: ProviderFailed) -> None:
        log.warning("machine failed", machine=machine.id, reason=error.message, trouble=str(error.trouble))
        if await self._asking.has_tasks(machine):
            log.warning("machine stays", machine=machine.id, because="its node is at work")
            return await self._sleep(AT_WORK_PAUSE_S)
        return await self.step(
            machine.id,
            Step.STOP,
            "it did not come up",
            failure=error.message,
            trouble=str(error.trouble),
            may_be_left=error.leaves,
            failed_at_ms=self._clock.wall_ms(),
            **left_by(machine, error, self._clock.wall_ms()),
        )

    async def _destroy(self, machine: Machine) -> None:
        """Destroy what may exist. What was seen of it once counts, and costs, until the provider confirms that it is gone."""
        await self._take_away(machine)
        was_there = False
        if may_exist(machine):
            machine = await self._seen(machine)
            async with limited(self._patience.destroy_s, "destroying"):
                was_there = await self._provider.destroy(machine.id, self._ref(machine))
        await self.step(
            machine.id,
            Step.CONFIRM,
            machine.reason,
            tasks=(),
            never_was=came_to_nothing(machine) and not was_there,
            removal_failure="",
            removal_trouble="",
        )

    async def _seen(self, machine: Machine) -> Machine:
        """Note that it exists where nobody has said so yet, before it is destroyed: from then on it has cost."""
        if not came_to_nothing(machine):
            return machine
        try:
            found = await self._provider.inspect(machine.id, self._ref(machine))
        except ProviderFailed:
            return machine  # destroying it comes first
        return await self._note(machine, seen_at_ms=self._clock.wall_ms()) if found else machine

    def _ref(self, machine: Machine) -> str:
        """Give the provider's id of a machine; that of another provider means nothing to this one."""
        return machine.ref if machine.provider == self._provider_name else ""

    async def _note_removal(self, machine: MachineId, error: ProviderFailed) -> None:
        """Keep what a try to destroy has failed with, apart from what the creation has failed with."""
        known = self._records.get(machine)
        if known is None or known.state is not MachineState.DESTROYING:
            return
        seen = left_by(known, error, self._clock.wall_ms()) if came_to_nothing(known) else {}
        with contextlib.suppress(BusFailed, Conflict):  # the next try tells it
            await self._note(known, removal_failure=error.message, removal_trouble=str(error.trouble), **seen)

    async def _take_away(self, machine: Machine) -> None:
        """Take the node off the list first, so that nothing is sent to a machine that goes."""
        deadline_s = monotonic_s() + SCHEDULER_WAIT_S
        while True:
            try:
                return await self._cluster.take_away(machine, machine.reason)
            except BusFailed as error:
                if monotonic_s() > deadline_s:
                    log.warning("node not taken away", machine=machine.id, reason=error.message)
                    return None
                await self._sleep(self._first_retry_s)
            except ClusterError as error:
                log.warning("node not taken away", machine=machine.id, reason=error.message)
                return None


@contextlib.asynccontextmanager
async def limited(seconds: float, what: str) -> AsyncIterator[None]:
    """Give something a time limit; what exceeds it has an unknown outcome."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ProviderFailed(f"{what} took longer than {seconds:g} s", Trouble.UNKNOWN_OUTCOME) from None
