"""Spot machines, graphics cards and owners' budgets: what is rented for whom, and why not."""

from collections.abc import Sequence
from typing import Any

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, Owner, TaskId
from clusterodm.services.autoscaler.cluster.core import Workload
from clusterodm.services.autoscaler.config.core.configuration import OwnerBudget, ScalingLimits, WarmPool
from clusterodm.services.autoscaler.machine_life.history import DAY_MS, MachineHistory
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.planning.core.budget import of_owners
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.plan import ScalingPlan, plan
from clusterodm.services.autoscaler.planning.core.sizing import matched

NOW = WallMs(1_000_000_000)
HOUR_MS = 3_600_000
S = MachineState
SPOT = Size(slug="m5", max_images=50, price_per_hour=0.3, spot=True, interruptions_limit_count=1)
STAYS = Size(slug="m5", max_images=50, price_per_hour=1.0)
GPU = Size(slug="g5", max_images=50, price_per_hour=4.0, gpu=True)
LARGE = Size(slug="l", max_images=500, price_per_hour=6.0)


def machine(name: str, state: MachineState = S.ONLINE, size: Size = STAYS, **more: Any) -> Machine:
    facts = {"requested_at_ms": NOW - 1000, "state_at_ms": NOW - 1000, "called_at_ms": NOW - 1000} | more
    return Machine(
        id=MachineId(name),
        state=state,
        provider="test",
        size=size.slug,
        max_images=size.max_images,
        price_per_hour=size.price_per_hour,
        spot=size.spot,
        interruptions_limit_count=size.interruptions_limit_count,
        gpu=size.gpu,
        **facts,
    )


def failed(size: Size, trouble: Trouble = Trouble.OUT_OF_CAPACITY) -> Machine:
    return machine(
        f"failed {size.offered}", S.FAILED, size, failed_at_ms=NOW - 500, failure="sold out", trouble=str(trouble)
    )


def waits(name: str = "t", images: int | None = 10, **more: Any) -> WaitingTask:
    return WaitingTask(task=TaskId(name), images_count=images, **more)


def decide(
    waiting: Sequence[WaitingTask], machines: Sequence[Machine] = (), owner: str = "", **limits: Any
) -> ScalingPlan:
    seen = PlanInput(
        now_ms=NOW,
        machines=[each for each in machines if not each.state.ended],
        history=MachineHistory(machines),
        waiting=waiting,
        loads={},
        workloads={task.task: Workload(images_count=task.images_count, owner=Owner(owner)) for task in waiting},
    )
    return plan(ScalingLimits(**{"sizes": (SPOT, STAYS), "create_retries": 5, **limits}), seen)


def rented(found: ScalingPlan) -> list[str]:
    return [str(each.offer) for each in found.create]


# --- spot ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "machines", "offer"),
    [
        pytest.param(waits(), [], "m5 (spot)", id="the first attempt"),
        pytest.param(waits(interruptions_count=1), [], "m5", id="after an interruption"),
        pytest.param(waits(), [failed(SPOT)], "m5", id="sold out"),
        pytest.param(waits(interruptions_count=1), [machine("a", size=SPOT)], "m5", id="a spot machine is there"),
    ],
)
def test_a_spot_machine_comes_first_and_one_that_stays_where_that_is_no_good(
    task: WaitingTask, machines: list[Machine], offer: str
):
    assert rented(decide([task], machines)) == [offer]


def test_an_interruption_less_than_the_file_allows_changes_nothing():
    patient = Size(slug="m5", max_images=50, price_per_hour=0.3, spot=True, interruptions_limit_count=3)
    assert rented(decide([waits(interruptions_count=2)], sizes=(patient, STAYS))) == ["m5 (spot)"]
    assert rented(decide([waits(interruptions_count=3)], sizes=(patient, STAYS))) == ["m5"]


