"""The scheduler's core alone, filled with many nodes and tasks: how fast it decides."""

import time
from collections.abc import Callable

from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.demand.core import demand_of
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.reservations import Reservation
from clusterodm.services.scheduler.registry.node_state import OurTasks
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy
from clusterodm.services.scheduler.task_life.transitions import Site, observed, placed, started
from clusterodm.services.scheduler.tasks.core.submission import submitted

UPLOAD_OWNER = InstanceId("p")
OWNERS_COUNT = 100


def filled_state(
    nodes_count: int, tasks_count: int, slots_count: int, *, uneven: bool = False, per_owner_count: int = 0
) -> ClusterState:
    """Fill a board with nodes that are free and tasks that wait. `uneven`: with nodes of four speeds that are known."""
    state = ClusterState(per_owner_count=per_owner_count)
    state.proxies.open_poll(UPLOAD_OWNER, tasks_count)
    for number in range(nodes_count):
        record = Node(id=NodeId(f"n{number}"), hostname=f"n{number}", port=3000)
        node = state.nodes.put(record, clocks_at(0).instant)
        state.nodes.hit(
            node, NodeInfo(max_parallel_tasks=slots_count, max_images=200 + number % 5 * 200), OurTasks(), clocks_at(0)
        )
        for at in range(5 if uneven else 0):
            state.foresight.paces.learn(record.id, 100, 100_000 * (1 + number % 4), at)
    for number in range(tasks_count):
        asked = SubmitTask(
            task=TaskId(f"t{number}"),
            name="x",
            upload_owner=UPLOAD_OWNER,
            owner=Owner(f"o{number % OWNERS_COUNT}"),
            created_at_ms=0,
            images_count=number * 37 % 900,
        )
        state.index.put(submitted(asked, state.index.next_commit_ms(0), ""), 1, clocks_at(0))
    return state


def start(state: ClusterState, reserved: Reservation) -> None:
    """Turn a reservation into a task that runs."""
    node = state.nodes.get(reserved.node)
    if node is None:
        raise LookupError(reserved.node)
    task = placed(state.index.tasks[reserved.task], node.record, NodeTaskId(reserved.task), 0)
    state.index.put(task, 1, clocks_at(0))
    state.index.put(started(task, node.record.name, 0), 1, clocks_at(0))


def end(state: ClusterState, task: TaskId) -> None:
    """Complete a task."""
    state.index.put(
        observed(state.index.tasks[task], LastKnown(code=StatusCode.COMPLETED), Site("n"), AttemptPolicy(), 0),
        1,
        clocks_at(0),
    )


def burst(nodes_count: int, tasks_count: int, slots_count: int) -> float:
    """Fill all slots at once: placements per second."""
    state = filled_state(nodes_count, tasks_count, slots_count)
    began_s = time.perf_counter()
    reservations = state.reservations.reserve_all(clocks_at(0).instant)
    for reserved in reservations:
        start(state, reserved)
    return len(reservations) / (time.perf_counter() - began_s)


def one_by_one(nodes_count: int, tasks_count: int, placements_count: int, *, uneven: bool = False) -> float:
    """All slots are taken; a task ends, the next begins: placements per second."""
    state = filled_state(nodes_count, tasks_count, 1, uneven=uneven)
    for reserved in state.reservations.reserve_all(clocks_at(0).instant):
        start(state, reserved)
    began_s = time.perf_counter()
    made = 0
    for task in list(state.index.running)[:placements_count]:
        end(state, task)
        for reserved in state.reservations.reserve_all(clocks_at(0).instant):
            start(state, reserved)
            made += 1
    while made < placements_count and state.index.running:
        end(state, next(iter(state.index.running)))
        for reserved in state.reservations.reserve_all(clocks_at(0).instant):
            start(state, reserved)
            made += 1
    return made / (time.perf_counter() - began_s)


def looks(tasks_count: int, *, per_owner_count: int = 0) -> tuple[float, float]:
    """Look at a queue for which nothing can be done: milliseconds of a walk, and of a snapshot of demand.

    All slots are taken but one, which is on a node that is too small for every task.
    """
    state = filled_state(100, tasks_count, 1, per_owner_count=per_owner_count)
    for reserved in state.reservations.reserve_all(clocks_at(0).instant):
        start(state, reserved)
    for task in [task for task in state.index.waiting if state.index.tasks[task].images_count <= 1]:
        state.index.drop(task)
    node = state.nodes.put(Node(id=NodeId("tiny"), hostname="tiny", port=3000), clocks_at(0).instant)
    state.nodes.hit(node, NodeInfo(max_parallel_tasks=1, max_images=1), OurTasks(), clocks_at(0))
    return (
        milliseconds_of(lambda: state.reservations.reserve_all(clocks_at(0).instant)),
        milliseconds_of(lambda: demand_of(state, clocks_at(0))),
    )


def milliseconds_of(act: Callable[[], object], times_count: int = 5) -> float:
    """Say how long something takes, at best."""
    took_s = []
    for _ in range(times_count):
        began_s = time.perf_counter()
        act()
        took_s.append(time.perf_counter() - began_s)
    return 1000 * min(took_s)
