"""What the console of a task says of the machine that is rented for it: each step once, whoever restarts."""

from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.messages.demand import SupplyChanged
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Moment, Task
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId
from clusterodm.services.autoscaler.machine_life.life import MachineStep, after
from clusterodm.services.scheduler.task_life.transitions import placed
from clusterodm.services.scheduler.tasks.core.machine_steps import with_steps
from tests.scheduling import NOW_MS, a_play, task_id

M = MachineId("clusterodm-c-50-x")
T = task_id("t")
ORDERED = f"Machine {M} (small in here at cloud) is ordered: a task of 10 images waits"
CREATING, SETTING_UP, READY = (f"Machine {M} {word}" for word in ("is being created", "is being set up", "is ready"))
FAILED = f"Machine {M} failed: sold out"
STEPS = (MachineStep.BEGIN, MachineStep.CREATED, MachineStep.READY)


def a_task(*lines: str) -> Task:
    return Task(
        id=T,
        name="t",
        upload_owner=InstanceId("p"),
        created_at_ms=0,
        committed_at_ms=0,
        images_count=10,
        timeline=tuple(Moment(at_ms=0, text=line) for line in lines),
    )


def a_machine(*steps: MachineStep, **facts: Any) -> Machine:
    machine = Machine(
        id=M,
        provider="cloud",
        region="here",
        size="small",
        for_task=T,
        reason="a task of 10 images waits",
        requested_at_ms=1,
    )
    for step in steps:
        reason = machine.reason if step is MachineStep.BEGIN else "because"
        machine = after(machine, step, WallMs(2), reason, **(facts if step is steps[-1] else {}))
    return machine


def lines(task: Task) -> list[str]:
    return [moment.text for moment in task.timeline]


@pytest.mark.parametrize(
    ("steps", "facts", "told"),
    [
        pytest.param((), {}, [ORDERED], id="ordered"),
        pytest.param(STEPS[:1], {}, [ORDERED, CREATING], id="being created"),
        pytest.param(STEPS[:2], {}, [ORDERED, CREATING, SETTING_UP], id="being set up"),
        pytest.param(STEPS, {}, [ORDERED, CREATING, SETTING_UP, READY], id="ready"),
        pytest.param((*STEPS[:1], MachineStep.STOP), {"failure": "sold out"}, [ORDERED, CREATING, FAILED], id="failed"),
        pytest.param(
            (*STEPS[:2], MachineStep.STOP),
            {},
            [ORDERED, CREATING, SETTING_UP, f"Machine {M} is given up: because"],
            id="given up before it was ready",
        ),
        pytest.param(
            (*STEPS, MachineStep.STOP), {}, [ORDERED, CREATING, SETTING_UP, READY], id="what comes after is its own"
        ),
    ],
)
def test_the_console_tells_each_step_and_none_twice(steps: Any, facts: dict[str, Any], told: list[str]):
    machine = a_machine(*steps, **facts)
    once = with_steps(a_task(), machine, NOW_MS)
    assert lines(once) == told
    assert with_steps(once, machine, NOW_MS) is once
    assert [text for text in told if text.startswith("Machine")] == told


def test_steps_that_were_seen_one_by_one_are_told_as_those_that_were_seen_at_once():
    task = a_task()
    for count in range(len(STEPS) + 1):
        task = with_steps(task, a_machine(*STEPS[:count]), NOW_MS)
    assert lines(task) == [ORDERED, CREATING, SETTING_UP, READY]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"for_task": None}, id="of the warm pool"),
        pytest.param({"for_task": task_id("another")}, id="for another task"),
    ],
)
def test_a_machine_that_is_not_for_the_task_is_not_told_of(other: dict[str, Any]):
    task = a_task()
    assert with_steps(task, msgspec.structs.replace(a_machine(*STEPS), **other), NOW_MS) is task


def test_no_step_is_told_after_a_later_one():
    node = Node(id=NodeId("n"), hostname="n", port=3000, machine=M)
    begun = placed(a_task(ORDERED, CREATING), node, NodeTaskId(T), NOW_MS)
    assert lines(begun) == [ORDERED, CREATING, READY, "Attempt 1: sending to node n:3000"]
    assert with_steps(begun, a_machine(*STEPS), NOW_MS) is begun


def test_a_machine_of_which_nothing_was_told_is_not_said_to_be_ready():
    begun = placed(a_task(), Node(id=NodeId("n"), hostname="n", port=3000, machine=M), NodeTaskId(T), NOW_MS)
    assert lines(begun) == ["Attempt 1: sending to node n:3000"]


async def test_a_scheduler_that_starts_again_tells_what_it_has_missed_and_nothing_twice():
    async with a_play() as play:
        await play.commits("t", images=10)
        bucket = await play.bus.bucket(MACHINES)
        await bucket.put(M, a_machine(*STEPS[:1]))
        steps = play.scheduler.tasks.machine_steps
        await steps.write(a_machine())
        await steps.write(a_machine(*STEPS[:1]))
        await play.starts_up()
        for machine in (a_machine(*STEPS[:1]), a_machine(*STEPS), a_machine(*STEPS, MachineStep.STOP)):
            await play.scheduler.tasks.machine_steps.write(machine)
        told = [line for line in lines(play.task("t")) if line.startswith("Machine")]
        assert told == [ORDERED, CREATING, SETTING_UP, READY]


async def test_what_a_line_of_its_own_has_told_is_not_told_as_a_reason_to_wait():
    async with a_play() as play:
        await play.commits("t", images=10)
        await play.scheduler.tasks.machine_steps.write(a_machine(*STEPS[:1]))
        word = TaskWaits(task=T, reason=f"machine {M} is being created")
        await play.scheduler.placement.placement_loop.take_supply(SupplyChanged(at_ms=0, comes=(word,), meant={T: M}))
        before = lines(play.task("t"))
        await play.passes(60)
        await play.scheduler.placement.explainer.explain()
        assert lines(play.task("t")) == before
        assert word.reason in play.task("t").waiting_because