def test_where_nothing_else_is_there_it_is_a_spot_machine_again():
    alone = Size(slug="m5", max_images=50, spot=True)
    assert rented(decide([waits(interruptions_count=7)], sizes=(alone,))) == ["m5 (spot)"]


def test_what_is_sold_out_as_spot_is_not_held_against_the_one_that_stays():
    (creation,) = decide([waits()], [failed(SPOT)]).create
    assert creation.reason.endswith("what comes before it is not to be had: m5 (spot): sold out")
    assert rented(decide([waits()], [failed(STAYS)])) == ["m5 (spot)"]


def test_the_task_is_told_why_its_machine_costs_more():
    (creation,) = decide([waits(interruptions_count=1)]).create
    assert creation.reason == "a task of 10 images waits; on demand, since its machine was taken away"


def test_a_free_spot_machine_is_for_others():
    spot, stays = machine("b", size=SPOT), machine("a", size=STAYS)
    tasks = [waits("interrupted", interruptions_count=1), waits("new", 20)]
    found = matched(tasks, [spot, stays])
    assert {task: each.id for task, each in found.items()} == {"interrupted": "a", "new": "b"}


# --- graphics cards ------------------------------------------------------------------------------------------------

WITH_GPU = {"sizes": (STAYS, GPU, LARGE)}


@pytest.mark.parametrize(
    ("task", "machines", "offers"),
    [
        pytest.param(waits(gpu=True), [], ["g5"], id="who asks for one"),
        pytest.param(waits(), [], ["m5"], id="who does not"),
        pytest.param(waits(images=60), [], ["l"], id="too large for it"),
        pytest.param(waits(images=None), [], ["l"], id="of unknown size"),
        pytest.param(waits(gpu=True), [machine("a")], ["g5"], id="a machine without one is free"),
        pytest.param(waits(gpu=True), [machine("a", size=GPU)], [], id="a machine with one is free"),
        pytest.param(waits(), [failed(STAYS), failed(LARGE)], ["g5"], id="nothing else is to be had"),
    ],
)
def test_a_machine_with_a_graphics_card_is_rented_for_who_asks_for_one(
    task: WaitingTask, machines: list[Machine], offers: list[str]
):
    assert rented(decide([task], machines, **WITH_GPU)) == offers


def test_a_free_machine_with_a_card_is_left_to_who_asks_for_it():
    tasks = [waits("any", 50), waits("asks", 10, gpu=True)]
    assert matched(tasks, [machine("card", size=GPU)]) == {TaskId("asks"): machine("card", size=GPU)}
    found = matched(tasks, [machine("card", size=GPU), machine("plain")])
    assert {task: each.id for task, each in found.items()} == {"asks": "card", "any": "plain"}
    assert list(matched(tasks[:1], [machine("card", size=GPU)])) == ["any"]


def test_without_any_size_that_has_one_the_task_is_told_so():
    (wait,) = decide([waits(gpu=True)]).waits
    assert (wait.never, wait.reason) == (True, "no machine size has a graphics card, which its options ask for")


def test_a_card_at_a_size_that_is_too_small_is_told_as_such():
    (wait,) = decide([waits("t", 60, gpu=True)], sizes=(GPU, LARGE)).waits
    assert wait.reason == "no machine size with a graphics card takes 60 images (the largest 50)"


def test_a_machine_for_a_task_that_asks_for_a_card_says_so():
    (creation,) = decide([waits(gpu=True)], sizes=(STAYS, GPU)).create
    assert creation.reason == "a task of 10 images that asks for a graphics card waits"


# --- budgets of owners ---------------------------------------------------------------------------------------------

BUDGETS = {"guest": OwnerBudget(max_hourly_cost=1.5, max_daily_cost=20.0), "*": OwnerBudget(max_daily_cost=4.0)}
OWN = {"sizes": (STAYS,), "budgets": BUDGETS}


def spent(owner: str, hours: int, name: str = "old") -> Machine:
    ended_ms = NOW - HOUR_MS
    return machine(name, S.GONE, owner=Owner(owner), called_at_ms=ended_ms - hours * HOUR_MS, ended_at_ms=ended_ms)


