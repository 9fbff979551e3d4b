"""Demand, machines, limits and the time in; what to create, drain and destroy out, with reasons."""

from typing import Any

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits, WarmPool
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.machines.core import NodeCheck
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.planning.core.kept_results import kept_because
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.offer_fallback import clock_time
from clusterodm.services.autoscaler.planning.core.plan import ScalingPlan, plan

SMALL = Size(slug="small", max_images=50, price_per_hour=1.0)
LARGE = Size(slug="large", max_images=500, price_per_hour=4.0, max_bytes=1000)
NOW = 1_000_000_000
S = MachineState


def limits(**changes: Any) -> ScalingLimits:
    return ScalingLimits(**{"sizes": (SMALL, LARGE), "regions": ("here", "there"), **changes})


def waits(name: str, images: int | None = 10, **more: Any) -> WaitingTask:
    return WaitingTask(task=TaskId(name), images_count=images, **more)


def machine(name: str, state: MachineState = S.IDLE, size: Size = SMALL, **more: Any) -> Machine:
    facts: dict[str, Any] = {
        "region": "here",
        "requested_at_ms": NOW - 600_000,
        "state_at_ms": NOW - 600_000,
        "called_at_ms": None if state is S.REQUESTED else NOW - 600_000,
    } | more
    return Machine(
        id=MachineId(name),
        state=state,
        provider="test",
        size=size.slug,
        max_images=size.max_images,
        max_bytes=size.max_bytes,
        price_per_hour=size.price_per_hour,
        **facts,
    )


def failed(name: str, age_ms: int, trouble: Trouble, size: Size = SMALL, **more: Any) -> Machine:
    at_ms = NOW - age_ms
    return machine(
        name, S.FAILED, size, requested_at_ms=at_ms - 1000, failed_at_ms=at_ms, failure="made to fail", trouble=trouble,
        **more,
    )  # fmt: skip


def decide(
    machines: list[Machine] | None = None,
    waiting: list[WaitingTask] | None = None,
    loads: dict[str, Load] | None = None,
    paused: str = "",
    now_ms: int = NOW,
    slot_free: list[WaitingTask] | None = None,
    **changes: Any,
) -> ScalingPlan:
    known = {MachineId(name): load for name, load in (loads or {}).items()}
    alive = [each for each in machines or [] if not each.state.ended]
    history = MachineHistory(machines or [])
    view = PlanInput(
        now_ms=now_ms,
        machines=alive,
        history=history,
        waiting=waiting or [],
        slot_free=slot_free or [],
        loads=known,
        paused=paused,
    )
    return plan(limits(**changes), view)


def created(found: ScalingPlan) -> list[tuple[str, str]]:
    return [(each.offer.size.slug, each.offer.region) for each in found.create]


def destroyed(found: ScalingPlan) -> dict[str, str]:
    return {each.machine: each.reason for each in found.destroy}


# --- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "because"),
    [
        pytest.param(waits("t"), "machines are reserved for survey", id="nobody's task"),
        pytest.param(waits("t", tenant="guest"), "machines are reserved for survey", id="another tenant's"),
        pytest.param(waits("t", tenant="survey", labels=("fast",)), "machines have no label fast", id="no such label"),
        pytest.param(waits("t", tenant="survey", labels=("gpu",)), "", id="what it needs"),
        pytest.param(waits("t", tenant="survey"), "", id="it needs nothing"),
    ],
)
def test_no_machine_is_rented_for_a_task_that_may_not_go_there(task: WaitingTask, because: str):
    found = decide(waiting=[task], labels=("gpu", "tenant=survey"))
    assert created(found) == ([] if because else [("small", "here")])
    assert [(each.reason, each.never) for each in found.waits] == ([(because, True)] if because else [])


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        pytest.param(("gpu",), 0, id="it takes it"),
        pytest.param((), 1, id="its label is gone"),
        pytest.param(("gpu", "tenant=guest"), 1, id="it is reserved for another"),
    ],
)
@pytest.mark.parametrize("state", [S.IDLE, S.SETTING_UP], ids=["free", "on its way"])
def test_a_machine_counts_only_for_tasks_that_its_labels_let_in(labels: tuple[str, ...], count: int, state: S):
    task = waits("t", tenant="survey", labels=("gpu",))
    found = decide([machine("m", state, labels=labels, for_task=TaskId("t"))], [task], labels=("gpu",))
    assert len(found.create) == count
    assert found.meant == ({} if count else {"t": "m"}), "nobody waits for a machine that does not take it"


