"""The wall clock steps while machines are rented: none is destroyed for it, none is rented for it, none is kept for it."""

import pytest

from tests.autoscaler_world import World

STEPS = [pytest.param(-7200.0, id="back"), pytest.param(7200.0, id="forward")]


@pytest.mark.parametrize("step_s", STEPS)
async def test_a_machine_with_a_task_stays_and_no_other_is_rented_when_the_wall_clock_steps(step_s: float):
    async with World(max_runtime_s=3600, max_upload_s=600, idle_timeout_s=120) as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        assert world.scheduler.tasks["t"].state == "running"  # type: ignore[index]
        world.clock.step_wall_s(step_s)
        await world.turn(3)
        assert (len(world.cloud.created), world.cloud.destroyed) == (1, [])
        await world.settle()
        assert (len(world.cloud.created), world.scheduler.lost_count) == (1, 0)


@pytest.mark.parametrize("step_s", STEPS)
async def test_an_idle_machine_goes_when_its_time_has_passed_and_not_when_a_clock_says_so(step_s: float):
    async with World(idle_timeout_s=300, tasks_per_machine_count=5) as world:
        await world.scheduler.submit("t")
        while not all(task.state.ended for task in world.scheduler.tasks.values()):
            await world.turn()
        await world.turn(2)
        ended = world.clock.instant()
        world.clock.step_wall_s(step_s)
        while world.cloud.machines:
            await world.turn()
        assert 250 <= world.clock.instant() - ended <= 330


@pytest.mark.parametrize("step_s", STEPS)
async def test_a_task_that_was_placed_after_the_clock_went_back_keeps_its_machine(step_s: float):
    async with World(tasks_per_machine_count=2, idle_timeout_s=600) as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("first")
        await world.turn(20)
        world.clock.step_wall_s(step_s)
        await world.scheduler.submit("second")
        await world.settle(120)
        assert len(world.cloud.created) == 1
        assert world.scheduler.lost_count == 0
