"""Whatever the provider lists under our names is taken into use or destroyed, whatever the records say."""

from dataclasses import replace
from typing import Any

import pytest
import structlog.testing

from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.messages.machines import DestroyMachine, GetAutoscalerStatus, PauseAutoscaler
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId, TaskId
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.identity.core import Identities, Identity
from clusterodm.services.autoscaler.machine_life.starts import USUAL_START_MS
from clusterodm.services.autoscaler.machines.core import compare
from clusterodm.services.autoscaler.orders import ProviderMachine
from tests.autoscaler_world import BOOT_TURNS, SIZES, TURN_MS, World

S = MachineState


async def failed_but_there(world: World) -> Machine:
    """A machine whose creation was refused, and that exists all the same."""
    world.cloud.lose_answer("create", Trouble.OUT_OF_CAPACITY)
    await world.scheduler.submit("t", images=500)
    await world.turn(2)
    await world.commands.pause(PauseAutoscaler())
    failed = next(machine for machine in world.machines() if machine.failure)
    assert (failed.state, failed.never_was) == (S.FAILED, True)
    assert failed.id in world.cloud.machines
    return failed


def destroys_of(world: World, machine: MachineId) -> int:
    return world.cloud.calls.count(("destroy", machine))


async def compared(world: World) -> None:
    """Compare, and let follow what follows."""
    world.clock.pass_s(1)
    await world.reconciler.check()
    await world.turn()


def known(world: World, machine: MachineId) -> Machine:
    found = world.autoscaler.store.get(machine)
    assert found is not None
    return found


async def test_a_machine_recorded_as_failed_that_still_exists_is_destroyed_once_and_keeps_its_reason():
    async with World() as world:
        failed = await failed_but_there(world)
        for _ in range(3):
            await compared(world)
        after = known(world, failed.id)
        assert failed.id not in world.cloud.machines
        assert destroys_of(world, failed.id) == 1
        assert (after.state, after.failure, after.trouble) == (S.FAILED, failed.failure, "out-of-capacity")
        assert (after.never_was, after.failed_at_ms) == (False, failed.failed_at_ms)
        assert [name for name, _ in world.bus.published].count("machine.leaked") == 1


async def test_a_machine_that_is_back_counts_and_costs_until_it_is_gone():
    async with World(machines_count=1) as world:
        failed = await failed_but_there(world)
        before = await world.commands.status(GetAutoscalerStatus())
        others = len(world.autoscaler.store.alive())
        world.cloud.fail("destroy")
        world.awake.clear()
        await compared(world)
        status = await world.commands.status(GetAutoscalerStatus())
        assert len(world.autoscaler.store.alive()) == others + 1
        assert known(world, failed.id).state is S.DESTROYING
        assert status.cost_per_hour == before.cost_per_hour + 4.0
        since_ms = world.now_ms - (failed.called_at_ms or 0)
        assert status.cost_last_day - before.cost_last_day >= round(4.0 * (since_ms - 10_000) / 3_600_000, 4)
        world.awake.set()
        await world.turn()
        assert known(world, failed.id).state is S.FAILED


async def test_what_destroying_fails_with_is_kept_apart_from_what_creating_failed_with():
    async with World() as world:
        world.awake.clear()
        world.cloud.lose_answer("create")
        world.cloud.fail("destroy", Trouble.REFUSED, "made to fail")
        await world.scheduler.submit("t")
        await world.turn(2)
        failed = next(machine for machine in world.machines() if machine.failure)
        assert (failed.state, failed.failure, failed.trouble) == (
            S.DESTROYING,
            "the answer was lost",
            "unknown-outcome",
        )
        assert (failed.removal_failure, failed.removal_trouble) == ("made to fail", "refused")
        world.awake.set()
        await world.turn()
        after = known(world, failed.id)
        assert (after.state, after.failure, after.removal_failure) == (S.FAILED, "the answer was lost", "")
        assert not after.never_was


async def test_what_a_failed_creation_has_left_costs_while_it_cannot_be_destroyed():
    async with World() as world:
        world.awake.clear()
        world.cloud.lose_answer("create")
        world.cloud.fail("destroy", Trouble.REFUSED)
        await world.scheduler.submit("t")
        await world.turn(4)
        (left,) = (view for view in world.commands._views(ended=False) if view.machine.failure)
        assert left.machine.state is S.DESTROYING
        assert left.cost > 0


