"""The parts of the core hear of each change of a task in one order, in the step of the change itself."""

from collections.abc import Callable
from typing import Any

import pytest

from clusterodm.libs.common.messages.tasks import AdoptTask, AttemptStage, KnownAttempt, SubmitTask
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import Cleanup, Task
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.registry.node_state import NodeState, OurTasks
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy, AttemptResult
from clusterodm.services.scheduler.task_life.life import canceled
from clusterodm.services.scheduler.task_life.transitions import placed, started, tried
from clusterodm.services.scheduler.tasks.core.submission import caught_up, submitted

UPLOAD_OWNER, OWNER, NODE = InstanceId("p"), Owner("o"), NodeId("a")
PARTS = ["reservations", "nodes", "quota", "proxies", "queue", "foresight", "submodels"]
NOW = clocks_at(0)


class Hears:
    """Stands in front of a part, and notes when it hears of a change."""

    def __init__(self, part: Any, note: Callable[[], None]) -> None:
        self._part, self._note = part, note

    def task_changed(self, before: Task | None, after: Task | None, **more: bool) -> None:
        self._note()
        self._part.task_changed(before, after, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


@pytest.fixture
def state() -> ClusterState:
    """One node with one slot, one upload owner that asks, one task that waits; its owner may have one under way."""
    made = ClusterState(per_owner_count=1)
    made.proxies.open_poll(UPLOAD_OWNER, 5)
    node = made.nodes.put(Node(id=NODE, hostname="a", port=1), NOW.instant)
    made.nodes.hit(node, NodeInfo(max_parallel_tasks=1), OurTasks(), NOW)
    asked = SubmitTask(
        task=TaskId("t"), name="x", upload_owner=UPLOAD_OWNER, owner=OWNER, created_at_ms=0, images_count=1
    )
    made.index.put(submitted(asked, made.index.next_commit_ms(NOW.wall_ms), ""), 1, NOW)
    return made


def task(state: ClusterState) -> Task:
    return state.index.tasks[TaskId("t")]


def node(state: ClusterState) -> NodeState:
    found = state.nodes.get(NODE)
    assert found is not None
    return found


def begun(state: ClusterState) -> Task:
    return placed(task(state), node(state).record, NodeTaskId("t"), NOW.wall_ms)


def test_the_parts_hear_of_a_change_in_their_order(state: ClusterState):
    heard: list[str] = []
    for name in PARTS:
        setattr(state, name, Hears(getattr(state, name), lambda name=name: heard.append(name)))  # type: ignore[misc]
    state.index.put(canceled(task(state), Cleanup.NONE, NOW.wall_ms), 2, NOW)
    state.index.drop(TaskId("t"))
    assert heard == PARTS + PARTS


def test_a_reserved_slot_is_free_before_the_attempt_takes_it(state: ClusterState):
    used: list[int] = []
    state.reservations.reserve_all(NOW.instant)
    state.nodes = Hears(state.nodes, lambda: used.append(node(state).used_count))  # type: ignore[assignment]
    state.index.put(begun(state), 2, NOW)
    assert used == [0]
    assert node(state).used_count == 1
    assert not state.reservations.made


def test_what_is_reserved_counts_for_quota_and_proxy_until_the_task_waits_no_more(state: ClusterState):
    state.reservations.reserve_all(NOW.instant)
    state.index.put(task(state), 2, NOW)  # nothing of it has changed
    assert state.quota.used_count(OWNER) == 1
    assert state.proxies.sending(UPLOAD_OWNER) == (TaskId("t"),)
    assert not len(state.queue)
    state.index.put(canceled(task(state), Cleanup.NONE, NOW.wall_ms), 3, NOW)
    assert state.quota.used_count(OWNER) == 0
    assert state.proxies.sending(UPLOAD_OWNER) == ()
    assert node(state).used_count == 0


def test_a_task_that_lost_its_attempt_is_in_the_queue_again_and_counts_nowhere(state: ClusterState):
    state.reservations.reserve_all(NOW.instant)
    state.index.put(begun(state), 2, NOW)
    assert (len(state.queue), state.quota.used_count(OWNER), node(state).used_count) == (0, 1, 1)
    state.index.put(tried(task(state), AttemptResult("reset"), "a", AttemptPolicy(), NOW.wall_ms), 3, NOW)
    assert (len(state.queue), state.quota.used_count(OWNER), node(state).used_count) == (1, 0, 0)
    assert state.proxies.sending(UPLOAD_OWNER) == ()


def test_a_task_that_turns_out_to_be_on_another_node_frees_the_slot_where_it_was(state: ClusterState) -> None:
    other = state.nodes.put(Node(id=NodeId("b"), hostname="b", port=1), NOW.instant)
    state.nodes.hit(other, NodeInfo(max_parallel_tasks=1), OurTasks(), NOW)
    state.index.put(started(begun(state), "a", NOW.wall_ms), 2, NOW)
    elsewhere = KnownAttempt(
        number=2,
        node=other.id,
        hostname="b",
        port=1,
        node_task_id=NodeTaskId("u"),
        stage=AttemptStage.COMMITTED,
        started_at_ms=0,
        running_at_ms=1,
    )
    asked = SubmitTask(
        task=TaskId("t"), name="x", upload_owner=UPLOAD_OWNER, owner=OWNER, created_at_ms=0, images_count=1
    )
    adopted = AdoptTask(submission=asked, attempts=(elsewhere,), inputs_kept=True)
    state.index.put(caught_up(task(state), adopted, NOW.wall_ms), 3, NOW)
    assert (node(state).tasks, other.tasks) == (set(), {TaskId("t")})
    state.index.drop(TaskId("t"))
    assert (node(state).tasks, other.tasks) == (set(), set())
