"""The loop: look at everything, plan, do what the plan says. Woken by changes, and every few seconds without any.

Only this loop and the workers of machines write records, in one process at a time (the leader); compare-and-set
holds where two overlap for a moment.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock, Now, read
from clusterodm.libs.common.errors import BusFailed, Conflict
from clusterodm.libs.common.messages.demand import (
    SUPPLY_CHANGED,
    DemandChanged,
    MachineOutlook,
    SupplyChanged,
    WaitingTask,
    supersedes,
)
from clusterodm.libs.common.messages.machines import ImaginedTasks, TaskWaits
from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, NodeId, TaskId
from clusterodm.libs.common.ports import Bus, Term
from clusterodm.libs.common.process.loops import background, beat, missed
from clusterodm.libs.common.process.moments import wait_for_event
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.cluster.handlers import SchedulerClient, TaskMirror
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.machine_life.life import MachineStep
from clusterodm.services.autoscaler.machines.api import MachineHandlers
from clusterodm.services.autoscaler.machines.core import NodeCheck
from clusterodm.services.autoscaler.orders import Creation
from clusterodm.services.autoscaler.planning.core.consolidation import IdleCounts
from clusterodm.services.autoscaler.planning.core.observation import WATCHED, Ages, PlanInput, observed
from clusterodm.services.autoscaler.planning.core.openings import outlook_of
from clusterodm.services.autoscaler.planning.core.plan import ScalingPlan, plan
from clusterodm.services.autoscaler.planning.core.preview import waiting_of
from clusterodm.services.autoscaler.planning.core.supply import clipped
from clusterodm.services.autoscaler.planning.handlers.run_times import RunTimeStore
from clusterodm.services.autoscaler.records import MachineStore, Transitions

log = structlog.get_logger()

PUBLISH_AGAIN_S: Final = SupplyChanged.BELIEVED_S / 4
FIRST_COMPARISON_S: Final = 30.0
"""How long the first plan waits for the first comparison, lest it rents what is there already; a provider may be away for longer."""
PLAN_LATE_S: Final = 300.0
"""A plan that takes so long hangs."""
SETTLE_S: Final = 0.2
"""Changes come in groups: after one the loop waits so long for the others."""


class Planner:
    """All machines, and what is to become of them."""

    def __init__(  # noqa: PLR0913 what it looks at, and what it acts on
        self,
        *,
        limits: ScalingLimits,
        bus: Bus,
        clock: Clock,
        store: MachineStore,
        transitions: Transitions,
        scheduler: SchedulerClient,
        tasks: TaskMirror,
        identity: ClusterIdentity,
        machines: MachineHandlers,
        changed: asyncio.Event,
        compared: asyncio.Event,
        term: Term,
        run_times: RunTimeStore,
    ) -> None:
        """Take what is looked at; `changed` is set when there may be something to decide, `compared` when what is there is known."""
        self._limits = limits
        self._bus = bus
        self._clock = clock
        self._store = store
        self._transitions = transitions
        self._scheduler = scheduler
        self._tasks = tasks
        self._identity = identity
        self._orders = machines.orders
        self._node_queries = machines.node_queries
        self._controller = machines.controller
        self._changed = changed
        self._compared = compared
        self._term = term
        self._run_times = run_times
        self._idle = IdleCounts(limits.idle_timeout_s)
        self._published: SupplyChanged | None = None
        self._published_at = clock.instant()
        self._ages = Ages()
        self._logged: dict[TaskId, str] = {}
        self.demand: DemandChanged | None = None
        self.last = ScalingPlan()

    async def take_demand(self, demand: DemandChanged) -> None:
        """Keep a snapshot of demand, unless it is of an earlier term than the last."""
        if self.demand is None or supersedes(demand.epoch, self.demand.epoch):
            self.demand = demand
            self._changed.set()

    def at_work(self, every_s: float) -> AbstractAsyncContextManager[None]:
        """Plan while the context is open."""
        return background(lambda: self.run(every_s), "plan machines", late_after_s=PLAN_LATE_S)

    async def run(self, every_s: float) -> None:
        """Look, plan and do, for ever."""
        await self._tasks.complete.wait()
        await wait_for_event(self._compared, FIRST_COMPARISON_S)
        while True:
            try:
                await self.tick()
                beat()
            except (BusFailed, Conflict) as error:
                log.warning("fleet.deferred", reason=error.message)
                missed(error)
            self._changed.clear()
            try:
                async with asyncio.timeout(every_s):
                    await self._changed.wait()
                    await asyncio.sleep(SETTLE_S)
            except TimeoutError:
                continue

    async def tick(self) -> ScalingPlan:
        """Do it once. Raises BusFailed when something cannot be seen: then nothing is decided."""
        if not self._term.valid:
            raise BusFailed("not the leader")
        loads, nodes = await self._loads()
        for name, load in loads.items():
            if machine := self._store.get(name):
                await self._observe(machine, load, nodes)
        await self._run_times.learn(self._tasks.completed(), self._size_of)
        seen = self.seen(loads)
        self.last = plan(self._limits, seen)
        self._idle.note(self.last.spare, self._clock.instant())
        await self._do(self.last)
        await self._publish(self.last, outlook_of(seen))
        return self.last

    async def preview(self, demand: Sequence[ImaginedTasks] | None) -> ScalingPlan:
        """Say what would be done now; nothing is. Raises BusFailed when something cannot be seen."""
        loads, _ = await self._loads()
        seen = self.seen(loads)
        return plan(self._limits, seen if demand is None else replace(seen, waiting=waiting_of(demand, seen.now_ms)))

    async def _loads(self) -> tuple[dict[MachineId, Load], Mapping[NodeId, NodeView]]:
        registered = [machine.id for machine in self._store.alive() if machine.node]
        nodes = await self._scheduler.nodes()  # whatever is registered meanwhile is not in it, and not judged by it
        found = [machine for name in registered if (machine := self._store.get(name)) and machine.node]
        now = read(self._clock)
        return {machine.id: self._load(machine, nodes, now) for machine in found}, nodes

    def seen(self, loads: dict[MachineId, Load]) -> PlanInput:
        """Put together what a plan depends on at this moment."""
        now, alive = read(self._clock), self._store.alive()
        self._ages.keep((machine.id for machine in alive), self._tasks.workloads)
        waiting = self._tasks.waiting(self.demand)
        return PlanInput(
            now_ms=now.wall_ms,
            machines=[self._ages.restated(machine, now) for machine in alive],
            history=self._store.history,
            waiting=[self._restated(task, now) for task in waiting] if self._limits.target_wait_s else waiting,
            slot_free=self._tasks.still_waiting(self.demand.slot_free if self.demand else ()),
            loads=loads,
            paused=self._identity.paused,
            workloads=self._tasks.workloads,
            run_times=self._run_times.times,
            never_needed=self._idle.never_needed(now.instant),
        )

    def _restated(self, task: WaitingTask, now: Now) -> WaitingTask:
        since_ms = self._ages.task_time_ms(task.task, task.waiting_since_ms, now)
        return msgspec.structs.replace(task, waiting_since_ms=since_ms)

    def _size_of(self, machine: MachineId) -> str:
        known = self._store.get(machine)
        return known.size if known else ""

    def _load(self, machine: Machine, nodes: Mapping[NodeId, NodeView], now: Now) -> Load:
        assert machine.node is not None  # noqa: S101 the caller has looked
        seen = nodes.get(machine.node)
        load = self._tasks.load(
            machine.node,
            machine.id,
            online=bool(seen and seen.online),
            locked=bool(seen and (seen.locked or seen.draining)),
        )
        since_ms = self._ages.time_ms(machine.id, "uploading_since_ms", load.uploading_since_ms, now)
        running_ms = {task: self._ages.task_time_ms(task, at_ms, now) for task, at_ms in load.running_since_ms.items()}
        labels = seen.labels if seen else None
        return replace(load, uploading_since_ms=since_ms, running_since_ms=running_ms, labels=labels)

    async def _observe(self, machine: Machine, load: Load, nodes: Mapping[NodeId, NodeView]) -> None:
        """Bring a machine's record up to date with its node."""
        if machine.state not in WATCHED:
            return
        seen = observed(machine, load, self._clock.wall_ms())
        if seen != machine:
            await self._transitions.observe(machine, seen)
        node = nodes.get(machine.node) if machine.node else None
        if node is None:
            await self._transitions.step(machine.id, MachineStep.DRAIN, "its node was taken off the list")
        elif seen.state is MachineState.DRAINING and not (node.locked and node.lock_reason):
            await self._scheduler.lock(node.id, seen.reason)

    async def _do(self, decided: ScalingPlan) -> None:
        for decision in await self._node_queries.confirm(decided.destroy):  # nodes may have taken seconds to answer
            if decision.check is NodeCheck.NOTHING or not self._has_got_task(decision.machine):
                await self._controller.stop(decision.machine, decision.reason)
        for decision in decided.drain:
            await self._transitions.step(decision.machine, MachineStep.DRAIN, decision.reason)
            if (machine := self._store.get(decision.machine)) and machine.node:
                await self._scheduler.lock(machine.node, decision.reason)
        for place, creation in enumerate(decided.create):
            machine = self._requested(creation, place)
            await self._transitions.add(machine)
        for machine in self._store.alive():
            self._controller.ensure_worker(machine.id)

    def _has_got_task(self, name: MachineId) -> bool:
        """Whether a task was placed on a machine since the plan was made."""
        machine = self._store.get(name)
        if machine is None or machine.node is None:
            return False
        load = self._tasks.load(machine.node, machine.id, online=True, locked=False)
        return not {*load.tasks} <= {*machine.tasks}

    def _requested(self, creation: Creation, place: int) -> Machine:
        """Make a record under a name that no machine has, one of an earlier store that was taken into use included."""
        occasion, tries_count = self._occasion(creation, place), 0
        while True:
            again = f" again {tries_count}" if tries_count else ""
            machine = self._orders.machine(creation, self._clock.wall_ms(), f"{occasion}{again}")
            if self._store.get(machine.id) is None:
                return machine
            tries_count += 1

    def _occasion(self, creation: Creation, place: int) -> str:
        """Say what a machine is for: its task and which try, or which machine of the warm pool."""
        what = creation.for_task or f"pool {place}"
        return f"{what} after {self._store.latest_request_ms(creation.for_task)}"

    async def _publish(self, decided: ScalingPlan, outlook: tuple[MachineOutlook, ...]) -> None:
        """Say what is done about the demand, when that has changed."""
        self._log_waits(decided.waits)
        supply = SupplyChanged(
            at_ms=self._clock.wall_ms(),
            epoch=self._term.epoch,
            coming_count=sum(machine.state.coming and not machine.silent for machine in self._store.alive()),
            waits=clipped(decided.waits),
            comes=decided.comes,
            meant=decided.meant,
            outlook=outlook,
        )
        if has_changed(self._published, supply, self._clock.instant() - self._published_at):
            await self._bus.publish_snapshot(SUPPLY_CHANGED, supply)
            self._published, self._published_at = supply, self._clock.instant()

    def _log_waits(self, waits: tuple[TaskWaits, ...]) -> None:
        reasons = {wait.task: wait.reason for wait in waits}
        for task, reason in reasons.items():
            if self._logged.get(task) != reason:
                log.info("task.no_machine_found", task=task, reason=reason)
        self._logged = reasons


def has_changed(published: SupplyChanged | None, now: SupplyChanged, silent_s: float) -> bool:
    """Whether something is different, or the last word grows old. That a machine is later than was thought is no news by itself."""
    if published is None or silent_s >= PUBLISH_AGAIN_S:
        return True
    return msgspec.structs.replace(now, at_ms=published.at_ms, outlook=published.outlook) != published