async def test_what_a_failed_creation_has_left_has_cost_though_the_answer_to_its_removal_was_lost_too():
    async with World() as world:
        world.cloud.lose_answer("create")
        world.cloud.lose_answer("destroy")
        await world.scheduler.submit("t")
        await world.turn(4)
        failed = next(machine for machine in world.machines() if machine.failure)
        assert (failed.state, failed.never_was) == (S.FAILED, False)


async def test_what_came_to_nothing_has_cost_nothing():
    async with World() as world:
        world.cloud.fail("create", Trouble.UNKNOWN_OUTCOME)
        await world.scheduler.submit("t")
        await world.turn(2)
        failed = next(machine for machine in world.machines() if machine.failure)
        assert (failed.state, failed.never_was) == (S.FAILED, True)
        assert next(view for view in world.commands._views(ended=True) if view.machine == failed).cost == 0


async def test_a_list_that_shows_what_has_gone_opens_nothing_until_it_shows_it_twice():
    async with World() as world:
        await world.scheduler.submit("t")
        await world.settle()
        (gone,) = world.machines()
        world.cloud.ghosts = [ProviderMachine(name=gone.id, ref="ref")]
        await compared(world)
        assert (known(world, gone.id), destroys_of(world, gone.id)) == (gone, 1)
        world.cloud.ghosts = []
        await compared(world)
        world.cloud.ghosts = [ProviderMachine(name=gone.id, ref="ref")]
        await compared(world)
        assert known(world, gone.id) == gone
        await compared(world)
        assert destroys_of(world, gone.id) == 2


async def test_another_machine_of_a_name_that_is_in_use_is_removed_and_the_one_in_use_stays():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        name = world.cloud.created[0]
        world.cloud.ghosts = [ProviderMachine(name=MachineId(name), ref="second")]
        await compared(world)
        assert (world.cloud.ghosts, list(world.cloud.machines)) == ([], [name])


class Renamed(Cloud):
    """Shows every machine under another name, as its operator wants it, and finds it by its id."""

    def __init__(self) -> None:
        super().__init__(ProviderMachine)
        self.ending = ""

    async def list(self, prefix: str) -> list[Any]:
        return [replace(each, name=f"{each.name}{self.ending}") for each in await super().list(prefix)]

    async def inspect(self, name: str, ref: str = "") -> Any:
        return next((each for each in self.machines.values() if ref in {each.ref, ""} and each.name == name), None)

    async def destroy(self, name: str, ref: str) -> Any:
        found = next((each.name for each in self.machines.values() if ref == each.ref), name)
        return await super().destroy(found, ref)


@pytest.mark.parametrize("ending", ["keep", "-keep", " (keep)"])
async def test_a_machine_whose_name_somebody_has_lengthened_is_the_one_that_it_was(ending: str):
    async with World(cloud=Renamed()) as world:
        world.scheduler.task_turns = BOOT_TURNS + 20
        await world.scheduler.submit("t")
        await world.turn(5)
        (name,) = world.cloud.created
        world.cloud.ending = ending
        world.strangers = {f"{name}{ending}"}
        await compared(world)
        await world.turn(BOOT_TURNS)
        assert (world.cloud.destroyed, [each.id for each in world.machines()]) == ([], [name])
        await world.settle()
        assert (len(world.cloud.created), world.scheduler.lost_count) == (1, 0)


async def test_what_bears_no_name_of_a_machine_is_left_alone_and_keeps_nobody_from_seeing_to_others():
    async with World() as world:
        copy = f"{ours(world)} (copy)"
        world.cloud.leak(copy)
        world.cloud.leak(ours(world))
        world.strangers = {copy, ours(world)}
        await world.reconciler.check()
        await world.turn(BOOT_TURNS)
        assert world.cloud.destroyed == [ours(world)]
        assert [each.id for each in world.machines()] == [ours(world)]
        assert (await world.commands.status(GetAutoscalerStatus())).left_alone == (copy,)
        world.cloud.lose(copy)
        await compared(world)
        assert (await world.commands.status(GetAutoscalerStatus())).left_alone == ()


async def test_what_is_left_alone_is_told_by_each_that_leads_once():
    async with World() as world:
        world.cloud.leak(f"{ours(world)} (copy)")
        for _ in range(2):
            with structlog.testing.capture_logs() as lines:
                await world.restart()
                await compared(world)
            assert [line["event"] for line in lines].count("machine.left_alone") == 1


