"""How long tasks should run: learned from those that were completed, by images, bytes, size and options."""

import random
from math import log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.run_times import OPTIONS_COUNT, RunTimes, RunTimesRecord, Workload, options_digest, work
from clusterodm.services.autoscaler.cluster.core import completed_on_machine


def load(images: int | None = 100, **more: object) -> Workload:
    return Workload(images_count=images, **more)  # type: ignore[arg-type]


def learned(*samples: tuple[Workload, str, int], times: int = 20) -> RunTimes:
    found = RunTimes()
    for _ in range(times):
        for each in samples:
            found.learn(*each)
    return found


def near(found: float, expected: float, part: float = 0.15) -> bool:
    return abs(log(found / expected)) < part


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(load(10), load(20), id="images"),
        pytest.param(load(100), load(100, size_bytes=4_000_000_000), id="heavier images"),
        pytest.param(load(None, size_bytes=10**9), load(None, size_bytes=2 * 10**9), id="bytes where nobody has counted"),
        pytest.param(load(0), load(1), id="nothing is known"),
    ],
)  # fmt: skip
def test_more_is_more_work(one: Workload, other: Workload):
    assert work(one) < work(other)


def test_bytes_alone_make_a_task_no_more_than_three_times_as_long():
    assert work(load(100, size_bytes=10**13)) <= 3 * work(load(100))


def test_one_minute_tasks_are_learned_as_such():
    assert near(learned((load(10), "small", 60_000)).expected_ms(load(10), "small"), 60_000)


def test_a_size_that_is_twice_as_fast_is_learned_apart():
    found = learned((load(), "small", 1_000_000), (load(), "large", 500_000))
    assert near(found.expected_ms(load(), "small") / found.expected_ms(load(), "large"), 2)


def test_what_options_cost_on_one_size_helps_on_another():
    found = learned(
        (load(), "small", 1_000_000), (load(options="dear"), "small", 3_000_000), (load(), "large", 500_000), times=60
    )
    assert near(found.expected_ms(load(options="dear"), "large"), 1_500_000, 0.3)


def test_few_tasks_of_a_size_count_less_than_what_is_usual():
    found = learned((load(), "small", 1_000_000))
    found.learn(load(), "new", 8_000_000)
    assert 1_000_000 < found.expected_ms(load(), "new") < 4_000_000


@pytest.mark.parametrize(
    ("ran_s", "left_s"), [pytest.param(0, 60, id="just begun"), pytest.param(600, 120, id="longer than expected")]
)
def test_what_is_left_of_a_task(ran_s: int, left_s: int):
    found = learned((load(10), "small", 60_000))
    assert near(found.left_ms(load(10), "small", ran_s * 1000), left_s * 1000)


def test_nothing_is_learned_of_a_task_that_nobody_can_measure():
    found = RunTimes()
    found.learn(load(None), "small", 10)
    found.learn(load(10), "small", 0)
    assert found.record == RunTimesRecord()


def test_the_sets_of_options_that_are_remembered_are_bounded_and_the_oldest_go():
    found = RunTimes()
    for number in range(OPTIONS_COUNT + 5):
        found.learn(load(options=f"o{number}"), "small", 60_000)
    assert list(found.record.options)[:1] == ["o5"]
    assert len(found.record.options) == OPTIONS_COUNT


def test_what_was_kept_goes_on_as_it_was():
    found = learned((load(options="o"), "small", 60_000))
    kept = msgspec.json.decode(msgspec.json.encode(found.record), type=RunTimesRecord)
    assert RunTimes(kept).expected_ms(load(options="o"), "small") == found.expected_ms(load(options="o"), "small")


@given(seed=st.integers(0, 10**6))
def test_whatever_is_learned_an_estimate_is_within_what_was_seen_and_what_is_usual(seed: int):
    chance = random.Random(seed)
    found, paces = RunTimes(), [12_000.0]
    for _ in range(chance.randrange(1, 60)):
        task, took_ms = load(chance.randrange(1, 2000)), chance.randrange(1_000, 10_000_000)
        found.learn(task, "small", took_ms)
        paces.append(took_ms / work(task))
    expected = found.expected_ms(load(50), "small") / work(load(50))
    assert min(paces) / max(paces) * min(paces) <= expected <= max(paces) / min(paces) * max(paces)


def completed(**facts: object) -> Task:
    attempt = Attempt(
        number=1, node=NodeId("n"), node_task_id=NodeTaskId("t"), state=AttemptState.ENDED, running_at_ms=1000,
        machine=MachineId("m"),
    )  # fmt: skip
    task = Task(
        id=TaskId("t"), name="t", upload_owner=InstanceId("p"), created_at_ms=0, committed_at_ms=0, images_count=10,
        state=TaskState.COMPLETED, ended_at_ms=61_000, attempts=(attempt,),
    )  # fmt: skip
    return msgspec.structs.replace(task, **facts)


@pytest.mark.parametrize(
    ("facts", "took_ms"),
    [
        pytest.param({}, 60_000, id="from beginning to end"),
        pytest.param({"known": LastKnown(code=StatusCode.COMPLETED, processing_time_ms=45_000)}, 45_000, id="by its node"),
        pytest.param({"state": TaskState.FAILED}, None, id="it has failed"),
        pytest.param({"attempts": ()}, None, id="it was on no node"),
        pytest.param({"ended_at_ms": None}, None, id="nobody knows when"),
    ],
)  # fmt: skip
def test_how_long_a_task_has_taken_on_a_machine(facts: dict[str, object], took_ms: int | None):
    found = completed_on_machine(completed(**facts))
    assert (found.took_ms if found else None) == took_ms


def test_options_are_the_same_in_any_order_and_a_name_is_none():
    one, two = OptionValue("dsm", True), OptionValue("name", "x")
    three = OptionValue("orthophoto-resolution", 2)
    assert options_digest((one, two, three)) == options_digest((three, one))
    assert options_digest((one,)) != options_digest((three,))
    assert options_digest(()) == options_digest((two,)) == ""
