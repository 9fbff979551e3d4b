"""How long a batch takes on nodes of different speed, simulated with the core alone: no clock, no network."""

import heapq

import pytest

from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.registry.node_state import OurTasks
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy
from clusterodm.services.scheduler.task_life.transitions import Site, observed, placed, started
from clusterodm.services.scheduler.tasks.core.submission import submitted
from tests.scheduling import task_id


class Simulation:
    """Tasks that all come at once, on nodes that take `work / speed` for each."""

    def __init__(self, speeds: dict[str, float], work: list[float]) -> None:
        self.state = ClusterState()
        self.state.proxies.open_poll(InstanceId("p"), 1_000_000)
        self.speeds = {NodeId(name): speed for name, speed in speeds.items()}
        self.work = {task_id(str(number)): amount for number, amount in enumerate(work)}
        self._ends: list[tuple[float, TaskId, NodeId]] = []
        for name in self.speeds:
            node = self.state.nodes.put(Node(id=name, hostname=name, port=1), clocks_at(0).instant)
            self.state.nodes.hit(node, NodeInfo(max_parallel_tasks=1), OurTasks(), clocks_at(0))

    def makespan(self) -> float:
        """Run to the end; when that is."""
        for task in self.work:
            asked = SubmitTask(task=task, name="x", upload_owner=InstanceId("p"), created_at_ms=0, images_count=1)
            self.state.index.put(submitted(asked, self.state.index.next_commit_ms(0), ""), 1, clocks_at(0))
        at = 0.0
        self._place(at)
        while self._ends:
            at, task, node = heapq.heappop(self._ends)
            done = observed(
                self.state.index.tasks[task],
                LastKnown(code=StatusCode.COMPLETED),
                Site(node),
                AttemptPolicy(),
                round(at * 1000),
            )
            self.state.index.put(done, 1, clocks_at(round(at * 1000)))
            self._place(at)
        assert all(task.state.ended for task in self.state.index.tasks.values())
        return at

    def _place(self, at: float) -> None:
        now_ms = round(at * 1000)
        for reserved in self.state.reservations.reserve_all(clocks_at(now_ms).instant):
            node = self.state.nodes.get(reserved.node)
            assert node is not None
            task = placed(self.state.index.tasks[reserved.task], node.record, NodeTaskId(reserved.task), now_ms)
            self.state.index.put(started(task, node.record.name, now_ms), 1, clocks_at(now_ms))
            duration = self.work[reserved.task] / self.speeds[reserved.node]
            heapq.heappush(self._ends, (at + duration, reserved.task, reserved.node))


def best_possible(speeds: list[float], tasks_count: int) -> float:
    """Shortest makespan for tasks of equal size: fill the node that would be ready first."""
    ready = [(1 / speed, speed) for speed in speeds]
    heapq.heapify(ready)
    at = 0.0
    for _ in range(tasks_count):
        at, speed = heapq.heappop(ready)
        heapq.heappush(ready, (at + 1 / speed, speed))
    return at


@pytest.mark.parametrize(
    ("speeds", "tasks_count"),
    [
        pytest.param({"slow": 0.25, "fast": 1.0, "fast too": 1.0}, 12, id="one slow and two fast nodes"),
        pytest.param({"slow": 0.5, "fast": 1.0}, 30, id="half as fast"),
        pytest.param({str(number): 1.0 for number in range(5)}, 23, id="all alike"),
    ],
)
def test_a_batch_takes_at_most_one_and_a_half_times_as_long_as_it_must(speeds: dict[str, float], tasks_count: int):
    assert Simulation(speeds, [1.0] * tasks_count).makespan() <= 1.5 * best_possible(list(speeds.values()), tasks_count)


def test_late_binding_keeps_all_nodes_busy_with_tasks_of_any_size():
    work = [1.0 + (number * 7) % 5 for number in range(60)]
    speeds = {"a": 1.0, "b": 2.0, "c": 3.0}
    shortest = sum(work) / sum(speeds.values())
    assert Simulation(speeds, work).makespan() <= shortest + max(work) / min(speeds.values())