async def test_a_notice_is_heard_although_something_else_cannot_be_removed():
    async with World(machines_count=2) as world:
        world.scheduler.task_turns = 12
        for task in ("t", "u"):
            await world.scheduler.submit(task)
        await world.turn(5)
        doubled, leaving = world.cloud.created
        world.cloud.ghosts = [ProviderMachine(name=MachineId(doubled), ref="second")]
        world.cloud.fail("discard")
        world.cloud.leaving[leaving] = "spot interruption"
        await compared(world)
        assert world.scheduler.lost_count == 1


def ours(world: World) -> str:
    return f"clusterodm-{world.autoscaler.identity.facts.cluster_id}-9-earlier"


async def test_a_machine_of_ours_that_nobody_knows_and_whose_node_answers_to_us_is_taken_into_use():
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name, size="small", created_at_ms=world.now_ms - 3_600_000)
        await world.scheduler.submit("t")
        await world.reconciler.check()
        await world.settle()
        assert (world.cloud.created, world.cloud.destroyed) == ([], [name])
        after = known(world, MachineId(name))
        assert (after.done, after.price_per_hour, after.max_images) == (("t",), 1.0, 50)
        assert after.called_at_ms is not None
        assert after.ended_at_ms is not None
        assert after.ended_at_ms - after.called_at_ms >= 3_600_000, "it has cost since it was made"


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"size": "small", "created_at_ms": 1}, id="its size and its age are known"),
        pytest.param({"size": "small"}, id="nobody says since when it boots"),
        pytest.param({"size": "other", "created_at_ms": 1}, id="nobody knows its size"),
        pytest.param({"address": ""}, id="nobody says anything"),
    ],
)
async def test_a_machine_of_ours_whose_node_stays_silent_is_destroyed_when_it_could_have_booted(facts: dict[str, Any]):
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name, **facts)
        world.strangers = {name}
        await world.reconciler.check()
        await world.turn(BOOT_TURNS - 4)
        assert world.cloud.destroyed == []
        await world.turn(4)
        assert world.cloud.destroyed == [name]
        after = known(world, MachineId(name))
        assert (after.state, after.reason) == (S.GONE, "nobody knows it, and its node has not answered for 900 s")
        assert [name for name, _ in world.bus.published].count("machine.leaked") == 1


async def test_nothing_is_counted_on_a_machine_that_nobody_knows_until_its_node_answers():
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name, size="small")
        world.strangers = {name}
        await world.reconciler.check()
        await world.scheduler.submit("t")
        await world.turn(2)
        assert len(world.cloud.created) == 1, "the task does not wait for it"
        world.strangers = set()
        await world.settle()
        assert known(world, MachineId(name)).node is not None


@pytest.mark.parametrize(
    ("facts", "node_takes", "images", "price"),
    [
        pytest.param({"size": "small"}, None, 50, 1.0, id="of a size of the file"),
        pytest.param({}, 50, 50, 1.0, id="its node says what it takes"),
        pytest.param({}, 70, 70, 4.0, id="its node takes what no size of the file does"),
        pytest.param({}, None, 9, 4.0, id="only its name says for what it was made"),
        pytest.param({"size": "other"}, 500, 500, 4.0, id="its size is no longer in the file"),
    ],
)
async def test_a_machine_whose_node_answers_is_used_whatever_else_is_unknown(
    facts: dict[str, Any], node_takes: int | None, images: int, price: float
):
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name, **facts)
        if node_takes:
            world.nodes_take[name] = node_takes
        await world.reconciler.check()
        await world.scheduler.submit("t", images=9)
        await world.turn(3)
        after = known(world, MachineId(name))
        assert after.tasks == ("t",)
        assert (after.size, after.max_images, after.price_per_hour) == (facts.get("size", ""), images, price)
        await world.settle()
        assert (world.cloud.created, world.cloud.destroyed) == ([], [name])


async def test_a_machine_whose_node_is_at_work_for_others_stays_until_that_has_ended():
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name)
        world.foreign[name] = 1
        await world.reconciler.check()
        await world.turn(100)
        assert (world.cloud.destroyed, known(world, MachineId(name)).state) == ([], S.ONLINE)
        world.foreign.clear()
        await world.turn(2)
        assert world.cloud.destroyed == [name]


async def test_a_machine_that_takes_no_more_tasks_stays_until_its_node_has_none():
    async with World(tasks_per_machine_count=1) as world:
        await world.scheduler.submit("t")
        await world.turn(3)
        (name,) = world.cloud.created
        world.foreign[name] = 2
        await world.turn(20)
        assert (known(world, MachineId(name)).done, world.cloud.destroyed) == (("t",), [])
        world.foreign.clear()
        await world.turn(2)
        assert world.cloud.destroyed == [name]


