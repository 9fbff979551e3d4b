"""Whatever fails at whichever step, and however the provider's list lies: nothing of ours is left, and what it cost is counted."""

import asyncio
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.autoscaler.config.core.configuration import (
    API,
    DOCKER_MACHINE,
    CloudSettings,
    Configuration,
    ProviderLimits,
    ScalingLimits,
    StepTimeouts,
)
from clusterodm.services.autoscaler.machine_life.life import age_ms
from clusterodm.services.autoscaler.machines.handlers.lifecycle import UNSEEN
from clusterodm.services.autoscaler.orders import Order, Size
from clusterodm.services.autoscaler.planning.core.budget import cost
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.client import DockerMachineProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.cross_check import CrossCheckedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.driver import Resolved
from clusterodm.services.autoscaler.providers.adapters.kinds import OURS
from clusterodm.services.autoscaler.providers.ports import Provider
from tests.autoscaler_world import SIZES, TURN_MS, World
from tests.lying_apis import SLUGS, LyingApi, faults_of
from tests.lying_cluster import LyingCluster, lying_kubernetes
from tests.lying_docker_machine import LOST, DockerMachineProgram
from tests.lying_driver import LyingDriver, lying_libcloud
from tests.lying_ec2 import LyingEc2
from tests.lying_programs import LyingCommands
from tests.lying_provider import NOTHING, Estate, Estates, Faults, Lies, LyingVendor