@pytest.mark.parametrize(("labels", "count"), [(("gpu",), 0), ((), 1)], ids=["it takes it", "it does not"])
def test_a_task_waits_for_a_busy_machine_only_where_that_takes_it(labels: tuple[str, ...], count: int):
    busy = machine("m", S.BUSY, labels=labels, tasks=(TaskId("x"),))
    loads = {"m": Load(tasks=(TaskId("x"),), running_count=1, running_since_ms={TaskId("x"): NOW - 500})}
    task = waits("t", tenant="survey", labels=("gpu",), waiting_since_ms=NOW)
    found = decide([busy], [task], loads, labels=("gpu",), tasks_per_machine_count=0, target_wait_s=86_400)
    assert len(found.create) == count


# --- creating ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "size"),
    [
        pytest.param(waits("t", 1), "small", id="few images"),
        pytest.param(waits("t", 50), "small", id="as many as fit"),
        pytest.param(waits("t", 51), "large", id="one more"),
        pytest.param(waits("t", None), "large", id="images in an archive that nobody has counted"),
        pytest.param(waits("t", None, size_bytes=2000), "small", id="not counted, too large for the largest"),
    ],
)
def test_a_task_gets_the_smallest_size_that_fits(task: WaitingTask, size: str):
    assert created(decide(waiting=[task])) == [(size, "here")]


def test_a_machine_for_an_unknown_number_of_images_says_so_and_is_named_by_its_size():
    (creation,) = decide(waiting=[waits("t", None)]).create
    assert (creation.images_count, creation.reason) == (500, "a task of an unknown number of images waits")


def test_a_task_of_unknown_size_takes_the_largest_machine_that_others_leave():
    machines = [machine("s"), machine("l", size=LARGE)]
    assert decide(machines, [waits("t", None)]).comes[0].task == "t"
    found = decide([machine("s"), machine("l", size=LARGE)], [waits("t", None), waits("u", 100), waits("v", 50)])
    assert [each.offer.size.slug for each in found.create] == ["large"]


def test_a_machine_that_has_refused_a_task_is_not_its_machine():
    found = decide([machine("s")], [waits("t", barred=(MachineId("s"),))])
    assert created(found) == [("small", "here")]


@pytest.mark.parametrize(
    ("task", "never", "more"),
    [
        pytest.param(waits("t", 501), True, {}, id="no such size"),
        pytest.param(waits("t", 4), True, {"min_images": 5}, id="too few images"),
        pytest.param(waits("t", 60), False, {"machines_count": 0}, id="the limit of machines"),
        pytest.param(waits("t", 60), False, {"paused": "paused"}, id="paused"),
    ],
)
def test_it_is_said_whether_waiting_may_help(task: WaitingTask, never: bool, more: dict[str, Any]):
    assert [each.never for each in decide(waiting=[task], **more).waits] == [never]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        pytest.param(waits("t", 501), "no machine size takes 501 images (the largest 500)", id="too many images"),
        pytest.param(waits("t", 60, size_bytes=1001), "no machine size takes 60 images of 1001 bytes", id="bytes"),
        pytest.param(waits("t", 4), "4 images are too few for a machine (minImages 5)", id="too few images"),
    ],
)
def test_a_task_without_a_size_waits_and_says_so(task: WaitingTask, reason: str):
    found = decide(waiting=[task], min_images=5)
    assert (found.create, found.waits[0].reason) == ((), reason)


def test_a_task_that_ran_out_of_memory_gets_a_size_with_more():
    sizes = (Size(slug="small", max_images=50, memory_bytes=8), Size(slug="large", max_images=500, memory_bytes=16))
    assert created(decide(waiting=[waits("t", min_memory_bytes=8)], sizes=sizes)) == [("large", "here")]


