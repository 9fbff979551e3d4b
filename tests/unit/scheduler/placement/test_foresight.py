"""Paces that are learned, and tasks that wait for a faster node because they end earlier there."""

import random
import statistics

import msgspec
import pytest

from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode, Task
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.demand.core import demand_of
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.pace import STEP, Paces
from clusterodm.services.scheduler.registry.node_state import NodeState, OurTasks
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy, AttemptResult
from clusterodm.services.scheduler.task_life.transitions import Site, observed, placed, started, tried
from clusterodm.services.scheduler.tasks.core.submission import submitted
from tests.scheduling import task_id

PER_IMAGE_MS = 1_000
IMAGES = 100
USUAL_MS = IMAGES * PER_IMAGE_MS


class Stage:
    """A cluster with nodes of given speeds that have worked before; the time is in the test's hand."""

    def __init__(
        self, *, foresees: bool = True, known: bool = True, limits: dict[str, int] | None = None, **speeds: float
    ) -> None:
        self.state = ClusterState(foresees=foresees)
        self.state.proxies.open_poll(InstanceId("p"), 1_000_000)
        self.speeds = speeds
        self.now_ms = 1_000_000
        for name, speed in speeds.items():
            self.comes_up(name, (limits or {}).get(name))
            for number in range(5 if known and foresees else 0):
                self.state.foresight.paces.learn(NodeId(name), IMAGES, round(USUAL_MS / speed), number)

    def comes_up(self, name: str, limit: int | None = None) -> None:
        state = self.state.nodes.put(Node(id=NodeId(name), hostname=name, port=1), clocks_at(self.now_ms).instant)
        self.state.nodes.hit(
            state, NodeInfo(max_parallel_tasks=1, max_images=limit), OurTasks(), clocks_at(self.now_ms)
        )

    def node(self, name: str) -> NodeState:
        node = self.state.nodes.get(NodeId(name))
        assert node is not None
        return node

    def commits(self, name: str, images: int = IMAGES) -> None:
        asked = SubmitTask(
            task=task_id(name), name=name, upload_owner=InstanceId("p"), created_at_ms=0, images_count=images
        )
        self.state.index.put(
            submitted(asked, self.state.index.next_commit_ms(self.now_ms), ""), 1, clocks_at(self.now_ms)
        )

    def walks(self) -> dict[str, str]:
        """Reserve what is free and begin it: task -> node."""
        begun = {}
        for reserved in self.state.reservations.reserve_all(clocks_at(self.now_ms).instant):
            record = self.node(reserved.node).record
            task = placed(self.task(reserved.task), record, NodeTaskId(reserved.task), self.now_ms)
            self.state.index.put(started(task, record.name, self.now_ms), 1, clocks_at(self.now_ms))
            begun[task.name] = str(reserved.node)
        return begun

    def passes(self, ms: float) -> None:
        self.now_ms += round(ms)

    def ends(self, name: str) -> None:
        task = self.task(task_id(name))
        seen = LastKnown(code=StatusCode.COMPLETED)
        self.state.index.put(observed(task, seen, Site("n"), AttemptPolicy(), self.now_ms), 1, clocks_at(self.now_ms))

    def task(self, task: str) -> Task:
        return next(one for one in self.state.index.tasks.values() if one.id == task)

    def held(self) -> set[str]:
        return {self.task(task).name for task in self.state.foresight.deferred}


