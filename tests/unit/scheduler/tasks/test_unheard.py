"""When a task of which its node says nothing is given up."""

import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.tasks import Attempt, AttemptState
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, TaskId
from clusterodm.services.scheduler.task_life.unheard import UnheardTasks

TASK = TaskId("t")
GRACE_S = 60.0


def attempt(number: int = 1, running_at_ms: int = 5) -> Attempt:
    """Make one that runs."""
    return Attempt(
        number=number,
        node=NodeId("n"),
        node_task_id=NodeTaskId("x"),
        state=AttemptState.RUNNING,
        started_at_ms=1,
        running_at_ms=running_at_ms,
    )


@pytest.mark.parametrize(
    ("at_s", "ends"),
    [
        pytest.param([0, 30, 60, 90], [False, False, False, True], id="longer than the grace"),
        pytest.param([0, 30, 60], [False, False, False], id="not longer"),
        pytest.param(
            [0, 3600, 3601], [False, False, False], id="an hour in which nobody looked counts as half a minute"
        ),
        pytest.param([0, 3600, 7200, 10800], [False, False, False, True], id="seldom looks"),
        pytest.param([0, 30, 60, 60.5, 61], [False, False, False, True, True], id="just longer"),
    ],
)
def test_looks_in_vain_are_counted_and_so_is_their_time(at_s: list[float], ends: list[bool]) -> None:
    unheard = UnheardTasks(GRACE_S)
    assert [unheard.missed(TASK, attempt(), Instant(at)) for at in at_s] == ends


def test_a_short_grace_needs_three_looks_all_the_same() -> None:
    unheard = UnheardTasks(1.0)
    assert [unheard.missed(TASK, attempt(), Instant(at)) for at in (0, 10, 20)] == [False, False, True]


@pytest.mark.parametrize("other", [attempt(number=2), attempt(running_at_ms=6)])
def test_another_run_begins_anew(other: Attempt) -> None:
    unheard = UnheardTasks(1.0)
    assert [unheard.missed(TASK, each, Instant(at)) for each, at in ((attempt(), 0), (attempt(), 9), (other, 18))] == [
        False,
        False,
        False,
    ]


def test_a_word_begins_anew() -> None:
    unheard = UnheardTasks(1.0)
    unheard.missed(TASK, attempt(), Instant(0))
    assert TASK in unheard
    unheard.forget(TASK)
    assert TASK not in unheard
    assert [unheard.missed(TASK, attempt(), Instant(at)) for at in (10, 20)] == [False, False]
