"""What is counted, and what a scrape reads, of the scheduler that leads."""

from collections.abc import Iterable

import pytest

from clusterodm.libs.common.clocks import Now, WallMs
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, StatusCode, TaskState
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.libs.common.telemetry.metrics import Gauge, Reading
from clusterodm.services.scheduler import readings as told
from clusterodm.services.scheduler.events import outcome_of
from clusterodm.services.scheduler.metrics import (
    ATTEMPTS_ENDED,
    NODE_UP,
    NODES,
    NODES_LEFT_OUT,
    PROBES,
    QUEUE,
    QUEUE_AGE,
    QUEUE_SECONDS,
    SLOTS,
    TASKS,
    TASKS_ENDED,
)
from clusterodm.services.scheduler.task_life.attempts import FAILED, LOST, MOVED
from tests.scheduling import NOW, FakeNode, Play, a_play, node_state


def said(readings: Iterable[Reading], metric: Gauge) -> dict[str, float]:
    return {"/".join(reading.of): float(reading.value) for reading in readings if reading.metric is metric}


def of(play: Play) -> list[Reading]:
    return list(told.readings(play.scheduler.state, play.scheduler.totals.demand, NOW))


async def test_the_queue_is_told_by_what_it_waits_for():
    async with a_play(a=FakeNode()) as play:
        for name in ("one", "two", "three"):
            await play.commits(name)
        await play.starts("one")
        await play.scheduler.totals.publish()
        readings = of(play)
        assert said(readings, TASKS) == {"waiting": 2, "forwarding": 0, "running": 1}
        queue = said(readings, QUEUE)
        assert queue["capacity"] == 2
        assert sum(queue.values()) == 2, "each waiting task counts once"
        assert said(readings, SLOTS) == {"ours": 1, "foreign": 0, "free": 0, "closed": 0}


async def test_the_age_of_the_queue_is_that_of_its_first():
    async with a_play() as play:
        assert said(of(play), QUEUE_AGE) == {"": 0}
        await play.commits("one")
        first = play.scheduler.state.index.waiting.first()
        assert first is not None
        later = Now(WallMs(first[0] + 90_000), NOW.instant)
        readings = list(told.readings(play.scheduler.state, None, later))
        assert said(readings, QUEUE_AGE) == {"": 90}
        assert said(readings, QUEUE)["other"] == 1, "nothing was told of it yet"


def test_each_node_counts_once_by_its_state():
    nodes = [
        node_state("a", slots=3, used=1, foreign=1),
        node_state("b", slots=2, locked=True),
        node_state("c", draining=True, locked=True),
        node_state("d", online=False, slots=7),
    ]
    readings = list(told.of_nodes(nodes))
    assert said(readings, NODES) == {"online": 1, "locked": 1, "draining": 1, "offline": 1}
    assert said(readings, SLOTS) == {"ours": 1, "foreign": 1, "free": 1, "closed": 3}


async def test_so_many_nodes_have_series_of_their_own():
    async with a_play(**{f"n{number}": FakeNode() for number in range(5)}) as play:
        assert len(said(of(play), NODE_UP)) == 5
        assert said(of(play), NODES_LEFT_OUT) == {"": 0}
    assert told.NODES_COUNT == 1000


@pytest.mark.parametrize(
    ("outcome", "unfit", "state", "name"),
    [
        pytest.param("", False, TaskState.COMPLETED, "completed", id="a result"),
        pytest.param("", False, TaskState.FAILED, "failed", id="its node said so"),
        pytest.param(FAILED, False, TaskState.WAITING, "failed", id="could not be sent"),
        pytest.param(LOST, False, TaskState.WAITING, "lost", id="lost, and another follows"),
        pytest.param(LOST, False, TaskState.FAILED, "lost", id="lost, and that was the last"),
        pytest.param(MOVED, False, TaskState.WAITING, "moved", id="moved off a draining node"),
        pytest.param(FAILED, True, TaskState.WAITING, "refused", id="refused"),
    ],
)
def test_attempts_are_counted_by_what_became_of_them(outcome: str, unfit: bool, state: TaskState, name: str):
    attempt = Attempt(
        number=1, node=NodeId("a"), node_task_id=NodeTaskId("1"), state=AttemptState.ENDED, outcome=outcome, unfit=unfit
    )
    assert outcome_of(attempt, state) == name


async def test_a_task_is_counted_from_its_placement_to_its_end():
    waits, ended = sum(QUEUE_SECONDS.of("slot").counts), ATTEMPTS_ENDED.values.get(("completed",), 0)
    tasks, probes = TASKS_ENDED.values.get(("completed",), 0), PROBES.values.get(("ok",), 0)
    async with a_play(a=FakeNode()) as play:
        await play.probes()
        await play.commits("one")
        started = await play.starts("one")
        play.node("a").says(started.node_task_id, code=StatusCode.COMPLETED, progress=100.0)
        await play.looks()
    assert sum(QUEUE_SECONDS.of("slot").counts) == waits + 1
    assert ATTEMPTS_ENDED.values["completed",] == ended + 1
    assert TASKS_ENDED.values["completed",] == tasks + 1
    assert PROBES.values["ok",] > probes