@pytest.mark.parametrize(
    ("took_ms", "paces"),
    [
        pytest.param({"a": [100], "b": [100]}, {"a": 0, "b": 0}, id="all alike"),
        pytest.param({"a": [100, 105, 96], "b": [94, 102, 99]}, {"a": 0, "b": 0}, id="noise is none"),
        pytest.param({"a": [100] * 9, "b": [100] * 9, "c": [200] * 9}, {"a": 0, "b": 0, "c": 4}, id="half as fast"),
        pytest.param({"a": [100] * 9, "b": [100] * 9, "c": [50] * 9}, {"a": 0, "b": 0, "c": -4}, id="twice as fast"),
        pytest.param({"a": [100] * 9, "b": [100] * 9, "c": [200]}, {"a": 0, "b": 0, "c": 3}, id="doubted at first"),
        pytest.param(
            {"a": [100] * 9, "b": [100] * 9, "c": [900] * 3 + [100] * 6}, {"a": 0, "b": 0, "c": 0}, id="outliers"
        ),
        pytest.param(
            {"a": [100] * 9, "b": [100] * 9, "c": [900] * 9 + [100] * 9},
            {"a": 0, "b": 0, "c": 0},
            id="the last ones count",
        ),
    ],
)
def test_how_fast_a_node_is_is_learned_from_what_it_completed(took_ms: dict[str, list[int]], paces: dict[str, int]):
    learned = Paces()
    for name, times in took_ms.items():
        for at, time_ms in enumerate(times):
            learned.learn(NodeId(name), 1, time_ms, at)
    assert {str(node): pace for node, pace in learned.changes()} == paces
    assert list(learned.changes()) == []
    assert learned.typical_ms == pytest.approx(100, rel=0.06)
    assert learned.ms_per_image(4) == pytest.approx(learned.typical_ms * STEP**4)


def test_nothing_is_learned_from_a_task_without_images_or_time():
    learned = Paces()
    learned.learn(NodeId("a"), 0, 100, 1)
    learned.learn(NodeId("a"), 10, 0, 1)
    assert (list(learned.changes()), learned.typical_ms) == ([], 0.0)


def test_the_faster_node_is_preferred_and_among_the_alike_the_order_of_the_original_stands():
    stage = Stage(slow=0.5, small=1.0, large=1.02, limits={"small": 500})
    for name in "ab":
        stage.commits(name)
    assert stage.walks() == {"a": "small", "b": "large"}
    assert stage.held() == set()


def test_a_task_waits_for_a_fast_node_that_will_soon_be_free():
    stage = Stage(slow=0.25, fast=1.0, fast_too=1.0)
    for name in ("one", "two"):
        stage.commits(name)
    assert len(stage.walks()) == 2
    stage.passes(USUAL_MS * 0.9)
    stage.commits("three")
    assert stage.walks() == {}
    assert stage.held() == {"three"}
    assert "slow:1" in stage.state.reasons.why_waiting(stage.task(task_id("three")), clocks_at(stage.now_ms).instant)
    stage.ends("one")
    assert stage.walks() == {"three": "fast"}
    assert stage.held() == set()


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        pytest.param(Stage(fast=1.0, slow=0.25, known=False), "nobody knows", id="no pace is known"),
        pytest.param(Stage(fast=1.0, slow=0.25, foresees=False), "it is turned off", id="it is turned off"),
        pytest.param(Stage(fast=1.0, slow=0.9), "they are alike", id="hardly slower"),
        pytest.param(
            Stage(fast=1.0, slow=0.25, limits={"fast": 50}), "it does not fit", id="the fast one is too small"
        ),
    ],
)
def test_a_free_slot_is_taken_when_there_is_nothing_to_gain(stage: Stage, why: str):
    stage.commits("small one", images=10)
    assert stage.walks() == {"small one": "fast"}
    stage.passes(9_000)
    stage.commits("next")
    assert stage.walks() == {"next": "slow"}, why


def test_the_oldest_takes_the_slow_slot_while_the_queue_is_long():
    stage = Stage(slow=0.25, fast=1.0, fast_too=1.0)
    for number in range(20):
        stage.commits(str(number))
    assert stage.walks() == {"0": "fast", "1": "fast_too", "2": "slow"}


def test_near_the_end_of_the_queue_the_slow_slot_stays_free():
    stage = Stage(slow=0.25, fast=1.0, fast_too=1.0)
    for number in range(4):
        stage.commits(str(number))
    assert stage.walks() == {"0": "fast", "1": "fast_too"}
    assert stage.held() == {"2", "3"}


def test_who_is_held_back_takes_a_busy_slot_in_thought_and_who_is_better_off_on_the_slow_one_does_not_wait():
    stage = Stage(slow=0.25, fast=1.0)
    for name in ("on fast", "first", "second", "third"):
        stage.commits(name)
    stage.commits("small", images=20)
    assert stage.walks() == {"on fast": "fast", "small": "slow"}
    assert stage.held() == {"first", "second", "third"}