def test_the_memory_of_a_size_is_learned_from_its_machines():
    known = machine("a", S.GONE, memory_bytes=8)
    assert created(decide([known], [waits("t", min_memory_bytes=8)])) == [("large", "here")]


def test_every_waiting_task_gets_a_machine_of_its_own():
    assert len(decide(waiting=[waits(f"t{number}") for number in range(7)]).create) == 7


@pytest.mark.parametrize("state", [S.ONLINE, S.IDLE])
def test_a_machine_that_an_operator_has_locked_serves_no_task_and_stays(state: MachineState):
    found = decide([machine("a", state)], [waits("t")], {"a": Load(locked=True)})
    assert (created(found), found.destroy, found.meant) == ([("small", "here")], (), {})


def test_a_machine_serves_the_task_that_it_was_requested_for_before_any_other():
    known = machine("a", S.CREATING, for_task=TaskId("t1"))
    found = decide([known], [waits("t1", 10), waits("t2", 50)])
    assert [each.for_task for each in found.create] == ["t2"]


@pytest.mark.parametrize("state", [S.REQUESTED, S.CREATING, S.SETTING_UP, S.ONLINE, S.IDLE])
def test_a_machine_on_its_way_or_free_serves_a_task(state: MachineState):
    found = decide([machine("a", state)], [waits("t")], tasks_per_machine_count=0)
    assert (found.create, found.destroy) == ((), ())


@pytest.mark.parametrize("state", [S.BUSY, S.DRAINING, S.DESTROYING, S.GONE, S.FAILED])
def test_any_other_machine_serves_none(state: MachineState):
    known = machine("a", state, tasks=(TaskId("other"),))
    found = decide([known], [waits("t")], {"a": Load(tasks=(TaskId("other"),), running_count=1)})
    assert len(found.create) == 1


def test_a_machine_that_is_too_small_serves_no_large_task():
    assert created(decide([machine("a", S.CREATING)], [waits("t", 300)])) == [("large", "here")]


@pytest.mark.parametrize(("silent_s", "created_count"), [(5, 0), (31, 1)])
def test_a_free_machine_whose_node_is_silent_serves_none_after_a_while(silent_s: int, created_count: int):
    known = machine("a", S.ONLINE, offline_since_ms=NOW - silent_s * 1000)
    assert len(decide([known], [waits("t")], {"a": Load(online=False)}).create) == created_count


@pytest.mark.parametrize("state", [S.ONLINE, S.IDLE])
@pytest.mark.parametrize(("silent_s", "goes"), [(179, False), (180, True)])
def test_a_free_machine_whose_node_is_silent_goes_in_the_end_though_nothing_limits_its_time(
    state: MachineState, silent_s: int, goes: bool
):
    known = machine("a", state, offline_since_ms=NOW - silent_s * 1000)
    found = decide([known], loads={"a": Load(online=False)}, idle_timeout_s=10_000, tasks_per_machine_count=3)
    assert destroyed(found) == ({"a": "its node has not answered for 180 s"} if goes else {})
    assert all(each.check is NodeCheck.TASKS for each in found.destroy)


def test_a_silent_machine_stays_for_the_tasks_that_it_has():
    known = machine("a", S.BUSY, tasks=(TaskId("x"),), offline_since_ms=NOW - 900_000)
    load = Load(tasks=(TaskId("x"),), running_count=1, online=False)
    assert decide([known], loads={"a": load}).destroy == ()


def test_large_tasks_leave_small_machines_to_small_ones():
    machines = [machine("a", S.CREATING), machine("b", S.CREATING, LARGE)]
    assert decide(machines, [waits("small", 10), waits("large", 400)]).create == ()


def test_the_limit_holds_and_is_told():
    found = decide([machine("a", S.DESTROYING)], [waits("t1"), waits("t2")], machines_count=2)
    assert len(found.create) == 1
    assert [(each.task, each.reason) for each in found.waits] == [("t2", "the limit of 2 machines is reached")]