COMPARE_TURNS = 6
"""Half a minute."""
MOST_LIE_S = 40
SLACK_MS = (MOST_LIE_S + 2 * COMPARE_TURNS * TURN_MS // 1000 + 60) * 1000
"""So long a machine may count that has gone by itself: until it is missed."""
EXACT_MS = TURN_MS
"""Where it is known when the provider took the removal."""
OVER_HTTP_MS = 2 * TURN_MS
"""So far the clock may turn besides while calls are answered: that a busy computer decides."""
PAUSE_MS = TURN_MS
"""So long it is at most from a failure to the next try."""
HONEST_COMPARISONS = 12
LONGEST_COMPARISONS = 200
"""So soon every task has ended, whatever had to rest before."""
BOOT_S = 120
AT_WORK, SILENT = "is at work for others", "does not answer"
NODES = [AT_WORK, SILENT, "has nothing to do"]
TROUBLES = [str(trouble) for trouble in Trouble]

NO_CREATION = [str(trouble) for trouble in (Trouble.RETRYABLE, Trouble.REFUSED, Trouble.UNAUTHORISED)]
"""What calls fail with that create nothing."""

ENDING_FAULTS = [
    *(("named", how) for how in NO_CREATION),
    *(("starting", how) for how in NO_CREATION),
    *(("remove", how) for how in [*NO_CREATION, "after", NOTHING]),
    *(("after remove", how) for how in NO_CREATION),
]
API_FAULTS = [
    *(("begin", how) for how in [*TROUBLES, "after"]),
    *(("switch on", how) for how in TROUBLES),
    *(("resume", how) for how in TROUBLES),
    *ENDING_FAULTS,
]
PROGRAM_FAULTS = [
    *(
        (f"dm-{step}", said)
        for step in ("create", "create-called", "create-rented", "create-noted")
        for said in ("422 droplet limit", "500 try again", "401 unauthorized", "404 not found")
    ),
    *((f"dm-{step}", "500 try again") for step in ("inspect", "ls", "status", "rm", "rm-remote", "rm-removed")),
    *(("dm-rm-remote", "the network was not found") for _ in range(2)),
    ("ssh", "connection refused"),
]
LOSSES = [(f"dm-{step}", LOST) for step in ("inspect", "ls", "status", "rm")]


SMALL, LARGE = SIZES
SPOT_SIZES = (replace(SMALL, spot=True, interruptions_limit_count=1), SMALL, replace(LARGE, spot=True))
TWO = ("first", "second")
TWO_SIZES = tuple(replace(size, provider=name) for size in SIZES for name in TWO)
TakenAway = tuple[int, int, bool]
"""At which turn, which of the machines, and whether it is only said that it will be."""
LONG_TURNS = 12
"""So long tasks run on machines that may be taken away meanwhile."""


@dataclass(frozen=True)
class Kind:
    """A kind of provider."""

    faults: list[tuple[str, str]]
    make: "Callable[[Stage], Provider]"
    mode: str = API
    api: str = ""
    """Whose own API is spoken to; else the truth is an Estate."""
    sizes: tuple[Size, ...] = SIZES
    takes_away: bool = False
    """Machines are taken away while they run."""
    doubt_ms: int = 0
    """So long it may take besides, where the answer to a removal was lost."""

    def world(self, clock: FakeClock, lies: Lies, folder: Path) -> "Stage":
        """Make a world with this kind of provider."""
        faults: Faults | LyingApi
        if self.api:
            estate: Any = LyingEc2(clock, lies) if self.api == "aws" else LyingApi(self.api, clock, lies)
            faults, sizes, region = estate, estate.sizes, estate.region
        else:
            estate, faults, sizes, region = Estate(clock), Faults([]), self.sizes, ""
        world = World(clock=clock, cloud=estate, configuration=configuration(self.mode, sizes, region))
        stage = Stage(world, estate, lies, faults, folder)
        world.provider = self.make(stage)
        world.sleepers = []
        if self.takes_away:
            world.scheduler.task_turns = LONG_TURNS
        return stage


class TwoOfAKind(Kind):
    """Two of a kind in one file; what fails and lies does so at both."""

    def world(self, clock: FakeClock, lies: Lies, folder: Path) -> "Stage":
        """See Kind."""
        estates, faults = Estates(clock, TWO), Faults([])
        world = World(clock=clock, cloud=estates, configuration=several(self.sizes))
        stages = {
            name: Stage(world, estate, lies, faults, folder / name) for name, estate in estates.by_provider.items()
        }
        world.several = {name: self.make(stage) for name, stage in stages.items()}
        world.sleepers = []
        return Stage(world, estates, lies, faults, folder)


@dataclass
class Stage:
    """A world with one kind of provider."""

    world: World
    estate: Any
    lies: Lies
    faults: Any
    folder: Path

    def booted(self, *, several_calls: bool = False) -> BootedProvider:
        async def listens(_address: str, _port: int) -> bool:
            return True

        return BootedProvider(
            LyingVendor(self.estate, self.lies, self.faults, several_calls=several_calls),
            sleep=self.world.sleep,
            instant=self.instant,
            listens=listens,
        )

    def instant(self) -> Instant:
        return Instant(self.estate.clock.wall_ms() / 1000)

    def programs(self) -> BootedProvider:
        provider = self.booted()
        provider._vendor = LyingCommands(self.estate, self.lies, self.faults, self.folder)
        return provider

    def own_api(self) -> BootedProvider:
        provider = self.booted()
        provider._vendor = self.estate.vendor()
        return provider

    def libcloud(self) -> BootedProvider:
        provider = self.booted()
        provider._vendor = lying_libcloud(LyingDriver(self.estate, self.lies, self.faults, SIZES))
        return provider

    def kubernetes(self) -> BootedProvider:
        provider = self.booted()
        provider._vendor = lying_kubernetes(LyingCluster(self.estate, self.lies, self.faults), SIZES)
        return provider

    def docker_machine(self) -> DockerMachineProvider:
        async def resolve(order: Order) -> Resolved:
            return Resolved("image", order.offer.region)

        program = DockerMachineProgram(self.folder / "dm", self.estate, self.lies, self.faults)
        return DockerMachineProvider(configuration(DOCKER_MACHINE), self.folder / "locks", resolve, run=program)

    async def turn(self, count: int, taken: Sequence[TakenAway] = ()) -> None:
        """Let time pass, with a comparison now and then."""
        for number in range(count):
            for at, place, notice in taken:
                if at == number:
                    self.estate.take_away(place, self.not_ended, notice=notice)
            await self.world.turn()
            if number % COMPARE_TURNS == COMPARE_TURNS - 1:
                await self.compare()

    @property
    def not_ended(self) -> set[str]:
        return {machine.id for machine in self.world.machines() if not machine.state.ended}

    async def lose_the_records(self) -> None:
        """Begin anew with an empty store; nobody waits for a machine any more."""
        self.world.scheduler.tasks.clear()
        self.world.scheduler.nodes.clear()
        self.world.bus._buckets.clear()
        await self.world.restart()

    async def compare(self) -> None:
        comparing = asyncio.get_running_loop().create_task(self.world.reconciler.check(), name="compare")
        while not comparing.done():
            self.world.clock.pass_s(1)
            self.world.wake()
            for _ in range(30):
                await asyncio.sleep(0)
        comparing.result()


KINDS = {
    "an API where creating is one call": Kind(API_FAULTS, Stage.booted),
    "an API where creating is several calls": Kind(API_FAULTS, lambda stage: stage.booted(several_calls=True)),
    "libcloud, which removes what it has listed": Kind(API_FAULTS, Stage.libcloud),
    "kubernetes, where a name is unique": Kind(API_FAULTS, Stage.kubernetes),
    "programs of the operator": Kind(API_FAULTS, Stage.programs),
    "two providers in one file": TwoOfAKind(API_FAULTS, Stage.booted, sizes=TWO_SIZES),
    "docker-machine beside an API": Kind(
        ENDING_FAULTS + PROGRAM_FAULTS,
        lambda stage: CrossCheckedProvider(stage.docker_machine(), stage.booted(), stage.instant),
        DOCKER_MACHINE,
        doubt_ms=15_000,
    ),
    "docker-machine alone": Kind(PROGRAM_FAULTS + LOSSES, Stage.docker_machine, DOCKER_MACHINE),
}
SPOT = Kind(API_FAULTS, Stage.booted, sizes=SPOT_SIZES, takes_away=True)
OWN_APIS = {name: Kind(faults_of(name), Stage.own_api, api=name) for name in SLUGS}
"""Ours as they are, over HTTP, in front of their clouds' stand-ins; EC2 with its real library."""


def configuration(mode: str, sizes: tuple[Size, ...] = SIZES, region: str = "") -> Configuration:
    return Configuration(
        provider="digitalocean",
        mode=mode,
        limits=ScalingLimits(sizes=sizes, regions=(region,), create_retries=5, machines_count=3),
        cloud=CloudSettings(keys={"accessToken": Secret("made-up")}),
        timeouts=StepTimeouts(set_up_s=BOOT_S),
    )


def several(sizes: tuple[Size, ...]) -> Configuration:
    own = configuration(API, sizes)
    part = replace(own, limits=ScalingLimits(sizes=()))
    both = tuple(ProviderLimits(name=name) for name in TWO)
    together = replace(own.limits, providers=both, regions=("",))
    return replace(own, provider=", ".join(TWO), limits=together, several=dict.fromkeys(TWO, part))


ELSEWHERE = {
    "libcloud": "over a driver whose list lies, above",
    "kubernetes": "over a lying API server, above",
    "command": "over programs whose list lies, above",
}
"""How the other kinds of ours are tried."""


def test_every_kind_of_provider_of_ours_is_tried():
    assert set(OURS) == {*OWN_APIS, *ELSEWHERE}


taken_away = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2), st.booleans()), max_size=4)
lies = st.builds(
    Lies,
    terse=st.booleans(),
    late_s=st.sampled_from([0, 0, 5, MOST_LIE_S]),
    stale_s=st.sampled_from([0, 0, 5, MOST_LIE_S]),
    missing=st.lists(st.booleans(), max_size=12).map(deque),
    late_by_id=st.booleans(),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_in_the_end_nothing_is_left_and_the_cost_counted_is_the_cost_caused(kind: str, data: st.DataObject):
    ordered = data.draw(st.lists(st.sampled_from(KINDS[kind].faults), max_size=4), label="faults")
    asyncio.run(play(KINDS[kind], ordered, data.draw(lies, label="lies"), data.draw(st.integers(1, 2), label="tasks")))


@settings(max_examples=8)
@given(data=st.data())
def test_in_the_end_nothing_is_left_of_machines_that_are_taken_away_and_every_task_has_run(data: st.DataObject):
    ordered = data.draw(st.lists(st.sampled_from(SPOT.faults), max_size=2), label="faults")
    taken = data.draw(taken_away, label="taken away")
    tasks_count = data.draw(st.integers(1, 2), label="tasks")
    asyncio.run(play(SPOT, ordered, data.draw(lies, label="lies"), tasks_count, taken))


@pytest.mark.slow
@pytest.mark.parametrize("kind", OWN_APIS)
@settings(max_examples=12)
@given(data=st.data())
def test_in_the_end_nothing_is_left_at_a_cloud_with_an_api_of_its_own(kind: str, data: st.DataObject):
    ordered = data.draw(st.lists(st.sampled_from(OWN_APIS[kind].faults), max_size=4), label="faults")
    asyncio.run(
        play(OWN_APIS[kind], ordered, data.draw(lies, label="lies"), data.draw(st.integers(1, 2), label="tasks"))
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", OWN_APIS)
def test_without_failures_one_machine_comes_for_each_task_at_a_cloud_with_an_api_of_its_own(kind: str):
    names = asyncio.run(play(OWN_APIS[kind], [], Lies(honest=True), 2))
    assert len(names) == 2, "else nothing is tried there"


async def play(
    kind: Kind, ordered: list[tuple[str, str]], lies: Lies, tasks_count: int, taken: Sequence[TakenAway] = ()
) -> list[str]:
    """Play it; the machines that there were."""
    with tempfile.TemporaryDirectory() as folder:
        stage = kind.world(FakeClock(wall_ms=1_000_000_000), lies, Path(folder))
        world, estate = stage.world, stage.estate
        stage.faults.order(ordered)
        most_ms = kind.doubt_ms + EXACT_MS + PAUSE_MS * len(ordered) + round(lies.stale_s * 1000)
        if kind.api:
            most_ms += OVER_HTTP_MS * (1 + len(ordered))
        async with world:
            for number in range(tasks_count):
                await world.scheduler.submit(f"t{number}", images=10 if number % 2 else 100)
            await stage.turn(6 * COMPARE_TURNS, taken)
            if not kind.takes_away:
                await world.scheduler.cancel_all()
            lies.honest = True
            for _ in range(LONGEST_COMPARISONS):
                if all(task.state.ended for task in world.scheduler.tasks.values()):
                    break
                await stage.turn(COMPARE_TURNS)
            assert all(task.state.ended for task in world.scheduler.tasks.values())
            for _ in range(HONEST_COMPARISONS):
                await stage.turn(COMPARE_TURNS)
            assert estate.left == []
            assert [machine for machine in world.machines() if not machine.state.ended] == []
            before = world.machines()
            await stage.turn(2 * COMPARE_TURNS)
            assert world.machines() == before, "what has ended stays so"
            for machine in before:
                check_bill(world, machine, slack_ms=SLACK_MS if kind.takes_away else most_ms)
            return [machine.id for machine in before if world.cloud.caused_ms(machine.id) is not None]


def check_bill(world: World, machine: Machine, *, slack_ms: int) -> None:
    """What a machine is said to have cost is what it has, and never less: `slack_ms` is how long it may take to see that it has gone.

    That is as long as it goes on being listed, and, where the answer to a removal was lost, until the next try.
    """
    caused_ms, counted_ms = world.cloud.caused_ms(machine.id), age_ms(machine, world.now_ms)
    if caused_ms is None:
        assert cost(machine, world.now_ms) == 0
    elif machine.id in world.cloud.machines:
        assert UNSEEN in machine.reason, "it is there, and nobody can know more of it"
        assert counted_ms < caused_ms
    else:
        assert caused_ms <= counted_ms <= caused_ms + slack_ms


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_after_the_loss_of_the_records_no_machine_goes_whose_node_is_at_work_and_in_the_end_all_do(
    kind: str, data: st.DataObject
):
    does = data.draw(st.lists(st.sampled_from(NODES), min_size=1, max_size=3), label="what nodes do")
    ordered = data.draw(st.lists(st.sampled_from(KINDS[kind].faults), max_size=3), label="faults")
    asyncio.run(lose(KINDS[kind], does, ordered, data.draw(lies, label="lies")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", OWN_APIS)
@settings(max_examples=12)
@given(data=st.data())
def test_after_the_loss_of_the_records_no_machine_goes_whose_node_is_at_work_at_a_cloud_with_an_api_of_its_own(
    kind: str, data: st.DataObject
):
    does = data.draw(st.lists(st.sampled_from(NODES), min_size=1, max_size=3), label="what nodes do")
    ordered = data.draw(st.lists(st.sampled_from(OWN_APIS[kind].faults), max_size=3), label="faults")
    asyncio.run(lose(OWN_APIS[kind], does, ordered, data.draw(lies, label="lies")))


async def lose(kind: Kind, does: list[str], ordered: list[tuple[str, str]], lies: Lies) -> None:
    clock = FakeClock(wall_ms=1_000_000_000)
    lies.honest = True
    with tempfile.TemporaryDirectory() as folder:
        stage = kind.world(clock, lies, Path(folder))
        world, estate = stage.world, stage.estate
        async with world:
            for number in range(len(does)):
                await world.scheduler.submit(f"t{number}", images=10 if number % 2 else 100)
            await stage.turn(2)
            at_work = {name for name, what in zip(estate.machines, does, strict=False) if what == AT_WORK}
            world.strangers = {name for name, what in zip(estate.machines, does, strict=False) if what == SILENT}
            world.foreign = dict.fromkeys(at_work, 1)
            lies.honest = False
            stage.faults.order(ordered)
            clock.pass_s(BOOT_S if len(does) == 1 else 0)
            await stage.lose_the_records()
            adopted = world.machines()
            await world.scheduler.submit("new")
            for _ in range(HONEST_COMPARISONS):
                await stage.turn(COMPARE_TURNS)
                assert at_work <= set(estate.machines), "a machine went whose node was at work"
            if not ordered:
                assert world.scheduler.tasks[TaskId("new")].state.ended, "it has waited for what does not come"
            await world.scheduler.cancel_all()
            lies.honest, world.foreign = True, {}
            await stage.turn(HONEST_COMPARISONS * COMPARE_TURNS)
            assert estate.left == []
            assert [machine for machine in world.machines() if not machine.state.ended] == []
            known = (world.autoscaler.store.get(machine.id) for machine in adopted)
            assert not any(machine.failure for machine in known if machine), "none of them was ordered here"