async def test_a_machine_that_cannot_be_set_up_stays_while_its_node_is_at_work():
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name)
        world.foreign[name] = 1
        world.scheduler.refuses = True
        await world.reconciler.check()
        await world.turn(5)
        assert (known(world, MachineId(name)).state, world.cloud.destroyed) == (S.SETTING_UP, [])
        world.scheduler.refuses = False
        await world.turn(2)
        assert known(world, MachineId(name)).state is S.ONLINE


async def test_a_task_that_a_machines_record_does_not_know_of_yet_gets_a_new_attempt_at_once():
    async with World(tasks_per_machine_count=0, idle_timeout_s=600) as world:
        await world.scheduler.submit("first")
        await world.turn(6)
        (machine,) = world.machines()
        await world.scheduler.submit("second")
        await world.scheduler.turn()
        assert world.scheduler.tasks[TaskId("second")].state is TaskState.RUNNING
        assert machine.tasks == ()
        await world.commands.destroy(DestroyMachine(machine=machine.id))
        await world.turn()
        assert world.scheduler.lost_count == 1


async def test_an_operators_word_and_the_longest_run_time_ask_no_node():
    async with World(max_runtime_s=3600) as world:
        for number, name in enumerate((ours(world), f"{ours(world)}2")):
            world.cloud.leak(name, address=f"127.0.9.{number}")
            world.foreign[name] = 1
        await world.reconciler.check()
        await world.turn(3)
        await world.commands.destroy(DestroyMachine(machine=MachineId(ours(world))))
        await world.turn()
        assert world.cloud.destroyed == [ours(world)]
        await world.turn(3600 * 1000 // TURN_MS)
        assert len(world.cloud.destroyed) == 2


USUAL_START_TURNS = USUAL_START_MS // TURN_MS + 2


def knowing_no_key(world: World) -> str:
    """A machine of an id of which nothing but its name is left: nobody here can speak to its node, which is there."""
    world.directory.write(Identities(known=(Identity(cluster_id="lost12", key=""),)))
    return "clusterodm-lost12-9-earlier"


async def test_a_young_machine_of_ours_is_waited_for_as_long_as_another_would_take():
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name, size="small", created_at_ms=world.now_ms)
        world.strangers = {name}
        await world.reconciler.check()
        await world.scheduler.submit("t")
        await world.turn(2)
        assert world.cloud.created == [], "it is on its way, as far as anybody can tell"
        await world.turn(USUAL_START_TURNS)
        assert len(world.cloud.created) == 1, "it should have come"
        assert known(world, MachineId(name)).silent
        await world.turn(BOOT_TURNS)
        after = known(world, MachineId(name))
        assert (after.state, after.failure) == (S.GONE, "")


async def test_a_young_machine_of_ours_that_comes_is_the_only_one():
    async with World() as world:
        name = ours(world)
        world.cloud.leak(name, size="small", created_at_ms=world.now_ms)
        world.strangers = {name}
        await world.reconciler.check()
        await world.scheduler.submit("t")
        await world.turn(5)
        world.strangers = set()
        await world.settle()
        assert (world.cloud.created, known(world, MachineId(name)).done) == ([], ("t",))


@pytest.mark.parametrize("registered", [True, False])
async def test_a_young_machine_whose_key_is_lost_holds_up_no_task(registered: bool):
    async with World() as world:
        name = knowing_no_key(world)
        await world.restart()
        world.cloud.leak(name, size="small", created_at_ms=world.now_ms)
        world.tokens[name] = "its own"
        if registered:
            node = Node(
                id=NodeId("n"), hostname="127.0.0.1", port=3000, token=world.tokens[name], machine=MachineId(name)
            )
            await world.scheduler._put(node)
        await world.reconciler.check()
        await world.scheduler.submit("t")
        await world.turn(2)
        after = known(world, MachineId(name))
        assert (after.tasks, after.webhook_digest) == (("t",) if registered else (), "")
        assert len(world.cloud.created) == (0 if registered else 1)
        assert world.cloud.calls.count(("set_up", name)) == 0, "anybody could make the token of a node of no key"


async def test_a_machine_that_was_taken_in_and_comes_to_nothing_lets_no_size_rest():
    async with World(machines_count=1, sizes=SIZES[:1]) as world:
        name = ours(world)
        world.cloud.leak(name, size="small", created_at_ms=world.now_ms - 1000)
        world.scheduler.refuses = True
        await world.reconciler.check()
        await world.turn()
        assert (known(world, MachineId(name)).state, known(world, MachineId(name)).failure) == (S.GONE, "")
        world.scheduler.refuses = False
        await world.scheduler.submit("t")
        await world.turn(2)
        assert len(world.cloud.created) == 1, "the limit of one machine has room, and nothing rests"