def test_a_paused_autoscaler_starts_nothing():
    found = decide(waiting=[waits("t")], paused="the autoscaler is paused")
    assert (found.create, found.waits[0].reason) == ((), "the autoscaler is paused")


# --- failures ------------------------------------------------------------------------------------------------------


def test_after_a_failure_the_next_region_is_tried():
    known = [failed("a", 1000, Trouble.RETRYABLE)]
    assert created(decide(known, [waits("t")], create_retries=3)) == [("small", "there")]


def test_an_offer_that_failed_rests_longer_every_time():
    regions = ("here",)
    once = [failed("a", 9_000, Trouble.RETRYABLE)]
    twice = [failed("b", 19_000, Trouble.RETRYABLE), failed("a", 11_000, Trouble.RETRYABLE)]
    assert created(decide(once, [waits("t")], regions=regions, create_retries=9)) == []
    assert created(decide(twice, [waits("t")], regions=regions, create_retries=9)) == []
    rested = [failed("a", 10_000, Trouble.RETRYABLE)]
    assert created(decide(rested, [waits("t")], regions=regions, create_retries=9)) == [("small", "here")]


def test_one_machine_alone_tries_an_offer_that_has_failed():
    known = [failed("a", 60_000, Trouble.RETRYABLE)]
    tasks = [waits(f"t{number}") for number in range(5)]
    assert created(decide(known, tasks, regions=("here",), create_retries=9)) == [("small", "here")]


@pytest.mark.parametrize("retries", [1, 9])
@pytest.mark.parametrize("trouble", [Trouble.OUT_OF_CAPACITY, Trouble.REFUSED])
def test_a_larger_size_is_tried_when_the_smaller_is_sold_out_or_refused_everywhere(trouble: Trouble, retries: int):
    here, there = failed("a", 2000, trouble), failed("b", 1000, trouble, region="there")
    assert created(decide([here], [waits("t")], create_retries=retries)) == [("small", "there")]
    (creation,) = decide([here, there], [waits("t")], create_retries=retries).create
    assert (creation.offer.size.slug, creation.offer.region) == ("large", "here")
    assert creation.reason.endswith(
        "; what comes before it is not to be had: small in here and small in there: made to fail"
    )


def test_what_would_go_wrong_with_any_size_is_no_reason_for_a_larger_one():
    hiccups = [failed("a", 2000, Trouble.RETRYABLE), failed("b", 1000, Trouble.RETRYABLE, region="there")]
    assert created(decide(hiccups, [waits("t")], create_retries=9)) == []


def test_after_all_retries_in_each_region_there_is_a_pause_that_says_when_it_ends():
    here = [failed("b", 40_000, Trouble.RETRYABLE), failed("a", 20_000, Trouble.RETRYABLE)]
    assert created(decide(here, [waits("t")], create_retries=2)) == [("small", "there")]
    there = [failed(f"{each.id} there", NOW - each.failed_at_ms, Trouble.RETRYABLE, region="there") for each in here]
    known = [*here, *there]
    found = decide(known, [waits("t")], create_retries=2)
    assert found.create == ()
    assert found.waits[0].reason == "no machine could be created (made to fail); next try at 13:47:20 UTC"
    assert found.trouble == "made to fail"
    assert len(decide(known, [waits("t")], create_retries=2, now_ms=NOW + 41_000).create) == 1


def sold_out(age_s: int, size: Size, region: str) -> Machine:
    return failed(f"{size.slug} {region} {age_s}", age_s * 1000, Trouble.OUT_OF_CAPACITY, size, region=region)


def test_the_pause_begins_when_all_that_would_do_has_failed_and_what_was_tried_less_often_than_the_rest_ends_it():
    def once(age_s: int) -> list[Machine]:
        places = [(SMALL, "here"), (SMALL, "there"), (LARGE, "here"), (LARGE, "there")]
        return [sold_out(age_s - 2 * number, *place) for number, place in enumerate(places)]

    assert created(decide(once(9)[:3], [waits("t")], create_retries=1)) == [("large", "there")]
    paused = decide(once(58), [waits("t")], create_retries=1)
    assert paused.waits[0].reason == "no machine could be created (made to fail); next try at 13:46:48 UTC"
    assert created(decide(once(78), [waits("t")], create_retries=1)) == [("small", "here")]
    again = [sold_out(4, SMALL, "here"), sold_out(2, SMALL, "there")]
    assert created(decide([*once(78), *again], [waits("t")], create_retries=1)) == [("large", "here")]


