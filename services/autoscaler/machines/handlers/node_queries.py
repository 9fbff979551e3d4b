"""Asks the nodes on machines themselves, wherever the records alone may not say that a machine can go.

After a lost store a machine is nobody's, and yet its node may be at work: for tasks that their upload owners tell of again a moment later, or
for somebody else. Only the node knows. So

    a machine without a record            is asked for as long as a machine may take to boot (`first_answer`)
    a machine that is spare, or drained   is asked right before it goes (`confirm`)
    a machine whose set-up has failed     is asked whether it works all the same (`has_tasks`)
    a machine that the list leaves out    is asked before it counts as lost (`has_tasks`)

and while a node has tasks that have not ended, its machine stays. What is not asked: an operator's word, the provider's that it takes
a machine away, and the longest time that a machine may run.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, ProviderFailed
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import NodeInfo
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.cluster.handlers import SchedulerClient
from clusterodm.services.autoscaler.machines.core import MachineDecision, NodeCheck, facts_of
from clusterodm.services.autoscaler.machines.handlers.order_factory import OrderFactory
from clusterodm.services.autoscaler.orders import ProviderMachine
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry
from clusterodm.services.autoscaler.providers.ports import Sleep
from clusterodm.services.autoscaler.records import MachineStore

log = structlog.get_logger()

CHECK_EVERY_S: Final = 10.0
"""Where an answer is not expected, but possible."""


class NodeProbe(Protocol):
    """Asks the node on a machine whether it is there."""

    async def info(self, machine: Machine, token: str) -> NodeInfo | None:
        """Ask how it is; None while it does not answer to this token."""


class NodeQueries:
    """The nodes' own words."""

    def __init__(  # noqa: PLR0913, PLR0917 whom it asks, and by which clock
        self,
        probe: NodeProbe,
        providers: ProviderRegistry,
        orders: OrderFactory,
        store: MachineStore,
        scheduler: SchedulerClient,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self._probe = probe
        self._providers = providers
        self._orders = orders
        self._store = store
        self._scheduler = scheduler
        self._clock = clock
        self._sleep = sleep
        self._kept: set[MachineId] = set()

    async def locate(self, machine: Machine) -> Machine:
        """Look where a machine is reached: not every list says so, and one that has just come may have had no address yet."""
        if machine.hostname:
            return machine
        try:
            found: ProviderMachine | None = await self._providers.of(machine.provider).inspect(machine.id, machine.ref)
        except ProviderFailed:
            return machine
        return msgspec.structs.replace(machine, **facts_of(found)) if found else machine

    async def info(self, machine: Machine) -> NodeInfo | None:
        """Ask a machine's node how it is; None while it does not answer to us."""
        if not machine.hostname:
            return None
        return await self._probe.info(machine, await self._token(machine))

    async def _token(self, machine: Machine) -> str:
        """Give the token of its node: the one that follows from its key, or, where that is lost, the registered one."""
        if self._orders.knows_key(machine):
            return self._orders.token(machine).reveal()
        try:
            return await self._scheduler.token_of(machine)
        except BusFailed:
            return ""

    async def has_tasks(self, machine: Machine) -> bool:
        """Whether its node answers that it has tasks which have not ended, ours or not."""
        info = await self.info(machine)
        return info is not None and info.task_queue_count > 0

    async def first_answer(self, machine: Machine, within_s: float) -> Machine | None:
        """Wait for the first answer of a node; the machine as the provider shows it now. None: there was none in this time."""
        deadline = self._clock.instant() + within_s
        while (left_s := deadline - self._clock.instant()) > 0:
            machine = await self.locate(machine)
            if await self.info(machine) is not None:
                return machine
            await self._sleep(min(CHECK_EVERY_S, left_s))
        return None

    async def confirm(self, decisions: Sequence[MachineDecision]) -> list[MachineDecision]:
        """Leave out whose node has something to do."""
        may_go = await asyncio.gather(*(self._may_go(decision) for decision in decisions))
        self._kept &= {decision.machine for decision in decisions}
        return [decision for decision, goes in zip(decisions, may_go, strict=True) if goes]

    async def _may_go(self, decision: MachineDecision) -> bool:
        machine = self._store.get(decision.machine)
        if decision.check is NodeCheck.NOTHING or machine is None:
            return True
        info = await self.info(machine)
        if info is None:
            return decision.check is NodeCheck.TASKS
        if info.task_queue_count and machine.id not in self._kept:
            self._kept.add(machine.id)
            log.info("machine.kept", machine=machine.id, because=decision.reason, tasks_count=info.task_queue_count)
        return not info.task_queue_count
