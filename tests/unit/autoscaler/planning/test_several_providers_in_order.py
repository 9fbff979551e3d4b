"""Several providers in one file: which offer is tried next, and why not the one before."""

from typing import Any

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.autoscaler.config.core.configuration import ProviderLimits, ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.plan import ScalingPlan, plan

NOW = 1_000_000_000
S = MachineState


def size(slug: str, images: int, price: float, provider: str) -> Size:
    return Size(slug=slug, max_images=images, price_per_hour=price, provider=provider)


SIZES = (
    size("s", 50, 2.0, "first"),
    size("m", 60, 1.0, "second"),
    size("l", 500, 8.0, "first"),
    size("x", 600, 6.0, "second"),
)
FIRST = ProviderLimits(name="first", regions=("here",))
SECOND = ProviderLimits(name="second", regions=("there",))


def limits(**changes: Any) -> ScalingLimits:
    return ScalingLimits(**{"sizes": SIZES, "providers": (FIRST, SECOND), "create_retries": 5, **changes})


def machine(name: str, state: MachineState, of: Size, **more: Any) -> Machine:
    facts = {"requested_at_ms": NOW - 600_000, "state_at_ms": NOW - 600_000, "called_at_ms": NOW - 600_000} | more
    region = "here" if of.provider == "first" else "there"
    return Machine(id=MachineId(name), state=state, provider=of.provider, region=region, size=of.slug,
                   max_images=of.max_images, price_per_hour=of.price_per_hour, **facts)  # fmt: skip


def failed(of: Size, trouble: Trouble, age_ms: int = 1000) -> Machine:
    at_ms = NOW - age_ms
    return machine(f"failed {of.slug}", S.FAILED, of, requested_at_ms=at_ms - 1000, failed_at_ms=at_ms,
                   failure=f"{of.slug} said no", trouble=str(trouble))  # fmt: skip


def decide(machines: list[Machine], images: int | None = 10, tasks: int = 1, **changes: Any) -> ScalingPlan:
    seen = PlanInput(
        now_ms=WallMs(NOW),
        machines=[each for each in machines if not each.state.ended],
        history=MachineHistory(machines),
        waiting=[WaitingTask(task=TaskId(f"t{number}"), images_count=images) for number in range(tasks)],
        loads={},
    )
    return plan(limits(**changes), seen)


def rented(found: ScalingPlan) -> list[str]:
    return [str(each.offer) for each in found.create]


@pytest.mark.parametrize(
    ("machines", "changes", "offer"),
    [
        pytest.param([], {}, "s in here at first", id="the first"),
        pytest.param([], {"by_price": True}, "m in there at second", id="the cheapest"),
        *(
            pytest.param([failed(SIZES[0], trouble)], {}, "m in there at second", id=f"the first fails: {trouble}")
            for trouble in Trouble
        ),
        pytest.param(
            [failed(SIZES[0], Trouble.OUT_OF_CAPACITY), failed(SIZES[1], Trouble.OUT_OF_CAPACITY)],
            {},
            "l in here at first",
            id="both are sold out: larger of the first",
        ),
        pytest.param(
            [failed(SIZES[0], Trouble.REFUSED), failed(SIZES[1], Trouble.REFUSED)],
            {"create_retries": 1},
            "l in here at first",
            id="both are refused: larger of the first",
        ),
        pytest.param(
            [failed(SIZES[0], Trouble.UNAUTHORISED), failed(SIZES[1], Trouble.OUT_OF_CAPACITY)],
            {},
            "x in there at second",
            id="no larger size of one whose key is refused",
        ),
        pytest.param(
            [failed(SIZES[1], Trouble.OUT_OF_CAPACITY)], {"by_price": True}, "s in here at first", id="the next price"
        ),
        pytest.param(
            [failed(SIZES[0], Trouble.RETRYABLE, age_ms=20_000)], {}, "s in here at first", id="its rest is over"
        ),
        pytest.param(
            [machine("a", S.BUSY, SIZES[0], tasks=(TaskId("x"),))],
            {"providers": (ProviderLimits(name="first", regions=("here",), machines_count=1), SECOND)},
            "m in there at second",
            id="its limit is reached",
        ),
    ],
)
def test_the_next_provider_is_tried(machines: list[Machine], changes: dict[str, Any], offer: str):
    assert rented(decide(machines, **changes)) == [offer]


@pytest.mark.parametrize("by_price", [False, True])
def test_a_task_that_nobody_has_counted_gets_the_largest_of_its_provider(by_price: bool):
    expected = "x in there at second" if by_price else "l in here at first"
    assert rented(decide([], images=None, by_price=by_price)) == [expected]


def test_the_reason_travels_with_what_is_ordered_instead():
    (creation,) = decide([failed(SIZES[0], Trouble.UNAUTHORISED)]).create
    assert "what comes before it is not to be had: s in here at first: s said no" in creation.reason


def test_where_none_is_left_every_reason_is_told():
    found = decide([failed(each, Trouble.UNAUTHORISED) for each in SIZES[:2]])
    (wait,) = found.waits
    assert "s said no" in wait.reason
    assert "m said no" in wait.reason
    assert found.troubles == {"first": "s said no", "second": "m said no"}
    assert found.trouble == "first: s said no; second: m said no"


def test_a_failure_of_one_is_not_made_good_by_the_other():
    came = machine("b", S.BUSY, SIZES[1], created_at_ms=NOW - 100, requested_at_ms=NOW - 500, tasks=(TaskId("x"),))
    assert decide([failed(SIZES[0], Trouble.RETRYABLE), came]).troubles == {"first": "s said no"}


def test_limits_hold_for_each_and_in_all():
    own = (
        ProviderLimits(name="first", regions=("here",), machines_count=2),
        ProviderLimits(name="second", regions=("there",), machines_count=2),
    )
    found = decide([], tasks=5, providers=own, machines_count=3)
    assert rented(found) == ["s in here at first"] * 2 + ["m in there at second"]
    assert [each.reason for each in found.waits] == ["the limit of 3 machines is reached"] * 2
    found = decide([], tasks=5, providers=own)
    assert [each.reason for each in found.waits] == [
        "the limit of 2 machines at first is reached; the limit of 2 machines at second is reached"
    ]
