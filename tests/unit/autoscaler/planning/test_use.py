"""Machines that are used again, in a small world: what is learned stays, what is paid is used, and no clock rents one."""

import pytest

from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.planning.handlers.run_times import KEY, RUN_TIMES
from tests.autoscaler_world import World

HOURLY = (Size(slug="small", max_images=50, price_per_hour=1.0, billed_unit_s=3600),)


async def test_tasks_wait_for_the_machines_that_get_free_instead_of_renting_one_each():
    async with World(tasks_per_machine_count=0, target_wait_s=3600) as world:
        for number in range(12):
            await world.scheduler.submit(f"t{number}")
        await world.settle(200)
        assert len(world.cloud.created) < 4


async def test_without_a_target_each_task_that_comes_at_once_rents_one():
    async with World() as world:
        for number in range(6):
            await world.scheduler.submit(f"t{number}")
        await world.settle(200)
        assert len(world.cloud.created) == 6


async def test_what_was_learned_is_kept_and_read_by_who_leads_next():
    async with World(tasks_per_machine_count=0) as world:
        await world.scheduler.submit("t")
        while not world.scheduler.tasks["t"].state.ended:  # type: ignore[index]
            await world.turn()
        await world.turn(15)
        kept = await (await world.bus.bucket(RUN_TIMES)).get(KEY)
        assert kept is not None
        assert list(kept.value.sizes) == ["small"]


@pytest.mark.parametrize("step_s", [pytest.param(-7200.0, id="back"), pytest.param(7200.0, id="forward")])
async def test_a_step_of_the_wall_clock_rents_no_machine_for_a_task_that_waits(step_s: float):
    async with World(tasks_per_machine_count=0, target_wait_s=600) as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("first")
        await world.turn(10)
        await world.scheduler.submit("second")
        await world.turn()
        world.clock.step_wall_s(step_s)
        await world.turn(3)
        assert len(world.cloud.created) == 1


async def test_a_paid_hour_serves_the_next_task_and_ends_before_the_next_hour_begins():
    async with World(sizes=HOURLY, tasks_per_machine_count=0) as world:
        await world.scheduler.submit("first")
        await world.turn(300)
        assert len(world.cloud.machines) == 1, "half of its hour is left"
        await world.scheduler.submit("second")
        began = world.clock.instant()
        while world.cloud.machines:
            await world.turn()
            assert world.clock.instant() - began < 3600
        await world.settle()
        (machine,) = world.machines()
        assert (len(world.cloud.created), machine.state) == (1, "gone")
        assert (machine.ended_at_ms or 0) - (machine.called_at_ms or 0) < 3_600_000
