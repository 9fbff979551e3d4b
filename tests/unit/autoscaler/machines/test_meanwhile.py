"""What happens while something is awaited is seen before the next step: nothing is taken back, and no task is lost for an old answer."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.errors import Conflict
from clusterodm.libs.common.messages.machines import DestroyMachine
from clusterodm.libs.common.model.machines import MachineState
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.orders import ProviderMachine
from tests.autoscaler_world import World

TURNS = 20
"""Of the event loop: more than any step here takes that waits for nobody."""


class SlowCloud(Cloud):
    """Knows a machine's address late."""

    def __init__(self) -> None:
        super().__init__(ProviderMachine)
        self.known = asyncio.Event()

    async def set_up(self, order: Any, found: Any) -> Any:
        del found
        await self.known.wait()
        return replace(self.machines[order.name], address="127.0.9.9")


class WorldOfPlans(World):
    """Has a plan see to all machines while the next record is being written."""

    plans = False

    async def passing(self, name: str) -> None:
        await super().passing(name)
        if self.plans and name == "update":
            self.plans = False
            for machine in self.machines():
                self.controller.ensure_worker(machine.id)
            for _ in range(TURNS):
                await asyncio.sleep(0)


async def test_a_machine_that_is_to_go_goes_though_a_plan_has_had_its_work_begun_once_more():
    cloud = SlowCloud()
    async with WorldOfPlans(cloud=cloud) as world:
        await world.scheduler.submit("t")
        await world.turn(2)
        await world.scheduler.cancel_all()
        (machine,) = world.machines()
        world.plans = True
        await world.commands.destroy(DestroyMachine(machine=machine.id))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert world.cloud.destroyed == [machine.id], "at once: nobody waits for its address any more"
        cloud.known.set()
        await world.turn()
        assert world.machines()[0].state is MachineState.GONE


async def test_what_was_decided_of_a_machine_as_it_was_is_not_written_over_what_it_is():
    async with World() as world:
        before = await world.hung_in("set_up")
        await world.autoscaler.machines.controller.stop(before.id, "an operator's word")
        (now,) = world.machines()
        assert now.state is not before.state
        with pytest.raises(Conflict):
            await world.autoscaler.store.write(before, msgspec.structs.replace(before, hostname="127.0.9.9"))
        assert world.machines() == [now]


class WorldOfPlacements(World):
    """Has the scheduler place what waits while the answer of a node is on its way."""

    async def answering(self) -> None:
        if any(task.state is TaskState.WAITING for task in self.scheduler.tasks.values()):
            await self.scheduler.turn()
            for _ in range(TURNS):
                await asyncio.sleep(0)


async def test_a_machine_that_gets_a_task_while_its_node_is_asked_whether_it_can_go_stays():
    async with WorldOfPlacements(tasks_per_machine_count=0, idle_timeout_s=60) as world:
        await world.scheduler.submit("first")
        while not all(task.state.ended for task in world.scheduler.tasks.values()):
            await world.turn()
        await world.turn()
        world.clock.pass_s(120)
        await world.scheduler.submit("second")
        await world.planner.tick()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert world.scheduler.tasks[TaskId("second")].state is TaskState.RUNNING
        await world.settle()
        assert (len(world.cloud.created), world.scheduler.lost_count) == (1, 0)
