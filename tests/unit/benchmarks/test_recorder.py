"""Traces from what a cluster has on record."""

import pytest

from benchmarks.simulation.recorder import recorded
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId


def ran(
    name: str, node: str, images: int, took_s: int, *, at_s: int = 0, state: TaskState = TaskState.COMPLETED
) -> Task:
    """A record of a task that was on a node."""
    began_ms = at_s * 1000 + 500
    attempt = Attempt(
        number=1,
        node=NodeId(node),
        node_task_id=NodeTaskId(name),
        state=AttemptState.ENDED,
        running_at_ms=began_ms,
        ended_at_ms=began_ms + took_s * 1000,
    )
    return Task(
        id=TaskId(name),
        owner=Owner("a secret digest"),
        name="Grandmother's field",
        state=state,
        upload_owner=InstanceId("p"),
        created_at_ms=0,
        committed_at_ms=at_s * 1000,
        images_count=images,
        attempts=(attempt,),
    )


def node(name: str) -> Node:
    """A record of a node."""
    return Node(id=NodeId(name), hostname=f"{name}.example.org", port=3000)


def test_a_node_that_takes_twice_as_long_per_image_is_half_as_fast():
    tasks = [ran("1", "a", 10, 100), ran("2", "b", 10, 100), ran("3", "slow", 20, 400, at_s=60)]
    trace = recorded("x", tasks, [node("a"), node("b"), node("slow")], {NodeId("a"): 2})
    assert [(one.name, one.speed, one.slots) for one in trace.nodes] == [
        ("node 1", 1.0, 2),
        ("node 2", 1.0, 1),
        ("node 3", 0.5, 1),
    ]
    assert [(task.at_s, task.work_s, task.images) for task in trace.tasks] == [
        (0, 100, 10),
        (0, 100, 10),
        (60, 200, 20),
    ]


def test_names_owners_and_addresses_stay_behind():
    shown = repr(recorded("x", [ran("1", "a", 10, 100)], [node("a")], {}))
    assert "secret" not in shown
    assert "field" not in shown
    assert "example" not in shown


def test_only_tasks_with_a_result_make_a_trace():
    with pytest.raises(ValueError, match="no completed task"):
        recorded("x", [ran("1", "a", 10, 100, state=TaskState.FAILED)], [node("a")], {})