def test_nobody_is_held_back_longer_than_the_declined_slot_would_have_taken():
    stage = Stage(slow=0.25, fast=1.0)
    stage.commits("late")
    assert stage.walks() == {"late": "fast"}
    stage.commits("waits")
    assert stage.walks() == {}
    stage.passes(USUAL_MS * 3)
    assert stage.walks() == {}
    stage.passes(USUAL_MS * 1.3)
    assert stage.walks() == {"waits": "slow"}


def test_a_task_of_unknown_size_is_never_held_back():
    stage = Stage(slow=0.25, fast=1.0)
    stage.commits("first")
    stage.walks()
    stage.commits("unknown", images=0)
    assert stage.walks() == {"unknown": "slow"}


def test_a_task_that_was_tried_before_takes_what_is_free():
    stage = Stage(slow=0.25, fast=1.0)
    stage.commits("fails")
    assert stage.walks() == {"fails": "fast"}
    failed = tried(stage.task(task_id("fails")), AttemptResult("reset"), "fast:1", AttemptPolicy(), stage.now_ms)
    stage.state.index.put(failed, 1, clocks_at(stage.now_ms))
    stage.commits("another")
    assert stage.walks() == {"another": "fast"}
    stage.passes(5_000)
    assert stage.walks() == {"fails": "slow"}


def test_a_rented_machine_is_never_declined():
    stage = Stage(slow=0.25, fast=1.0)
    record = msgspec.structs.replace(stage.node("slow").record, machine=MachineId("m"))
    stage.state.nodes.put(record, clocks_at(stage.now_ms).instant)
    for name in ("first", "second"):
        stage.commits(name)
    assert stage.walks() == {"first": "fast", "second": "slow"}


def test_a_fast_node_that_takes_no_tasks_any_more_is_not_waited_for():
    stage = Stage(slow=0.25, fast=1.0)
    stage.commits("first")
    stage.walks()
    for _ in range(2):
        stage.state.nodes.miss(stage.node("fast"), "gone", clocks_at(0).instant)
    stage.commits("next")
    assert stage.walks() == {"next": "slow"}


def test_the_autoscaler_hears_of_no_task_that_declined_a_free_slot():
    stage = Stage(slow=0.25, fast=1.0, fast_too=1.0)
    for number in range(4):
        stage.commits(str(number))
    stage.walks()
    assert stage.held() == {"2", "3"}
    demand = demand_of(stage.state, clocks_at(stage.now_ms))
    assert demand.waiting == (), "a slot is free that fits, so no machine is missing"
    assert (demand.waiting_count, demand.slot_free_count, demand.free_slots_count) == (0, 2, 1)


def test_a_question_does_not_give_the_declined_slot_to_who_asks():
    stage = Stage(slow=0.25, fast=1.0)
    for name in ("one", "two"):
        stage.commits(name)
    stage.walks()
    assert stage.held() == {"two"}
    assert stage.state.reservations.reserve_one(stage.task(task_id("two")), clocks_at(stage.now_ms).instant) is None


def test_paces_are_read_from_the_records_of_ended_tasks():
    before = Stage(slow=0.25, fast=1.0, known=False)
    for number in range(6):
        before.commits(str(number))
        before.walks()
        for task, node in list(before.state.index.running.items()) if number % 2 else ():
            seen = LastKnown(code=StatusCode.COMPLETED, processing_time_ms=round(USUAL_MS / before.speeds[str(node)]))
            ended = observed(before.state.index.tasks[task], seen, Site("n"), AttemptPolicy(), before.now_ms)
            before.state.index.put(ended, 1, clocks_at(before.now_ms))
    after = Stage(slow=0.25, fast=1.0, known=False)
    for ended in before.state.index.tasks.values():
        after.state.index.put(ended, 1, clocks_at(after.now_ms))
    after.walks()
    assert after.node("slow").pace - after.node("fast").pace > 3


@pytest.mark.parametrize("tasks_count", [1, 3, 9])
def test_nodes_that_are_alike_stay_alike_however_mixed_their_tasks_are(tasks_count: int):
    farthest = []
    for seed in range(20):
        chance, learned = random.Random(seed), Paces()
        for name in "abcdef":
            for at in range(tasks_count):
                learned.learn(NodeId(name), 1, round(100_000 * chance.lognormvariate(0, 0.8)), at)
        farthest.append(max(abs(pace) for _, pace in learned.changes()))
    assert statistics.median(farthest) <= 1
