"""Machines come and go with the demand, whatever fails and whenever the autoscaler dies."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound, Refused, Trouble
from clusterodm.libs.common.messages.machines import (
    DestroyMachine,
    GetAutoscalerStatus,
    ListMachines,
    PauseAutoscaler,
    ReportBootFailure,
    ResumeAutoscaler,
    ViewCommand,
)
from clusterodm.libs.common.model.machines import MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.machines.handlers import reconciler
from clusterodm.services.autoscaler.machines.handlers.reconciler import interval_s
from clusterodm.services.autoscaler.orders import ProviderMachine, Size
from clusterodm.services.autoscaler.providers.core.catalogue import CheckOutcome, FileFindings
from tests.autoscaler_world import BOOT_TURNS, World

KILL_POINTS = 120
"""More than one whole life has; a kill behind the end is a run without one."""


async def test_a_task_gets_a_machine_runs_there_and_the_machine_goes():
    async with World() as world:
        await world.scheduler.submit("t")
        await world.settle()
        assert len(world.cloud.created) == 1
        assert world.cloud.destroyed == world.cloud.created
        assert world.machines()[0].state is MachineState.GONE
        told = [name for name, _ in world.bus.published if name.startswith("machine.")]
        assert told == [
            "machine.requested",
            "machine.created",
            "machine.came_online",
            "machine.drained",
            "machine.condemned",
            "machine.destroyed",
        ]


async def test_the_record_is_written_before_the_provider_is_called():
    async with World() as world:
        world.cloud.hang("create")
        await world.scheduler.submit("t")
        await world.turn(2)
        assert [machine.state for machine in world.machines()] == [MachineState.CREATING]
        assert world.cloud.created == []


@pytest.mark.parametrize("kill_at", range(KILL_POINTS))
async def test_killed_at_any_step_nothing_is_left_and_nothing_is_made_twice(kill_at: int):
    async with World() as world:
        world.kill_at = len(world.passages) + kill_at
        await world.scheduler.submit("t")
        await world.settle()
        assert len(world.cloud.created) == 1
        assert world.most_count == 1
        assert world.scheduler.lost_count == 0


async def test_the_kill_points_reach_behind_the_end_of_a_life():
    async with World() as world:
        before = len(world.passages)
        await world.scheduler.submit("t")
        await world.settle()
        assert len(world.passages) - before < KILL_POINTS


@pytest.mark.parametrize("kill_at", range(0, 240, 7))
async def test_killed_with_many_machines_under_way_no_task_is_lost(kill_at: int):
    async with World(machines_count=3, tasks_per_machine_count=2, idle_timeout_s=10) as world:
        world.kill_at = len(world.passages) + kill_at
        for number in range(6):
            await world.scheduler.submit(f"t{number}", images=10 if number % 2 else 100)
        await world.settle(120)
        assert world.most_count <= 3
        assert len(set(world.cloud.created)) == len(world.cloud.created)


@pytest.mark.parametrize("call", ["create", "set_up", "destroy"])
@pytest.mark.parametrize("trouble", list(Trouble))
async def test_a_call_that_fails_once_delays_and_leaves_nothing(call: str, trouble: Trouble):
    async with World() as world:
        world.cloud.fail(call, trouble)
        await world.scheduler.submit("t")
        await world.settle(200)
        assert sorted(world.cloud.destroyed) == sorted(world.cloud.created)


@pytest.mark.parametrize("call", ["create", "set_up", "destroy"])
async def test_a_lost_answer_leaves_nothing(call: str):
    async with World() as world:
        world.cloud.lose_answer(call)
        await world.scheduler.submit("t")
        await world.settle(200)
        assert sorted(world.cloud.destroyed) == sorted(world.cloud.created)


async def test_a_destruction_is_tried_until_it_is_confirmed():
    async with World() as world:
        for _ in range(4):
            world.cloud.fail("destroy")
        await world.scheduler.submit("t")
        await world.settle(60)
        assert [call for call, _ in world.cloud.calls].count("destroy") == 5


async def test_what_never_came_up_is_failed_and_says_why():
    async with World() as world:
        world.cloud.fail("create", Trouble.OUT_OF_CAPACITY, "no room here")
        await world.scheduler.submit("t")
        await world.turn(2)
        failed = next(machine for machine in world.machines() if machine.failure)
        assert (failed.state, failed.failure, failed.trouble) == (
            MachineState.FAILED,
            "no room here",
            "out-of-capacity",
        )


# --- the provider's own list ---------------------------------------------------------------------------------------


async def test_a_machine_of_ours_that_nobody_knows_is_destroyed():
    async with World() as world:
        ours = f"clusterodm-{world.autoscaler.identity.facts.cluster_id}-9-leaked"
        world.cloud.leak(ours)
        world.cloud.leak("clusterodm-other-9-leaked")
        world.cloud.leak("somebody-elses")
        world.strangers.add(ours)
        await world.reconciler.check()
        await world.turn(BOOT_TURNS)
        assert world.cloud.destroyed == [ours]
        assert any(name == "machine.leaked" for name, _ in world.bus.published)


async def test_what_is_there_is_looked_for_until_the_bus_answers(monkeypatch: pytest.MonkeyPatch):
    async with World() as world:
        ours = f"clusterodm-{world.autoscaler.identity.facts.cluster_id}-9-leaked"
        world.cloud.leak(ours)
        learn_from, failures = ClusterIdentity.learn_from, [BusFailed("NATS elects"), BusFailed("NATS elects")]

        async def fail_first(identity: ClusterIdentity, names: Iterable[MachineId]) -> None:
            if failures:
                raise failures.pop()
            await learn_from(identity, names)

        monkeypatch.setattr(ClusterIdentity, "learn_from", fail_first)
        monkeypatch.setattr(reconciler, "AGAIN_S", 0.01)
        await world.restart()
        assert [machine.id for machine in world.machines()] == [ours]
        failures.append(BusFailed("NATS is away"))
        await world.reconciler.check()
        assert not failures, "later it is left to the next comparison"


async def test_a_machine_that_reappears_is_destroyed_again():
    async with World() as world:
        await world.scheduler.submit("t")
        await world.settle()
        name = world.cloud.created[0]
        world.clock.pass_s(1)
        world.cloud.leak(name)
        await world.reconciler.check()
        await world.turn()
        assert world.cloud.destroyed == [name, name]


async def test_a_lost_machine_gives_its_task_to_another():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        assert world.scheduler.tasks["t"].state == "running"  # type: ignore[index]
        world.cloud.lose(world.cloud.created[0])
        world.clock.pass_s(61)
        await world.reconciler.check()
        await world.settle()
        assert (len(world.cloud.created), world.scheduler.lost_count) == (2, 1)
        assert any(name == "machine.lost" for name, _ in world.bus.published)


async def test_a_machine_that_the_provider_takes_away_is_left_in_time():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        world.cloud.leaving[world.cloud.created[0]] = "spot interruption"
        await world.reconciler.check()
        await world.settle()
        assert (len(world.cloud.created), world.scheduler.lost_count) == (2, 1)


@pytest.mark.parametrize("kill_at", range(10, 70, 2))
async def test_killed_while_the_provider_takes_a_machine_away_the_task_begins_again_once(kill_at: int):
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        world.cloud.leaving[world.cloud.created[0]] = "spot interruption"
        world.kill_at = len(world.passages) + kill_at
        await world.settle()
        assert (len(world.cloud.created), world.scheduler.lost_count) == (2, 1)


async def test_a_machine_that_alone_has_the_results_stays_for_them_and_goes_then():
    async with World(keep_results_s=60) as world:
        await world.scheduler.submit("t")
        while not all(task.state.ended for task in world.scheduler.tasks.values()):
            await world.turn()
        ended_ms = world.now_ms
        while world.cloud.machines:
            await world.turn()
        assert 60_000 <= world.now_ms - ended_ms <= 75_000
        assert len(world.cloud.created) == 1


@pytest.mark.parametrize(
    ("usual_s", "spot", "used_s"),
    [
        pytest.param(180.0, False, 180.0, id="as set"),
        pytest.param(180.0, True, 15.0, id="Amazon tells of an interruption two minutes before"),
        pytest.param(5.0, True, 5.0, id="often already"),
    ],
)
def test_with_spot_instances_records_are_compared_often_enough_to_see_a_notice(
    usual_s: float, spot: bool, used_s: float
):
    assert interval_s(usual_s, spot=spot) == used_s


async def test_a_list_that_cannot_be_had_changes_nothing():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        world.cloud.fail("list")
        world.clock.pass_s(61)
        await world.reconciler.check()
        await world.settle()
        assert len(world.cloud.created) == 1


# --- the scheduler is away -----------------------------------------------------------------------------------------


async def test_while_the_scheduler_is_away_nothing_is_decided():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        before = [machine.state for machine in world.machines()]
        nodes, world.scheduler.nodes = world.scheduler.nodes, {}
        world.bus._handlers.clear()
        with pytest.raises(Exception, match="nobody answers"):
            await world.planner.tick()
        assert [machine.state for machine in world.machines()] == before
        world.scheduler.nodes = nodes


async def test_a_node_that_an_operator_takes_off_the_list_takes_its_machine_along():
    async with World(idle_timeout_s=3600, tasks_per_machine_count=0) as world:
        await world.scheduler.submit("t")
        await world.turn(9)
        assert world.machines()[0].state is MachineState.IDLE
        world.scheduler.nodes.clear()
        await world.settle()


# --- what operators ask --------------------------------------------------------------------------------------------


async def test_a_paused_autoscaler_lets_tasks_wait_even_after_a_restart():
    async with World() as world:
        await world.commands.pause(PauseAutoscaler(reason="maintenance"))
        await world.restart()
        await world.scheduler.submit("t")
        await world.turn(3)
        status = await world.commands.status(GetAutoscalerStatus())
        assert (status.paused, status.reason) == (True, "the autoscaler is paused: maintenance")
        assert [wait.task for wait in status.waits] == ["t"]
        assert world.cloud.created == []
        await world.commands.resume(ResumeAutoscaler())
        await world.settle()


async def test_an_operator_destroys_a_machine_and_its_task_runs_elsewhere():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        listed = (await world.commands.list_machines(ListMachines())).machines
        assert [(view.number, view.machine.state) for view in listed] == [(1, MachineState.DRAINING)]
        view = await world.commands.destroy(DestroyMachine(machine=listed[0].machine.id))
        assert view.machine.state is MachineState.DESTROYING
        await world.settle()
        assert (len(world.cloud.created), world.scheduler.lost_count) == (2, 1)
        assert len((await world.commands.list_machines(ListMachines(ended=True))).machines) == 2


async def test_destroying_ends_even_a_creation_that_hangs():
    async with World() as world:
        world.cloud.hang("create", after=True)
        await world.scheduler.submit("t")
        await world.turn(2)
        (machine,) = world.machines()
        await world.commands.pause(PauseAutoscaler())
        await world.commands.destroy(DestroyMachine(machine=machine.id))
        await world.turn()
        assert (world.cloud.machines, world.cloud.destroyed) == ({}, [machine.id])


async def test_a_machine_that_is_not_there_cannot_be_destroyed():
    async with World() as world:
        with pytest.raises(NotFound, match="There is no machine x"):
            await world.commands.destroy(DestroyMachine(machine=MachineId("x")))


async def test_the_command_is_that_of_the_smallest_size_that_fits():
    async with World() as world:
        assert "create clusterodm-" in (await world.commands.view_command(ViewCommand(images_count=10))).command
        with pytest.raises(Refused, match="no machine size takes 501 images"):
            await world.commands.view_command(ViewCommand(images_count=501))


async def test_the_status_counts_states_and_costs():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        status = await world.commands.status(GetAutoscalerStatus())
        assert (status.enabled, status.states, status.cost_per_hour) == (True, {"draining": 1}, 1.0)
        assert status.cost_last_day > 0


class Picky(Cloud):
    """A cloud that does not accept all that the file names."""

    file_check = CheckOutcome(answered=True, findings=FileFindings(mistakes=("test: there is no size 'huge'",)))


async def test_the_status_says_what_the_provider_does_not_accept():
    async with World(cloud=Picky(ProviderMachine)) as world:
        status = await world.commands.status(GetAutoscalerStatus())
        assert (status.file_mistakes, status.file_check) == (
            ("test: there is no size 'huge'",),
            "test: there is no size 'huge'",
        )
    async with World() as world:
        status = await world.commands.status(GetAutoscalerStatus())
        assert (status.file_mistakes, status.file_check) == ((), "")


async def test_no_record_holds_a_secret():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        machine = world.machines()[0]
        secret = world.autoscaler.machines.orders.order(machine).launch.webhook_url.reveal().rpartition("=")[2]
        token = world.autoscaler.machines.orders.token(machine).reveal()
        assert secret
        assert token
        stored = repr(world.bus._buckets["machines"]._entries) + repr(world.bus.published)
        assert secret not in stored
        assert token not in stored


async def test_two_autoscalers_at_once_create_nothing_twice():
    async with World() as world:
        await world.scheduler.submit("t")
        first = world.planner
        await world.start()
        await world.tell(world.scheduler.demand())
        first.demand = world.planner.demand
        await asyncio.gather(first.tick(), world.planner.tick(), return_exceptions=True)
        await world.settle()
        assert len(world.cloud.created) == 1


async def test_a_machine_whose_boot_has_failed_goes_at_once_and_says_why_without_its_secrets():
    async with World() as world:
        booting = await world.hung_in("set_up")
        assert booting.state is MachineState.SETTING_UP
        token = world.autoscaler.machines.orders.token(booting).reveal()
        report = ReportBootFailure(machine=booting.id, last_words=f"E: no package | {token}")
        assert (await world.commands.boot_failed(report)).destroyed
        assert not (await world.commands.boot_failed(report)).destroyed
        await world.turn(2)
        failed = next(machine for machine in world.machines() if machine.id == booting.id)
        assert failed.failure == "its boot has failed: E: no package | ***"
        assert failed.state is MachineState.FAILED
        assert booting.id not in world.cloud.machines


async def test_last_words_of_a_machine_that_has_come_up_or_that_nobody_knows_change_nothing():
    async with World() as world:
        await world.scheduler.submit("t")
        await world.turn(BOOT_TURNS + 2)
        for name in (*(machine.id for machine in world.machines()), MachineId("nobody")):
            assert not (await world.commands.boot_failed(ReportBootFailure(machine=name, last_words="x"))).destroyed
        assert [machine.failure for machine in world.machines()] == [""]


async def test_a_machine_whose_size_is_for_other_images_by_now_is_ordered_as_the_file_says_besides():
    spot = Size(slug="m", max_images=50, spot=True, spot_price=0.1, storage_gb=60, gpu=True)
    async with World(sizes=(spot,)) as world:
        machine = await world.hung_in("create")
        limits = replace(world.configuration.limits, sizes=(replace(spot, max_images=40),))
        world.configuration = replace(world.configuration, limits=limits)
        await world.restart()
        order = world.autoscaler.machines.orders.order(machine)
        assert (order.offer.size.spot_price, order.offer.size.storage_gb) == (0.1, 60)
        assert (order.launch.max_images, order.launch.gpu) == (50, True)
