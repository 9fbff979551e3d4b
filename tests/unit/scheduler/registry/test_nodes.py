"""What is known of a node, and how many slots are free on it."""

import pytest

from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import Attempt, Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.nodes.handlers.commands import node_id
from clusterodm.services.scheduler.registry.node_state import NodeState, OurTasks, foreign_of
from clusterodm.services.scheduler.registry.nodes import NodeRegistry, ProbeResult
from tests.scheduling import NOW


def ours(*, sure: int, possible: int) -> OurTasks:
    names = [TaskId(str(number)) for number in range(possible)]
    return OurTasks(sure=frozenset(names[:sure]), possible=frozenset(names))


def registry(send_ahead_count: int = 0, *names: str) -> NodeRegistry:
    made = NodeRegistry(send_ahead_count)
    for name in names or ("a",):
        made.put(Node(id=NodeId(name), hostname=name, port=3000), NOW.instant)
    return made


def answers(
    made: NodeRegistry, name: str, *, slots: int = 1, reported: int = 0, of_ours: OurTasks | None = None
) -> ProbeResult:
    node = made.get(NodeId(name))
    assert node is not None
    return made.hit(node, NodeInfo(max_parallel_tasks=slots, task_queue_count=reported), of_ours or OurTasks(), NOW)


@pytest.mark.parametrize(
    ("reported", "known", "before", "expected"),
    [
        pytest.param(0, ours(sure=0, possible=0), 0, 0, id="idle"),
        pytest.param(2, ours(sure=2, possible=2), 0, 0, id="all ours"),
        pytest.param(3, ours(sure=2, possible=2), 0, 1, id="one of another"),
        pytest.param(0, ours(sure=2, possible=2), 0, 0, id="ours ended there, not seen yet"),
        pytest.param(1, ours(sure=0, possible=1), 0, 0, id="a commit crossed the probe: taken for ours"),
        pytest.param(1, ours(sure=0, possible=1), 1, 1, id="a known foreign one stays while ours is sent"),
        pytest.param(0, ours(sure=0, possible=1), 1, 0, id="the foreign one is gone for certain"),
        pytest.param(3, ours(sure=1, possible=2), 5, 2, id="never more than is left"),
    ],
)
def test_how_many_tasks_of_others_a_node_has(reported: int, known: OurTasks, before: int, expected: int):
    assert foreign_of(reported, known, before) == expected


def test_a_node_is_offline_after_two_misses_and_back_after_one_hit():
    made = registry()
    node = made.get(NodeId("a"))
    assert node is not None
    assert answers(made, "a") is ProbeResult.CAME
    assert made.miss(node, "refused", clocks_at(0).instant) is False
    assert node.online
    assert made.miss(node, "refused", clocks_at(0).instant) is True
    assert not node.online
    assert made.miss(node, "refused", clocks_at(0).instant) is False
    assert answers(made, "a") is ProbeResult.CAME
    assert node.online


@pytest.mark.parametrize(
    ("silent_s", "online", "fields", "expected_s"),
    [
        pytest.param(3600.0, False, {"retired": False}, 5.0, id="one that is listed"),
        pytest.param(10.0, False, {}, 5.0, id="removed, silent for a moment"),
        pytest.param(120.0, False, {}, 30.0, id="removed, silent for a while"),
        pytest.param(86_400.0, False, {}, 300.0, id="removed, and gone for good"),
        pytest.param(86_400.0, False, {"under_way": True}, 5.0, id="removed, with a task under way"),
        pytest.param(0.0, True, {}, 60.0, id="removed, with results"),
        pytest.param(60.0, True, {"missed": True}, 5.0, id="removed, and perhaps gone"),
    ],
)
def test_a_removed_node_is_asked_less_often_the_longer_it_is_silent(
    silent_s: float, fields: dict[str, bool], *, online: bool, expected_s: float
):
    record = Node(id=NodeId("a"), hostname="a", port=3000, retired=fields.get("retired", True))
    node = NodeState(record, seen_at=NOW.instant, online=online, misses_count=int(fields.get("missed", False)))
    if fields.get("under_way"):
        node.tasks.add(TaskId("one"))
    assert node.probe_after_s(5.0, NOW.instant + silent_s) == expected_s


def test_a_hit_between_two_misses_keeps_a_node_online():
    made = registry()
    node = made.get(NodeId("a"))
    assert node is not None
    answers(made, "a")
    for _ in range(3):
        assert made.miss(node, "slow", clocks_at(0).instant) is False
        assert answers(made, "a") is ProbeResult.SAME


def test_an_answer_with_another_number_of_slots_is_news():
    made = registry()
    answers(made, "a", slots=1)
    assert answers(made, "a", slots=2) is ProbeResult.OTHER
    assert answers(made, "a", slots=2) is ProbeResult.SAME


def test_free_slots_are_never_negative():
    made = registry()
    answers(made, "a", slots=1, reported=5)
    node = made.get(NodeId("a"))
    assert node is not None
    assert (node.used_count, node.free_count) == (5, 0)


def test_reserved_and_taken_slots_count_against_open():
    made = registry()
    answers(made, "a", slots=2)
    made.reserve(NodeId("a"), TaskId("1"))
    assert len(made.open.listed()) == 1
    made.occupy(NodeId("a"), TaskId("2"))
    assert made.open.listed() == ()
    made.release(NodeId("a"), TaskId("2"))
    assert len(made.open.listed()) == 1