def test_thirty_machines_that_fail_together_are_one_failure():
    known = [failed(f"m{number}", 11_000 + number, Trouble.RETRYABLE) for number in range(30)]
    together = list(known)
    found = decide(together, [waits("t")], regions=("here",), create_retries=2)
    assert len(found.create) == 1


def test_success_wipes_failures_away():
    known = [
        failed("a", 5_000, Trouble.RETRYABLE),
        machine("b", S.BUSY, created_at_ms=NOW - 1000, online_at_ms=NOW - 10),
    ]
    busy = {"b": Load(tasks=(TaskId("x"),))}
    found = decide(known, [waits("t1"), waits("t2")], busy, regions=("here",))
    assert (len(found.create), found.trouble) == (2, "")


def test_a_full_region_opens_as_it_proves_to_have_room():
    full = failed("a", 100_000, Trouble.OUT_OF_CAPACITY)
    come = [
        machine(f"m{number}", S.GONE, requested_at_ms=NOW - 50_000, created_at_ms=NOW - 40_000) for number in range(3)
    ]
    tasks = [waits(f"t{number}") for number in range(20)]
    assert len(decide([full, *come], tasks, regions=("here",)).create) == 6
    gone = machine("b", S.GONE, requested_at_ms=NOW - 110_000, created_at_ms=NOW - 40_000)
    assert len(decide([full, gone], tasks, regions=("here",), sizes=(SMALL,), create_retries=9).create) == 1


def test_wrong_keys_rest_for_minutes():
    known = [failed("a", 120_000, Trouble.UNAUTHORISED)]
    assert decide(known, [waits("t")], regions=("here",), create_retries=9).create == ()


# --- money ---------------------------------------------------------------------------------------------------------


def test_a_task_over_the_hourly_budget_waits_and_says_so():
    found = decide([machine("a", S.BUSY, tasks=(TaskId("x"),))], [waits("t", 100)], max_hourly_cost=4.5)
    assert (found.create, found.waits[0].reason) == (
        (),
        "over budget: machines cost 1 per hour, 4 more exceeds 4.5",
    )


def test_a_machine_that_alone_is_over_the_budget_says_so():
    assert decide(waiting=[waits("t", 100)], max_hourly_cost=3).waits[0].reason == (
        "over budget: a machine costs 4 per hour, the limit is 3"
    )


def test_a_size_that_is_too_dear_is_told_beside_what_is_not_to_be_had():
    full = failed("a", 1_000, Trouble.OUT_OF_CAPACITY)
    (wait,) = decide([full], [waits("t", 10)], regions=("here",), max_hourly_cost=3).waits
    assert wait.reason.startswith("no machine could be created (made to fail)")
    assert wait.reason.endswith("; large: over budget: a machine costs 4 per hour, the limit is 3")


def test_what_was_spent_today_counts():
    spent = machine("a", S.GONE, LARGE, called_at_ms=NOW - 7_200_000, ended_at_ms=NOW - 3_600_000)
    old = machine("b", S.GONE, LARGE, called_at_ms=NOW - 90_000_000, ended_at_ms=NOW - 86_400_001)
    assert len(decide([old, spent], [waits("t")], max_daily_cost=5).create) == 1
    assert decide([old, spent], [waits("t")], max_daily_cost=4.9).waits[0].reason == (
        "over budget: a machine at 1 per hour would exceed 4.9 in 24 hours"
    )


# --- the end of machines -------------------------------------------------------------------------------------------


def test_by_default_a_machine_goes_after_one_task():
    done = machine("a", S.IDLE, state_at_ms=NOW, done=(TaskId("x"),))
    found = decide([done], [waits("t")])
    assert destroyed(found) == {"a": "it has done its 1 task"}
    assert len(found.create) == 1