def test_an_owner_over_its_hourly_budget_gets_no_more_machines():
    found = decide([waits("one"), waits("two")], owner="guest", **OWN)
    assert len(found.create) == 1
    (wait,) = found.waits
    assert wait.reason == "over budget of guest: machines cost 1 per hour, 1 more exceeds 1.5"


def test_what_an_owner_has_spent_today_counts_and_what_others_have_does_not():
    assert rented(decide([waits()], [spent("guest", 20)], "guest", **OWN)) == []
    assert rented(decide([waits()], [spent("other", 20)], "guest", **OWN)) == ["m5"]
    assert rented(decide([waits()], [spent("other", 20)], "other", **OWN)) == []
    assert rented(decide([waits()], [spent("", 20)], "", **OWN)) == ["m5"]


def test_machines_that_were_rented_for_an_owner_count_until_they_go():
    alive = machine("a", S.BUSY, owner=Owner("guest"), tasks=(TaskId("x"),))
    assert rented(decide([waits()], [alive], "guest", **OWN)) == []
    assert rented(decide([waits()], [alive], "other", **OWN)) == ["m5"]


def test_an_owner_over_budget_uses_what_is_there():
    found = decide([waits()], [machine("a"), spent("guest", 20)], "guest", **OWN)
    assert (rented(found), found.waits) == ([], ())


def test_the_budget_of_the_cluster_holds_besides():
    found = decide([waits()], owner="guest", **OWN, max_hourly_cost=0.5)
    assert [wait.reason for wait in found.waits] == ["over budget: a machine costs 1 per hour, the limit is 0.5"]


def test_one_owner_over_budget_keeps_no_other_from_a_machine():
    tasks = [waits("a"), waits("b"), waits("c")]
    owners = {"a": "guest", "b": "guest", "c": "other"}
    seen = PlanInput(
        now_ms=NOW,
        machines=[],
        history=MachineHistory(),
        waiting=tasks,
        loads={},
        workloads={task.task: Workload(images_count=10, owner=Owner(owners[task.task])) for task in tasks},
    )
    found = plan(ScalingLimits(**OWN), seen)
    assert [(each.for_task, each.owner) for each in found.create] == [("a", "guest"), ("c", "other")]
    assert [wait.task for wait in found.waits] == ["b"]


def test_a_tenant_goes_by_its_name_whatever_its_tasks_are_marked_with():
    found = decide([waits("one", tenant="guest"), waits("two", tenant="guest")], owner="5f2a9c41d07e", **OWN)
    assert [each.owner for each in found.create] == ["guest"]
    assert "over budget of guest" in found.waits[0].reason


def test_the_warm_pool_is_nobodys():
    found = decide([], owner="guest", **OWN, warm=(WarmPool(machines_count=1, max_images=10),))
    assert [each.owner for each in found.create] == [""]


def test_how_owners_stand_is_told_as_long_as_it_counts():
    history = MachineHistory([spent("guest", 3), spent("other", 2, "older"), spent("", 1, "nobody's")])
    alive = [machine("a", S.BUSY, owner=Owner("guest"), called_at_ms=NOW - HOUR_MS)]
    found = {each.owner: each for each in of_owners(ScalingLimits(**OWN), alive, history, NOW)}
    assert {owner: (each.cost_per_hour, round(each.cost_last_day, 6)) for owner, each in found.items()} == {
        "guest": (1.0, 4.0),
        "other": (0.0, 2.0),
    }
    later = {each.owner: each for each in of_owners(ScalingLimits(**OWN), [], history, WallMs(NOW + 2 * DAY_MS))}
    assert {owner: each.cost_last_day for owner, each in later.items()} == {"guest": 0.0, "other": 0.0}
    history.forget(spent("other", 2, "older"))
    assert "other" not in history.spending_of