def test_files_may_be_sent_ahead_when_that_is_set():
    made = registry(1)
    answers(made, "a", slots=1)
    made.occupy(NodeId("a"), TaskId("1"))
    assert len(made.open.listed()) == 1
    made.reserve(NodeId("a"), TaskId("2"))
    assert made.open.listed() == ()


def test_the_order_is_that_of_adding_and_one_that_comes_back_goes_to_the_end():
    made = registry(0, "b", "a")
    made.put(Node(id=NodeId("b"), hostname="b", port=3000, retired=True), NOW.instant)
    assert [node.id for node in made.listed()] == ["a"]
    made.put(Node(id=NodeId("b"), hostname="b", port=3000), NOW.instant)
    assert [node.id for node in made.listed()] == ["a", "b"]


def test_the_version_stays_when_a_probe_brings_nothing_new():
    made = registry()
    answers(made, "a")
    version = made.open.version
    answers(made, "a")
    assert made.open.version == version


@pytest.mark.parametrize(
    ("says", "has_changed"),
    [
        pytest.param(NodeInfo(available_memory=2), False, id="less memory is left at the moment"),
        pytest.param(NodeInfo(max_parallel_tasks=2), True, id="another slot"),
        pytest.param(NodeInfo(max_images=100), True, id="a limit of images"),
        pytest.param(NodeInfo(total_memory=8), True, id="more memory"),
        pytest.param(NodeInfo(task_queue_count=1), True, id="a task of somebody else"),
    ],
)
def test_a_probe_wakes_placement_only_when_something_else_may_be_placed(says: NodeInfo, has_changed: bool):
    made = registry()
    answers(made, "a")
    node = made.get(NodeId("a"))
    assert node is not None
    version = made.open.version
    made.hit(node, says, OurTasks(), NOW)
    assert (made.open.version != version) is has_changed
    assert node.info == says


def test_the_same_words_of_a_node_count_anew_when_tasks_of_others_were_counted_differently():
    made = registry()
    answers(made, "a")
    node = made.get(NodeId("a"))
    assert node is not None
    assert node.info is not None
    node.foreign_count = 1
    made.hit(node, node.info, OurTasks(), NOW)
    assert node.foreign_count == 0


@pytest.mark.parametrize(
    ("hostname", "port", "expected"),
    [
        pytest.param("node.example.org", 3000, "node.example.org-3000", id="name"),
        pytest.param("10.0.0.1", 3001, "10.0.0.1-3001", id="address"),
        pytest.param("fe80::1", 3000, "fe80__1-3000", id="colons are no key"),
        pytest.param("my_node", 443, "my_node-443", id="underscore"),
    ],
)
def test_the_key_of_a_node(hostname: str, port: int, expected: str):
    assert node_id(hostname, port) == expected


def on_a(state: TaskState, cleanup: Cleanup = Cleanup.NONE, running_at_ms: int | None = 1) -> Task:
    attempt = Attempt(
        number=1, node=NodeId("a"), node_task_id=NodeTaskId("t"), cleanup=cleanup, running_at_ms=running_at_ms
    )
    return Task(
        id=TaskId("t"),
        name="t",
        state=state,
        upload_owner=InstanceId("p"),
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
        attempts=(attempt,),
    )


RUNNING = on_a(TaskState.RUNNING)
UNTOLD = on_a(TaskState.CANCELED, Cleanup.CANCEL)


@pytest.mark.parametrize(
    ("before", "after", "free_count"),
    [
        pytest.param(RUNNING, UNTOLD, 0, id="canceled, and its node has still to be told"),
        pytest.param(RUNNING, on_a(TaskState.CANCELED), 1, id="canceled on its node"),
        pytest.param(RUNNING, on_a(TaskState.FAILED, Cleanup.REMOVE), 1, id="failed on its node"),
        pytest.param(on_a(TaskState.FORWARDING), UNTOLD, 1, id="it has not run there"),
        pytest.param(RUNNING, None, 1, id="its record is gone"),
    ],
)
def test_a_slot_of_what_was_canceled_while_it_ran_is_free_when_its_node_has_been_told(
    before: Task, after: Task | None, free_count: int
):
    made = registry()
    answers(made, "a")
    made.task_changed(None, before)
    made.task_changed(before, after)
    node = made.get(NodeId("a"))
    assert node is not None
    assert node.free_count == free_count
    made.task_changed(after, on_a(TaskState.CANCELED))
    assert node.free_count == 1


@pytest.mark.parametrize(("reported", "free_count"), [(1, 0), (0, 1)], ids=["it has it still", "it has lost it"])
def test_what_a_node_says_after_a_cancel_counts_more_than_what_it_was_not_told(reported: int, free_count: int):
    made = registry()
    answers(made, "a")
    made.task_changed(None, RUNNING)
    made.task_changed(RUNNING, UNTOLD)
    node = made.get(NodeId("a"))
    assert node is not None
    answers(made, "a", reported=1, of_ours=OurTasks(possible=frozenset({TaskId("t")})))
    assert node.free_count == 0, "that probe was under way when it was canceled"
    answers(made, "a", reported=reported)
    assert (node.free_count, node.stopping) == (free_count, set())
    made.task_changed(UNTOLD, on_a(TaskState.CANCELED))
    answers(made, "a")
    assert node.free_count == 1
