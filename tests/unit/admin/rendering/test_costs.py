"""rendering/tasks.py: what a task has cost."""

import pytest

from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId, NodeTaskId
from clusterodm.services.admin.rendering.tasks import machine_cost
from tests.fake_scheduler import task

HOUR = 3_600_000


def an_attempt(number: int, price: float | None, running: int | None, ended: int | None) -> Attempt:
    return Attempt(
        number=number,
        node=NodeId("n"),
        node_task_id=NodeTaskId("t"),
        state=AttemptState.ENDED if ended else AttemptState.RUNNING,
        machine=MachineId("m") if price else None,
        price_per_hour=price,
        running_at_ms=running,
        ended_at_ms=ended,
    )


def a_task(*attempts: Attempt, ended_at_ms: int | None = None) -> Task:
    state = TaskState.COMPLETED if ended_at_ms else TaskState.RUNNING
    return task("6f9619ff-8b86-4011-b42d-00c04fc964ff", state, attempts=attempts, ended_at_ms=ended_at_ms)


@pytest.mark.parametrize(
    ("ended", "cost"),
    [
        pytest.param(a_task(an_attempt(1, 2.0, HOUR, None), ended_at_ms=2 * HOUR), 2.0, id="its end is the attempt's"),
        pytest.param(
            a_task(an_attempt(1, 2.0, 0, HOUR), an_attempt(2, 4.0, 2 * HOUR, None), ended_at_ms=3 * HOUR),
            6.0,
            id="all attempts",
        ),
        pytest.param(
            a_task(an_attempt(1, 2.0, 0, HOUR), an_attempt(2, 4.0, 2 * HOUR, None)), 2.0, id="one that still runs"
        ),
        pytest.param(a_task(an_attempt(1, None, 0, HOUR), ended_at_ms=HOUR), None, id="a node that nobody pays for"),
        pytest.param(a_task(an_attempt(1, 2.0, None, HOUR), ended_at_ms=HOUR), None, id="it never ran"),
        pytest.param(a_task(an_attempt(1, 2.0, HOUR, 0), ended_at_ms=HOUR), 0.0, id="the clock went back"),
        pytest.param(a_task(), None, id="nowhere"),
    ],
)
def test_a_task_costs_what_its_attempts_have_taken_of_rented_machines(ended: Task, cost: float | None):
    assert machine_cost(ended) == cost