def test_a_machine_on_which_its_last_task_runs_takes_no_more():
    known = machine("a", S.BUSY, tasks=(TaskId("x"),))
    running = decide([known], loads={"a": Load(tasks=(TaskId("x"),), running_count=1)})
    assert [decision.machine for decision in running.drain] == ["a"]
    uploading = decide([known], loads={"a": Load(tasks=(TaskId("x"),), uploading_since_ms=NOW)})
    assert uploading.drain == ()


def test_a_machine_that_may_take_more_is_used_again():
    known = machine("a", S.IDLE, state_at_ms=NOW - 1, done=(TaskId("x"),))
    found = decide([known], [waits("t")], tasks_per_machine_count=2, idle_timeout_s=60)
    assert (found.create, found.destroy) == ((), ())


@pytest.mark.parametrize(("idle_s", "goes"), [(59, False), (61, True)])
def test_an_idle_machine_is_kept_for_the_idle_timeout(idle_s: int, goes: bool):
    known = machine("a", S.IDLE, state_at_ms=NOW - idle_s * 1000)
    assert bool(decide([known], tasks_per_machine_count=0, idle_timeout_s=60).destroy) is goes


@pytest.mark.parametrize("state", [S.CREATING, S.SETTING_UP])
def test_a_machine_on_its_way_is_waited_for_although_its_task_has_left(state: MachineState):
    assert decide([machine("a", state)]).destroy == ()


def test_a_machine_that_was_only_requested_goes_with_its_task():
    assert destroyed(decide([machine("a", S.REQUESTED)])) == {"a": "no task needs it any more"}


@pytest.mark.parametrize(("age_s", "goes"), [(30, False), (61, True)])
def test_a_machine_whose_task_went_elsewhere_goes_after_a_grace(age_s: int, goes: bool):
    assert bool(decide([machine("a", S.ONLINE, state_at_ms=NOW - age_s * 1000)]).destroy) is goes


@pytest.mark.parametrize("state", [S.ONLINE, S.IDLE])
def test_a_task_for_which_a_slot_is_free_keeps_its_machine_and_orders_none(state: MachineState):
    there = machine("m", state, for_task=TaskId("t"), state_at_ms=NOW - 300_000)
    found = decide([there], slot_free=[waits("t")])
    assert (found.create, found.destroy, found.meant) == ((), (), {"t": "m"})
    assert decide(slot_free=[waits("t")]).create == ()


@pytest.mark.parametrize("state", [S.ONLINE, S.IDLE])
@pytest.mark.parametrize(
    ("age_s", "goes"), [pytest.param(599, False, id="for a while"), pytest.param(601, True, id="too long")]
)
def test_a_machine_that_nobody_takes_for_minutes_is_kept_for_no_task_whatever_the_limits(
    state: MachineState, age_s: int, goes: bool
):
    there = machine("m", state, for_task=TaskId("t"), state_at_ms=NOW - age_s * 1000)
    for tasks in ({"waiting": [waits("t")]}, {"slot_free": [waits("t")]}):
        found = decide([there], max_runtime_s=168 * 3600, max_upload_s=168 * 3600, **tasks)
        assert (destroyed(found) != {}) is goes
        assert found.create == (), "another would be taken as little as this one"


def test_a_machine_on_its_way_to_a_task_whose_proxy_is_away_goes_soon_after_it_has_come():
    there = machine("m", S.ONLINE, for_task=TaskId("t"), state_at_ms=NOW - 61_000)
    assert list(destroyed(decide([there], max_runtime_s=168 * 3600))) == ["m"]


def test_a_drained_machine_goes():
    assert destroyed(decide([machine("a", S.DRAINING)])) == {"a": "it is drained"}


