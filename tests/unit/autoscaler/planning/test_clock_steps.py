"""The wall clock steps while machines are rented: none is destroyed for it, none is rented for it, none is kept for it."""

import pytest

from clusterodm.libs.common.errors import Trouble
from tests.autoscaler_world import SIZES, World

MOST_TRIES = 8
"""Of one size in five minutes: at once, and after 10, 20, 40, 80 and 160 s."""
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


@pytest.mark.parametrize("trouble", [Trouble.RETRYABLE, Trouble.OUT_OF_CAPACITY, Trouble.UNAUTHORISED])
@pytest.mark.parametrize("failures_before_count", [0, 1])
async def test_what_fails_after_the_clock_went_back_rests_between_tries(trouble: Trouble, failures_before_count: int):
    async with World() as world:
        await world.scheduler.submit("made")
        await world.settle()
        for _ in range(failures_before_count):
            world.cloud.fail("create", trouble)
        await world.scheduler.submit("waits")
        await world.turn(failures_before_count)
        world.clock.step_wall_s(-7200)
        for _ in range(100):
            world.cloud.fail("create", trouble)
        before_count = asked_count(world)
        await world.turn(60)
        sizes_count = len(SIZES) if trouble is Trouble.OUT_OF_CAPACITY else 1
        assert 0 < asked_count(world) - before_count <= MOST_TRIES * sizes_count


def asked_count(world: World) -> int:
    return sum(call == "create" for call, _ in world.cloud.calls)
