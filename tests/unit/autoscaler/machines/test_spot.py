"""A spot machine that is taken away: its task runs again on one that stays, whoever is killed when."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import MachineId, Owner, TaskId
from clusterodm.services.autoscaler.orders import Size
from tests.autoscaler_world import World

SPOT = Size(slug="m", max_images=50, price_per_hour=0.3, spot=True, interruptions_limit_count=1)
STAYS = Size(slug="m", max_images=50, price_per_hour=1.0)
TASK = TaskId("t")


def world(**limits: Any) -> World:
    found = World(**{"sizes": (SPOT, STAYS), **limits})
    found.scheduler.task_turns = 12
    return found


async def runs(world: World) -> Machine:
    """Go on until the task runs; its machine."""
    await world.scheduler.submit(TASK)
    return await runs_on(world)


async def runs_on(world: World) -> Machine:
    """Go on until the task that is there runs; its machine."""
    while world.scheduler.tasks[TASK].state is not TaskState.RUNNING:
        await world.turn()
    (machine,) = [each for each in world.machines() if not each.state.ended]
    return machine


async def taken_away(world: World, machine: Machine, how: str) -> None:
    cloud = world.cloud
    if how == "a notice":
        cloud.leaving[machine.id] = "spot interruption"
    elif how == "stopped":
        cloud.machines[machine.id] = replace(cloud.machines[machine.id], running=False)
        world.strangers.add(machine.id)
    else:
        cloud.lose(machine.id)
    world.clock.pass_s(61)
    await world.reconciler.check()


@pytest.mark.parametrize("how", ["a notice", "stopped", "gone"])
async def test_its_task_runs_again_on_a_machine_that_stays(how: str):
    async with world() as played:
        first = await runs(played)
        assert first.spot
        await taken_away(played, first, how)
        await played.settle()
        task = played.scheduler.tasks[TASK]
        assert (task.state, [each.interrupted for each in task.attempts]) == (TaskState.COMPLETED, [True, False])
        second = played.autoscaler.store.get(MachineId(str(task.attempts[-1].machine)))
        assert second is not None
        assert not second.spot
        assert "on demand, since its machine was taken away" in second.timeline[0].text
        assert played.cloud.machines == {}


async def test_a_machine_that_stays_and_is_stopped_is_not_given_up_for_that():
    async with world(sizes=(STAYS,)) as played:
        machine = await runs(played)
        await taken_away(played, machine, "stopped")
        assert played.scheduler.tasks[TASK].state is TaskState.RUNNING


async def test_what_an_operator_destroys_is_no_interruption():
    async with world() as played:
        machine = await runs(played)
        await played.controller.stop(machine.id, "an operator said so")
        await played.settle()
        task = played.scheduler.tasks[TASK]
        assert [each.interrupted for each in task.attempts] == [False, False]


@settings(max_examples=15)
@given(kill_at=st.integers(0, 70), how=st.sampled_from(["a notice", "gone"]))
async def test_killed_anywhere_the_task_is_run_once_more_and_nothing_is_left(kill_at: int, how: str):
    async with world() as played:
        first = await runs(played)
        if how == "a notice":
            played.cloud.leaving[first.id] = "spot interruption"
        else:
            played.cloud.lose(first.id)
        played.clock.pass_s(61)
        played.kill_at = len(played.passages) + kill_at
        await played.settle()
        task = played.scheduler.tasks[TASK]
        assert (task.state, [each.interrupted for each in task.attempts]) == (TaskState.COMPLETED, [True, False])
        assert played.cloud.machines == {}
        assert len(played.cloud.created) == 2


async def test_a_snapshot_of_before_the_interruption_rents_no_spot_machine_again():
    async with world() as played:
        await played.scheduler.submit(TASK)
        before = played.scheduler.demand()
        first = await runs_on(played)
        played.cloud.leaving[first.id] = "spot interruption"
        await played.reconciler.check()
        while played.scheduler.tasks[TASK].state is not TaskState.WAITING:
            await played.turn()
        await played.planner.take_demand(before)
        await played.planner.tick()
        assert [each.spot for each in played.machines()] == [True, False]
        await played.settle()


async def test_a_machine_counts_against_the_owner_of_the_task_that_it_was_rented_for():
    async with world() as played:
        await played.scheduler.submit(TASK, owner=Owner("survey"))
        while not played.machines():
            await played.turn()
        (machine,) = played.machines()
        assert machine.owner == "survey"
        await played.settle()
        status = await played.commands.status(None)  # type: ignore[arg-type]
        (own,) = status.budgets
        assert (own.owner, own.cost_last_day > 0) == ("survey", True)


async def test_a_task_that_asks_for_a_graphics_card_runs_where_there_is_one():
    sizes = (STAYS, Size(slug="g", max_images=50, price_per_hour=4.0, gpu=True))
    async with world(sizes=sizes) as played:
        await played.scheduler.submit(TASK, gpu=True)
        await played.scheduler.submit("plain")
        while any(task.state is TaskState.WAITING for task in played.scheduler.tasks.values()):
            await played.turn()
        on = {
            task.id: played.autoscaler.store.get(task.attempts[-1].machine) for task in played.scheduler.tasks.values()
        }
        assert {task: machine.size for task, machine in on.items() if machine} == {"t": "g", "plain": "m"}
        await played.settle()
        assert all(machine.state is MachineState.GONE for machine in played.machines())