@pytest.mark.parametrize(
    ("state", "load", "facts", "reason"),
    [
        pytest.param(S.BUSY, Load(tasks=(TaskId("x"),), running_count=1), {}, "maximum runtime of 300 s", id="runtime"),
        pytest.param(S.CREATING, Load(), {}, "maximum runtime of 300 s", id="creating for ever"),
        pytest.param(
            S.BUSY,
            Load(tasks=(TaskId("x"),), uploading_since_ms=NOW - 61_000),
            {"called_at_ms": NOW - 100_000},
            "maximum upload time of 60 s",
            id="upload",
        ),
        pytest.param(
            S.ONLINE, Load(), {"called_at_ms": NOW - 100_000, "state_at_ms": NOW - 61_000}, "upload time", id="no task"
        ),
        pytest.param(
            S.BUSY,
            Load(tasks=(TaskId("x"),), running_count=1, online=False),
            {"called_at_ms": NOW - 100_000, "offline_since_ms": NOW - 61_000},
            "offline for more than 60 s",
            id="offline",
        ),
    ],
)
def test_time_limits_end_a_machine(state: MachineState, load: Load, facts: dict[str, Any], reason: str):
    tasks = {"tasks": load.tasks} if load.tasks else {}
    known = machine("a", state, **tasks, **facts)
    found = decide([known], [waits("t")], {"a": load}, max_runtime_s=300, max_upload_s=60)
    assert reason in destroyed(found)["a"]


def test_a_running_task_may_take_longer_than_the_upload():
    known = machine("a", S.BUSY, tasks=(TaskId("x"),))
    assert decide([known], loads={"a": Load(tasks=(TaskId("x"),), running_count=1)}, max_upload_s=60).destroy == ()


# --- the warm pool -------------------------------------------------------------------------------------------------

MONDAY_NINE = (4 * 24 + 9) * 3_600_000
"""1970-01-05 was a Monday."""


@pytest.mark.parametrize(
    ("warm_pool", "hour", "open_"),
    [
        pytest.param({}, 0, True, id="always"),
        pytest.param({"from_minute": 480, "to_minute": 600}, 0, True, id="within"),
        pytest.param({"from_minute": 480, "to_minute": 600}, 2, False, id="later"),
        pytest.param({"days": (1,)}, 0, False, id="another day"),
        pytest.param({"from_minute": 1320, "to_minute": 360, "days": (0,)}, 14, True, id="before midnight"),
        pytest.param({"from_minute": 1320, "to_minute": 360, "days": (0,)}, 20, True, id="after midnight"),
        pytest.param({"from_minute": 1320, "to_minute": 360, "days": (0,)}, 22, False, id="in the morning"),
        pytest.param({"from_minute": 1320, "to_minute": 360, "days": (1,)}, 20, False, id="another night"),
    ],
)
def test_the_warm_pool_has_its_hours(warm_pool: dict[str, Any], hour: int, open_: bool):
    window = WarmPool(machines_count=2, max_images=60, **warm_pool)
    found = decide(warm=(window,), now_ms=MONDAY_NINE + hour * 3_600_000)
    assert created(found) == ([("large", "here")] * 2 if open_ else [])


def test_a_warm_machine_is_kept_and_the_demand_comes_first():
    warm = (WarmPool(machines_count=1, max_images=50),)
    idle = machine("a", S.ONLINE)
    assert decide([idle], warm=warm) == ScalingPlan()
    found = decide([idle], [waits("t")], warm=warm)
    assert (created(found), found.destroy) == ([("small", "here")], ())


def test_without_demand_nothing_is_left():
    machines = [machine("a", S.IDLE), machine("b", S.ONLINE), machine("c", S.IDLE, LARGE)]
    assert set(destroyed(decide(machines))) == {"a", "b", "c"}


# --- results that only their machine has ---------------------------------------------------------------------------

DONE = (TaskId("t"),)


@pytest.mark.parametrize(
    ("state", "facts", "goes"),
    [
        pytest.param(S.IDLE, {"done": DONE, "emptied_at_ms": NOW - 59_000}, False, id="idle, not long enough"),
        pytest.param(S.IDLE, {"done": DONE, "emptied_at_ms": NOW - 60_000}, True, id="idle, long enough"),
        pytest.param(S.DRAINING, {"done": DONE, "emptied_at_ms": NOW - 59_000}, False, id="drained, not long enough"),
        pytest.param(S.DRAINING, {"done": DONE, "emptied_at_ms": NOW - 60_000}, True, id="drained, long enough"),
        pytest.param(S.DRAINING, {}, True, id="drained before it had a task"),
        pytest.param(S.IDLE, {"done": DONE, "state_at_ms": NOW - 59_000}, False, id="a record without that moment"),
    ],
)
@pytest.mark.parametrize("most", [1, 0], ids=["one task each", "used again"])
def test_a_machine_stays_while_its_results_may_be_fetched(
    state: MachineState, facts: dict[str, Any], goes: bool, most: int
):
    found = decide([machine("a", state, **facts)], keep_results_s=60, tasks_per_machine_count=most)
    assert bool(found.destroy) is goes


