"""Two providers in one file: each machine is compared, taken in and destroyed by its own, whoever is killed when."""

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.machines import MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.config.core.configuration import (
    CloudSettings,
    Configuration,
    ProviderLimits,
    ScalingLimits,
)
from clusterodm.services.autoscaler.orders import Order, ProviderMachine, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor
from tests.autoscaler_world import World

SIZES = (
    Size(slug="s", max_images=50, price_per_hour=1.0, provider="first"),
    Size(slug="m", max_images=60, price_per_hour=2.0, provider="second"),
)


class Both:
    """What exists at both."""

    def __init__(self) -> None:
        self.first, self.second = Cloud(ProviderMachine), Cloud(ProviderMachine)
        self.second._address = 100
        self.leaving = self.first.leaving

    @property
    def machines(self) -> dict[str, Any]:
        return {**self.first.machines, **self.second.machines}

    @property
    def created(self) -> list[str]:
        return [*self.first.created, *self.second.created]


def two_clouds(**changes: Any) -> tuple[World, Both]:
    both = Both()
    parts = {
        name: Configuration(provider="test", mode="api", limits=ScalingLimits(sizes=(), regions=regions))
        for name, regions in (("first", ("",)), ("second", ("",)))
    }
    limits = ScalingLimits(
        sizes=SIZES,
        providers=(ProviderLimits(name="first"), ProviderLimits(name="second")),
        create_retries=5,
        **changes,
    )
    configuration = Configuration(provider="first, second", mode="api", limits=limits, several=parts)
    world = World(cloud=both, configuration=configuration, providers={"first": both.first, "second": both.second})
    return world, both


async def test_what_the_first_does_not_have_comes_from_the_second_and_goes_there():
    world, both = two_clouds()
    async with world:
        both.first.fail("create", Trouble.OUT_OF_CAPACITY, "sold out")
        await world.scheduler.submit("t")
        await world.settle()
        (name,) = both.second.created
        machine = next(each for each in world.machines() if each.id == name)
        assert (machine.provider, machine.state) == ("second", MachineState.GONE)
        assert "s at first: sold out" in machine.timeline[0].text
        assert both.first.created == []
        assert name not in [called for call, called in both.first.calls if call == "destroy"]


@pytest.mark.parametrize("machines_count", [1, 3])
async def test_a_provider_out_of_reach_takes_no_place_and_the_next_is_tried(machines_count: int):
    world, both = two_clouds(machines_count=machines_count)

    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    away = DockerEngineVendor(CloudSettings(endpoint="http://e"), {}, transport=httpx.MockTransport(refused))
    async with BootedProvider(away) as first:
        world.several = {"first": first, "second": both.second}
        async with world:
            await world.scheduler.submit("t")
            await world.settle()
            (name,) = both.second.created
            failed = [machine for machine in world.machines() if machine.provider == "first"]
            assert {(machine.state, machine.trouble, machine.never_was) for machine in failed} == {
                (MachineState.FAILED, Trouble.RETRYABLE, True)
            }
            machine = next(each for each in world.machines() if each.id == name)
            assert "s at first: docker: GET /containers/json: no connection" in machine.timeline[0].text


async def test_only_the_first_call_of_a_creation_was_not_made_before():
    world, both = two_clouds()
    asked: list[bool] = []
    create = both.first.create

    async def noted(order: Order) -> Any:
        asked.append(order.asked_before)
        return await create(order)

    both.first.create = noted  # type: ignore[method-assign]
    async with world:
        both.first.hang("create")
        await world.scheduler.submit("t")
        await world.turn(2)
        await world.restart()
        await world.settle()
    assert asked == [False, True]
    assert len(both.created) == 1


async def test_a_provider_that_does_not_answer_hinders_no_comparison_with_the_other():
    world, both = two_clouds()
    async with world:
        world.scheduler.task_turns = 30
        both.first.fail("create", Trouble.OUT_OF_CAPACITY)
        await world.scheduler.submit("t")
        while world.scheduler.demand().waiting:
            await world.turn()
        (name,) = both.second.created
        both.second.lose(name)
        for _ in range(3):
            both.first.fail("list")
            world.clock.pass_s(120)
            await world.reconciler.check()
        assert world.autoscaler.store.get(MachineId(name)).state is not MachineState.BUSY  # type: ignore[union-attr]


async def test_a_machine_that_both_list_is_its_own_providers():
    world, both = two_clouds()
    async with world:
        world.scheduler.task_turns = 30
        await world.scheduler.submit("t")
        while world.scheduler.demand().waiting:
            await world.turn()
        (name,) = both.first.created
        both.second.ghosts.append(both.first.machines[name])
        await world.reconciler.check()
        assert [machine.provider for machine in world.machines()] == ["first"]
        assert list(both.first.machines) == [name]
        both.second.ghosts.clear()
        await world.settle()


async def test_a_stray_is_taken_in_by_who_has_it():
    world, both = two_clouds()
    async with world:
        prefix = f"clusterodm-{world.autoscaler.identity.facts.cluster_id}"
        both.second.leak(f"{prefix}-50-abc", size="m")
        await world.reconciler.check()
        (machine,) = world.machines()
        assert (machine.provider, machine.price_per_hour) == ("second", 2.0)
        await world.settle()
        assert both.second.destroyed == [machine.id]


@pytest.mark.parametrize("others", [("second", "third"), ("second",)])
async def test_a_machine_of_a_provider_that_the_file_has_no_more_is_not_said_to_be_gone(others: tuple[str, ...]):
    world, both = two_clouds()
    async with world:
        world.scheduler.task_turns = 30
        await world.scheduler.submit("t")
        while world.scheduler.demand().waiting:
            await world.turn()
        name = MachineId(both.first.created[0])
        world.several = {each: both.second if each == "second" else Cloud(ProviderMachine) for each in others}
        await world.restart()
        await world.reconciler.check()
        await world.controller.stop(name, "asked")
        await world.turn(3)
        machine = world.autoscaler.store.get(name)
        assert machine is not None
        assert machine.state is MachineState.DESTROYING
        assert machine.removal_failure.startswith("the file has no provider 'first' any more")
        world.several = {"first": both.first, "second": both.second}
        await world.restart()
        await world.settle()


FAULTS = [(cloud, call, trouble) for cloud in ("first", "second") for call in ("create", "set_up", "destroy", "list")
          for trouble in (*Trouble, "lost answer")]  # fmt: skip


@settings(max_examples=12)
@given(kill_at=st.integers(0, 90), faults=st.lists(st.sampled_from(FAULTS), max_size=4), tasks=st.integers(1, 3))
async def test_killed_anywhere_and_whatever_fails_nothing_is_left_and_no_task_is_lost_or_doubled(
    kill_at: int, faults: list[tuple[str, str, Any]], tasks: int
):
    world, both = two_clouds()
    async with world:
        for cloud, call, trouble in faults:
            stand_in = getattr(both, cloud)
            if trouble == "lost answer":
                stand_in.lose_answer(call)
            else:
                stand_in.fail(call, trouble)
        for number in range(tasks):
            await world.scheduler.submit(f"t{number}")
        world.kill_at = len(world.passages) + kill_at
        await world.settle(turns=1500)
        assert both.machines == {}
        assert all(len(task.attempts) == 1 for task in world.scheduler.tasks.values())
        here = {name: {*cloud.created} for name, cloud in (("first", both.first), ("second", both.second))}
        assert not here["first"] & here["second"]
        for machine in world.machines():
            assert machine.id not in here["second" if machine.provider == "first" else "first"]
            assert machine.never_was or machine.called_at_ms is None or machine.id in here[machine.provider]