class SetUpByHand(Cloud):
    """Starts a node when it is set up, as docker-machine does."""

    def __init__(self, strangers: set[str]) -> None:
        super().__init__(ProviderMachine)
        self.strangers = strangers

    async def set_up(self, order: Any, found: Any) -> Any:
        self.strangers.discard(found.name)
        return await super().set_up(order, found)


@pytest.mark.parametrize("age_ms", [1000, 600_000])
async def test_a_machine_of_ours_that_nobody_has_set_up_is_set_up(age_ms: int):
    strangers: set[str] = set()
    async with World(cloud=SetUpByHand(strangers)) as world:
        name = ours(world)
        world.strangers = strangers
        strangers.add(name)
        world.cloud.leak(name, size="small", created_at_ms=world.now_ms - age_ms)
        await world.reconciler.check()
        await world.turn(2)
        assert known(world, MachineId(name)).state is S.ONLINE


async def test_a_machine_that_was_taken_in_and_that_nobody_needs_goes_as_any_other():
    async with World() as world:
        world.cloud.leak(ours(world), size="small", created_at_ms=world.now_ms)
        await world.reconciler.check()
        await world.turn(3)
        assert known(world, MachineId(ours(world))).state is S.ONLINE
        await world.settle()
        assert world.cloud.destroyed == [ours(world)]


async def test_destroying_what_is_being_destroyed_tries_again_at_once_and_says_so():
    async with World() as world:
        world.scheduler.task_turns = 12
        await world.scheduler.submit("t")
        await world.turn(5)
        world.awake.clear()
        world.cloud.fail("destroy", message="no way")
        machine = world.machines()[0].id
        first = await world.commands.destroy(DestroyMachine(machine=machine))
        assert (first.machine.state, first.told) == (S.DESTROYING, "")
        await world.turn()
        assert world.cloud.machines
        again = await world.commands.destroy(DestroyMachine(machine=machine))
        assert "it is tried again now; the last try failed: no way" in again.told
        await world.turn()
        assert machine in world.cloud.destroyed


# --- what follows from a list --------------------------------------------------------------------------------------

MACHINE = Machine(id=MachineId("m"), provider="test", state=S.ONLINE, requested_at_ms=1, created_at_ms=1, ref="1")
LATER_MS = 100_000


def compared_with(machine: Machine, *listed: ProviderMachine, at_ms: int = LATER_MS) -> list[str]:
    seen = compare({machine.id: machine}, listed, at_ms)
    return [name for name in ("strays", "back", "doubles", "leaving", "missing") if getattr(seen, name)]


@pytest.mark.parametrize("state", list(S))
def test_only_what_the_provider_has_said_to_have_can_be_missing(state: MachineState):
    machine = Machine(id=MachineId("m"), provider="test", state=state, requested_at_ms=1)
    present = state in {S.SETTING_UP, S.ONLINE, S.BUSY, S.IDLE, S.DRAINING}
    assert compared_with(machine) == (["missing"] if present else [])


@pytest.mark.parametrize(
    ("at_ms", "missing"),
    [
        pytest.param(60_000, [], id="a list may be a minute behind"),
        pytest.param(60_001, ["missing"], id="and no more"),
        pytest.param(-3_600_000, ["missing"], id="a clock that was set back makes nothing young"),
    ],
)
def test_what_has_just_come_is_not_missing(at_ms: int, missing: list[str]):
    assert compared_with(MACHINE, at_ms=at_ms) == missing


def test_two_of_a_name_are_told_apart_by_the_id_that_we_know():
    first = ProviderMachine(name=MACHINE.id, ref="1")
    assert compared_with(MACHINE, first) == []
    assert compared_with(MACHINE, first, replace(first, ref="2")) == ["doubles"]
    assert compared_with(MACHINE, replace(first, ref="2"), replace(first, ref="3")) == []


@pytest.mark.parametrize("state", [S.GONE, S.FAILED])
def test_what_has_ended_and_is_listed_is_back(state: MachineState):
    ended = Machine(id=MachineId("m"), provider="test", state=state, requested_at_ms=1, ended_at_ms=LATER_MS * 2)
    assert compared_with(ended, ProviderMachine(name=MachineId("m"))) == ["back"]
