"""The long spans of a task follow from its record."""

from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.telemetry.tracing import of_task, read
from clusterodm.services.scheduler.spans import attempt_ended, of_attempt, placed, root_of, task_ended

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MS = 1_000_000


def attempt(number: int, begin_ms: int, **changes: Any) -> Attempt:
    usual: dict[str, Any] = {"node": NodeId("n-3000"), "node_task_id": NodeTaskId("x"), "machine": MachineId("m")}
    return Attempt(number=number, started_at_ms=begin_ms, **{**usual, **changes})


TASK = Task(
    id=TaskId("6f9619ff-8b86-4011-b42d-00c04fc964ff"),
    owner=Owner("acme"),
    name="the client's business",
    state=TaskState.COMPLETED,
    upload_owner=InstanceId("p"),
    created_at_ms=1000,
    committed_at_ms=5000,
    ended_at_ms=9000,
    images_count=3,
    attempts=(
        attempt(1, 5100, state=AttemptState.ENDED, ended_at_ms=5500, outcome="was lost", reason="its node is gone"),
        attempt(2, 6000, state=AttemptState.ENDED, running_at_ms=6500, ended_at_ms=9000),
    ),
)


def changed(**changes: Any) -> Task:
    return msgspec.structs.replace(TASK, **changes)


def test_a_place_is_waited_for_since_the_commit_or_the_end_of_the_attempt_before():
    first, second = *placed(changed(attempts=TASK.attempts[:1])), *placed(TASK)
    assert (first.begin_ns, first.end_ns) == (5000 * MS, 5100 * MS)
    assert (second.begin_ns, second.end_ns) == (5500 * MS, 6000 * MS)
    assert first.context.span_id != second.context.span_id
    assert {first.parent, second.parent} == {root_of(TASK)}


def test_an_attempt_holds_its_run():
    whole, run = attempt_ended(TASK)
    assert (whole.name, whole.context, whole.parent) == ("attempt", of_attempt(TASK, 2), root_of(TASK))
    assert (whole.begin_ns, whole.end_ns, whole.error) == (6000 * MS, 9000 * MS, "")
    assert (run.name, run.parent, run.begin_ns, run.end_ns) == ("run", whole.context, 6500 * MS, 9000 * MS)
    assert whole.attributes == {
        "clusterodm.task.id": TASK.id,
        "clusterodm.tenant": "acme",
        "clusterodm.task.size": 0,
        "clusterodm.task.images": 3,
        "clusterodm.attempt": 2,
        "clusterodm.node.id": "n-3000",
        "clusterodm.machine.id": "m",
    }


def test_an_attempt_that_never_ran_says_why():
    [whole] = attempt_ended(changed(state=TaskState.WAITING, attempts=TASK.attempts[:1]))
    assert whole.error == "its node is gone"
    assert not list(attempt_ended(changed(attempts=())))


@pytest.mark.parametrize(
    ("changes", "begin_ms"),
    [
        pytest.param({}, 1000, id="from init on"),
        pytest.param({"created_at_ms": 5001}, 5000, id="a client's date that is still to come"),
        pytest.param({"committed_at_ms": 10**12, "ended_at_ms": 2 * 10**12}, 10**12, id="one of long ago"),
    ],
)
def test_the_whole_of_a_task_is_its_root(changes: dict[str, Any], begin_ms: int):
    [root] = task_ended(changed(**changes))
    assert (root.context, root.parent, root.begin_ns) == (of_task(TASK.id, ""), None, begin_ms * MS)


def test_the_root_is_below_the_span_of_a_client_that_has_one():
    [root] = task_ended(changed(trace=TRACE))
    assert root.parent == read(TRACE)


def test_a_restart_is_a_span_of_its_own_below_the_first():
    again = changed(restarted_at_ms=8000, state=TaskState.FAILED, error="no luck")
    [root] = task_ended(again)
    assert (root.parent, root.begin_ns, root.error) == (root_of(TASK), 8000 * MS, "no luck")
    assert of_attempt(again, 2) != of_attempt(TASK, 2)


def test_no_span_says_what_the_client_has_named():
    assert "business" not in repr([*placed(TASK), *attempt_ended(TASK), *task_ended(TASK)])
