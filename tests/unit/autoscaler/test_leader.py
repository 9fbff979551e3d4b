"""An autoscaler whose term is over does nothing any more, whatever it was about to do."""

import asyncio

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.model.machines import Machine, MachineState
from tests.autoscaler_world import World


async def some_time() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def a_machine(world: World) -> Machine:
    """A machine that is written down, and not asked for yet."""
    await world.scheduler.submit("t")
    world.cloud.hang("create")
    await world.turn()
    return world.machines()[0]


async def test_nothing_is_decided_without_leading():
    async with World() as world:
        await world.scheduler.submit("t")
        world.is_leader = False
        with pytest.raises(BusFailed, match="not the leader"):
            await world.planner.tick()
        assert world.machines() == []


async def test_no_step_of_a_machine_is_begun_without_leading():
    async with World() as world:
        machine = await a_machine(world)
        assert machine.state is MachineState.CREATING
        world.is_leader = False
        await world.controller.stop(machine.id, "by hand")
        await some_time()
        assert world.machines()[0].state is MachineState.DESTROYING
        assert [call for call, _ in world.cloud.calls] == ["list", "create"]


async def test_leading_again_it_goes_on():
    async with World() as world:
        machine = await a_machine(world)
        world.is_leader = False
        await world.controller.stop(machine.id, "by hand")
        await some_time()
        world.is_leader = True
        world.controller.ensure_worker(machine.id)
        await some_time()
        assert world.machines()[0].state is MachineState.GONE
