"""Which waiting tasks need no machine of their own: a slot of another gets free in time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.run_times import RunTimes, Workload
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.plan import ScalingPlan, plan
from clusterodm.services.autoscaler.planning.core.requests import SHARES

SMALL = Size(slug="small", max_images=50, price_per_hour=1.0)
LARGE = Size(slug="large", max_images=500, price_per_hour=4.0)
NOW = 1_000_000_000
RUNS_S, START_S = 60, 150
"""How long each task runs, and how long a machine takes to come: both have been learned."""
S = MachineState


def run_times() -> RunTimes:
    found = RunTimes()
    for _ in range(40):
        found.learn(Workload(images_count=10), "small", RUNS_S * 1000)
        found.learn(Workload(images_count=10), "large", RUNS_S * 1000)
    return found


TIMES = run_times()


def machine(name: str, state: MachineState = S.BUSY, size: Size = SMALL, **more: Any) -> Machine:
    facts: dict[str, Any] = {"requested_at_ms": NOW - 600_000, "called_at_ms": NOW - 600_000, "state_at_ms": NOW - 1000}
    return Machine(
        id=MachineId(name), state=state, provider="test", size=size.slug, max_images=size.max_images,
        tasks_at_once_count=size.tasks_at_once_count, **facts | more,
    )  # fmt: skip


def came(number: int) -> Machine:
    return machine(
        f"gone {number}", S.GONE, requested_at_ms=NOW - 9_000_000, called_at_ms=NOW - 9_000_000,
        online_at_ms=NOW - 9_000_000 + START_S * 1000, ended_at_ms=NOW - 8_000_000,
    )  # fmt: skip


def waits(name: str, images: int = 10, **more: Any) -> WaitingTask:
    return WaitingTask(task=TaskId(name), images_count=images, waiting_since_ms=NOW, **more)


def runs(*tasks: str, since_s: int = 0) -> Load:
    names = tuple(TaskId(each) for each in tasks)
    return Load(tasks=names, running_count=len(names), running_since_ms=dict.fromkeys(names, NOW - since_s * 1000))


def decide(
    machines: list[Machine], waiting: list[WaitingTask], loads: dict[str, Load] | None = None, **changes: Any
) -> ScalingPlan:
    limits = ScalingLimits(**{"sizes": (SMALL, LARGE), "tasks_per_machine_count": 0, **changes})
    known = {MachineId(name): load for name, load in (loads or {}).items()}
    seen = PlanInput(
        now_ms=NOW,
        machines=machines,
        history=MachineHistory([*(came(number) for number in range(3)), *machines]),
        waiting=waiting,
        loads=known,
        workloads={task: Workload(images_count=10) for load in known.values() for task in load.tasks},
        run_times=TIMES,
    )
    return plan(limits, seen)


def busy(name: str, *tasks: str, **more: Any) -> Machine:
    return machine(name, tasks=tuple(map(TaskId, tasks)), **more)


def shared(found: ScalingPlan) -> list[str]:
    return [each.task for each in found.comes if each.reason == SHARES]


# --- machines that exist -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting_count", "created_count"),
    [
        pytest.param(1, 0, id="one, in a minute"),
        pytest.param(2, 0, id="two, in two minutes"),
        pytest.param(3, 1, id="the third would wait longer than a start takes"),
    ],
)
def test_a_task_waits_for_a_machine_that_is_free_before_a_new_one_would_be_there(
    waiting_count: int, created_count: int
):
    found = decide([busy("a", "x")], [waits(f"t{n}") for n in range(waiting_count)], {"a": runs("x")})
    assert len(found.create) == created_count
    assert len(shared(found)) == waiting_count - created_count


def test_a_machine_that_takes_one_task_only_gets_free_for_nobody():
    found = decide([busy("a", "x")], [waits("t")], {"a": runs("x", since_s=50)}, tasks_per_machine_count=1)
    assert len(found.create) == 1


def test_a_machine_takes_no_more_than_it_may_have():
    waiting = [waits("t1"), waits("t2")]
    found = decide([busy("a", "x")], waiting, {"a": runs("x")}, tasks_per_machine_count=2)
    assert (shared(found), len(found.create)) == (["t1"], 1)


@pytest.mark.parametrize(
    ("known", "load", "task"),
    [
        pytest.param(busy("a", "x"), runs("x", since_s=3600), waits("t"), id="its task goes on for ever"),
        pytest.param(busy("a", "x"), runs("x"), waits("t", 100), id="it is too small"),
        pytest.param(busy("a", "x"), runs("x"), waits("t", barred=(MachineId("a"),)), id="it has refused the task"),
        pytest.param(busy("a", "x", state=S.DRAINING), runs("x"), waits("t"), id="it is drained"),
        pytest.param(
            busy("a", "x"), Load(tasks=(TaskId("x"),), running_count=1, locked=True), waits("t"), id="it is locked"
        ),
        pytest.param(
            busy("a", "x"), Load(tasks=(TaskId("x"),), running_count=1, online=False), waits("t"), id="it is silent"
        ),
    ],
)
def test_a_machine_that_gets_not_free_for_a_task_in_time_counts_for_nothing(
    known: Machine, load: Load, task: WaitingTask
):
    assert len(decide([known], [task], {"a": load}).create) == 1


def test_a_small_task_leaves_the_large_machine_to_a_large_one():
    machines = [busy("s", "x"), busy("l", "y", size=LARGE)]
    loads = {"s": runs("x"), "l": runs("y", since_s=30)}
    found = decide(machines, [waits("small"), waits("large", 400)], loads)
    assert found.create == ()


def test_a_machine_on_its_way_is_counted_on_for_the_task_behind_its_first():
    coming = machine("a", S.CREATING, called_at_ms=NOW - 100_000, for_task=TaskId("t1"))
    found = decide([coming], [waits("t1"), waits("t2")])
    assert (shared(found), found.create) == (["t2"], ())


# --- targetWait ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target_wait_s", "created_count"),
    [
        pytest.param(0, 300, id="none: a machine for each"),
        pytest.param(600, 38, id="ten minutes: eight tasks to a machine"),
        pytest.param(3600, 6, id="an hour"),
    ],
)
def test_three_hundred_one_minute_tasks_rent_as_many_machines_as_their_wait_asks_for(
    target_wait_s: int, created_count: int
):
    found = decide([], [waits(f"t{number:03}") for number in range(300)], target_wait_s=target_wait_s)
    assert abs(len(found.create) - created_count) <= created_count * 0.1
    assert len(found.create) + len(shared(found)) == 300


def test_who_has_waited_long_enough_gets_a_machine():
    old = WaitingTask(task=TaskId("old"), images_count=10, waiting_since_ms=NOW - 590_000)
    load = {"a": runs("x", since_s=0), "b": runs("y")}
    machines = [busy("a", "x", "w", size=SMALL), busy("b", "y")]
    first = [waits(f"f{number}") for number in range(6)]
    assert "old" not in shared(decide(machines, [*first, old], load, target_wait_s=600))


# --- several tasks on a machine ------------------------------------------------------------------------------------

SHARED = Size(slug="small", max_images=50, price_per_hour=1.0, tasks_at_once_count=3, memory_bytes=24)


def test_three_tasks_that_come_at_once_share_a_new_machine():
    found = decide([], [waits(f"t{number}") for number in range(7)], sizes=(SHARED,))
    assert (len(found.create), len(shared(found))) == (3, 4)


@pytest.mark.parametrize(
    ("tasks", "created_count"), [pytest.param(("x",), 0, id="room"), pytest.param(("x", "y", "z"), 1, id="full")]
)
def test_a_machine_with_a_free_slot_takes_a_task(tasks: tuple[str, ...], created_count: int):
    known = busy("a", *tasks, size=SHARED)
    found = decide([known], [waits("t")], {"a": runs(*tasks, since_s=900)}, sizes=(SHARED,))
    assert (len(found.create), found.destroy) == (created_count, ())


def test_tasks_that_share_a_machine_share_its_memory():
    alone = Size(slug="large", max_images=50, memory_bytes=24)
    task = waits("t", min_memory_bytes=10)
    assert [each.offer.size.slug for each in decide([], [task], sizes=(SHARED, alone)).create] == ["large"]


def test_a_machine_with_a_task_and_a_free_slot_is_not_idle():
    known = busy("a", "x", size=SHARED, state_at_ms=NOW - 9_000_000)
    assert decide([known], [], {"a": runs("x")}, sizes=(SHARED,)).destroy == ()


def test_a_machine_is_drained_when_all_the_tasks_that_it_may_have_run():
    known = busy("a", "x", "y", size=SHARED)
    more = {"sizes": (SHARED,), "tasks_per_machine_count": 2}
    assert [each.machine for each in decide([known], [], {"a": runs("x", "y")}, **more).drain] == ["a"]
    still_sent = Load(tasks=(TaskId("x"), TaskId("y")), running_count=1, uploading_since_ms=NOW)
    assert decide([known], [], {"a": still_sent}, **more).drain == ()


# --- createRate ----------------------------------------------------------------------------------------------------


def test_no_more_machines_are_requested_in_a_minute_than_may_be():
    lately = [machine(f"m{n}", S.CREATING, requested_at_ms=NOW - 59_000, called_at_ms=NOW - 59_000) for n in range(3)]
    tasks = [waits(f"t{number}") for number in range(9)]
    found = decide(lately, tasks, create_rate_count=5, tasks_per_machine_count=1)
    assert len(found.create) == 2
    assert {each.reason for each in found.waits} == {"no more than 5 machines are started in a minute"}


# --- for all -------------------------------------------------------------------------------------------------------

sizes = st.sampled_from([SMALL, LARGE, SHARED])
states = st.sampled_from([S.REQUESTED, S.CREATING, S.SETTING_UP, S.ONLINE, S.BUSY, S.IDLE, S.DRAINING])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Machine], dict[str, Load]]:
    machines, loads = [], {}
    for number in range(draw(st.integers(0, 6))):
        state, size = draw(states), draw(sizes)
        count = draw(st.integers(1, size.tasks_at_once_count)) if state in {S.BUSY, S.DRAINING} else 0
        names = tuple(f"m{number} {each}" for each in range(count))
        machines.append(busy(f"m{number}", *names, state=state, size=size))
        loads[f"m{number}"] = runs(*names, since_s=draw(st.integers(0, 300)))
    return machines, loads


@given(
    world=worlds(),
    images=st.lists(st.integers(1, 600), max_size=25),
    target_wait_s=st.sampled_from([0, 300, 3600]),
    most=st.sampled_from([0, 3]),
    rate=st.sampled_from([None, 2]),
)
def test_every_task_is_served_or_told_why_and_waiting_longer_never_rents_more(
    world: tuple[list[Machine], dict[str, Load]], images: list[int], target_wait_s: int, most: int, rate: int | None
):
    machines, loads = world
    tasks = [waits(f"t{number}", count) for number, count in enumerate(images)]
    more: dict[str, Any] = {"tasks_per_machine_count": most, "sizes": (SHARED, LARGE), "create_rate_count": rate}
    found = decide(machines, tasks, loads, target_wait_s=target_wait_s, **more)
    told = [each.task for each in (*found.comes, *found.waits)] + [each.for_task for each in found.create]
    assert sorted(told, key=str) == sorted(task.task for task in tasks)
    patient = decide(machines, tasks, loads, target_wait_s=target_wait_s + 7200, **more)
    assert len(patient.create) <= len(found.create)
    assert not {each.machine for each in found.destroy} & {each.id for each in machines if each.tasks}