def test_results_do_not_keep_a_machine_beyond_its_maximum_runtime():
    kept = machine("a", S.IDLE, done=DONE, emptied_at_ms=NOW - 1000)
    assert "maximum runtime" in destroyed(decide([kept], keep_results_s=3600, max_runtime_s=60))["a"]


def test_a_machine_that_only_waits_for_its_results_to_be_fetched_takes_no_task():
    kept = machine("a", S.IDLE, done=DONE, emptied_at_ms=NOW - 1000)
    assert created(decide([kept], [waits("t2")], keep_results_s=3600)) == [("small", "here")]


def kept_machine(name: str, state: MachineState = S.DRAINING, emptied_ms: int = 1_000) -> Machine:
    return machine(name, state, done=DONE, emptied_at_ms=NOW - emptied_ms)


@pytest.mark.parametrize(
    ("kept_count", "machines", "asked"),
    [
        pytest.param(0, [kept_machine("a")], 0, id="it counts unless the file says otherwise"),
        pytest.param(None, [kept_machine("a")], 1, id="apart"),
        pytest.param(None, [kept_machine("a", S.IDLE)], 1, id="used up, and not drained yet"),
        pytest.param(1, [kept_machine("a"), kept_machine("b")], 0, id="only so many do not count"),
        pytest.param(2, [kept_machine("a"), kept_machine("b")], 1, id="both do not"),
        pytest.param(None, [kept_machine("a", emptied_ms=60_000)], 0, id="one that goes now counts until it has gone"),
        pytest.param(None, [machine("a", S.DRAINING, tasks=DONE, done=DONE)], 0, id="one that works counts"),
    ],
)
def test_machines_that_stay_for_their_results_count_apart_where_the_file_says_so(
    kept_count: int | None, machines: list[Machine], asked: int
):
    found = decide(machines, [waits("t2")], keep_results_s=60, kept_machines_count=kept_count, machines_count=1)
    assert len(found.create) == asked
    assert [each.reason for each in found.waits] == ([] if asked else ["the limit of 1 machine is reached"])


@pytest.mark.parametrize(
    ("state", "facts", "most", "said"),
    [
        pytest.param(S.DRAINING, {"done": DONE, "emptied_at_ms": NOW - 1_000}, 1, True, id="drained"),
        pytest.param(S.IDLE, {"done": DONE, "emptied_at_ms": NOW - 1_000}, 1, True, id="used up"),
        pytest.param(S.IDLE, {"done": DONE, "emptied_at_ms": NOW - 1_000}, 0, False, id="it may have another task"),
        pytest.param(S.DRAINING, {"done": DONE, "emptied_at_ms": NOW - 60_000}, 1, False, id="the time is over"),
        pytest.param(S.DRAINING, {"done": DONE, "tasks": DONE}, 1, False, id="its last task still runs"),
        pytest.param(S.DESTROYING, {"done": DONE, "emptied_at_ms": NOW - 1_000}, 1, False, id="it goes"),
    ],
)
def test_a_machine_says_for_how_long_it_stays_for_its_results(
    state: MachineState, facts: dict[str, Any], most: int, said: bool
):
    limits = ScalingLimits(sizes=(SMALL,), keep_results_s=60, tasks_per_machine_count=most)
    found = kept_because(limits, machine("a", state, **facts), WallMs(NOW))
    until = clock_time(NOW + 59_000)
    told = f"it takes no more tasks and stays until {until}: only it has the results (keepResults 60 s)"
    assert found == (told if said else "")
