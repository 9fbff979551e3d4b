"""What a look at a task brings, when to look again, and which lines of a console are asked for."""

import msgspec
import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.console import kept_lines, own_lines
from clusterodm.libs.common.delay_queue import DelayQueue
from clusterodm.libs.common.model.tasks import Attempt, LastKnown, Moment, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.services.scheduler.node_client.ports import ObservedTask
from clusterodm.services.scheduler.tasks.core.observation import (
    LINE_LENGTH,
    TAIL_COUNT,
    PollInterval,
    grown,
    has_changed,
    known_of,
)
from tests.scheduling import NOW_MS
from tests.unit.scheduler.task_life.test_life import ASKED

KNOWN = LastKnown(
    code=StatusCode.RUNNING, processing_time_ms=10_000, console_count=3, console_tail=("a", "b", "c"), seen_at_ms=1
)


@pytest.mark.parametrize(("said", "kept"), [(1e308, 100), (-1e308, 0), (float("inf"), 100), (10**400, 100), (4.5, 4.5)])
def test_the_progress_that_is_kept_is_within_0_and_100(said: float, kept: float):
    assert known_of(None, ObservedTask(StatusCode.RUNNING, progress=said), NOW_MS).progress == kept


@pytest.mark.parametrize(("said", "kept"), [(10**308, -1), (-(10**308), -1), (0, 0), (86_400_000, 86_400_000)])
def test_a_time_that_no_clock_says_is_not_kept(said: int, kept: int):
    observed = ObservedTask(StatusCode.RUNNING, processing_time_ms=said)
    assert known_of(None, observed, NOW_MS).processing_time_ms == kept


@pytest.mark.parametrize(
    ("age_s", "expected_s"),
    [
        pytest.param(0, 1.0, id="fresh"),
        pytest.param(150, 5.5, id="half way"),
        pytest.param(300, 10.0, id="long"),
        pytest.param(9_000, 10.0, id="very long"),
    ],
)
def test_the_older_a_task_the_less_often_it_is_looked_at(age_s: float, expected_s: float):
    assert PollInterval().interval_s(age_s) == expected_s


def test_new_lines_are_added_to_what_is_known():
    known = known_of(KNOWN, ObservedTask(StatusCode.RUNNING, processing_time_ms=11_000, lines=("d",)), NOW_MS)
    assert (known.console_count, known.console_tail) == (4, ("a", "b", "c", "d"))


def test_only_the_tail_is_kept_and_long_lines_are_cut():
    count, tail = grown(None, tuple(f"{number} {'x' * 5000}" for number in range(1000)))
    assert (count, len(tail)) == (1000, TAIL_COUNT)
    assert tail[-1].startswith("999 ")
    assert all(len(line) == LINE_LENGTH for line in tail)


@pytest.mark.parametrize("lines", [pytest.param((), id="empty console"), pytest.param(("x",), id="new lines already")])
def test_after_a_new_beginning_on_the_node_the_console_is_read_from_the_start(lines: tuple[str, ...]):
    known = known_of(KNOWN, ObservedTask(StatusCode.RUNNING, processing_time_ms=500, lines=lines), NOW_MS)
    assert (known.console_count, known.console_tail) == (0, ())


def test_a_canceled_task_keeps_its_console_although_its_time_is_reset():
    known = known_of(KNOWN, ObservedTask(StatusCode.CANCELED, processing_time_ms=-1), NOW_MS)
    assert known.console_count == 3


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(ObservedTask(StatusCode.RUNNING, processing_time_ms=10_000), False, id="nothing"),
        pytest.param(ObservedTask(StatusCode.RUNNING, processing_time_ms=14_999), False, id="a little time"),
        pytest.param(ObservedTask(StatusCode.RUNNING, processing_time_ms=15_000), True, id="more time"),
        pytest.param(ObservedTask(StatusCode.RUNNING, processing_time_ms=10_001, lines=("x",)), True, id="a line"),
        pytest.param(ObservedTask(StatusCode.RUNNING, processing_time_ms=10_001, progress=1), True, id="progress"),
        pytest.param(ObservedTask(StatusCode.QUEUED, processing_time_ms=10_000), True, id="another status"),
    ],
)
def test_what_is_worth_a_write(observation: ObservedTask, expected: bool):
    assert has_changed(KNOWN, known_of(KNOWN, observation, NOW_MS)) is expected


def test_the_first_look_is_always_worth_a_write():
    assert has_changed(None, KNOWN)


def on_node(*, has_ended: bool = False) -> Task:
    """Make a task with two lines before the node's three, and one after."""
    attempt = Attempt(number=1, node=NodeId("a"), node_task_id=NodeTaskId("x"), running_at_ms=2)
    return Task(
        id=ASKED.task,
        name="one",
        upload_owner=ASKED.upload_owner,
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
        state=TaskState.COMPLETED if has_ended else TaskState.RUNNING,
        attempts=(attempt,),
        known=KNOWN,
        timeline=(Moment(at_ms=1, text="B0"), Moment(at_ms=2, text="B1"), Moment(at_ms=3, text="A0")),
    )


@pytest.mark.parametrize(
    ("has_ended", "from_line", "asked_of_node", "expected"),
    [
        pytest.param(False, 0, 0, "B0 B1 a b c", id="all"),
        pytest.param(False, 1, 0, "B1 a b c", id="within the lines before"),
        pytest.param(False, 2, 0, "a b c", id="the node's first line"),
        pytest.param(False, 4, 2, "c", id="within the node's lines"),
        pytest.param(False, 9, 7, "", id="past the end"),
        pytest.param(False, -1, -1, "c", id="last"),
        pytest.param(False, -4, -4, "B1 a b c", id="last ones over both"),
        pytest.param(False, -99, -99, "B0 B1 a b c", id="more than there are"),
        pytest.param(True, 0, 0, "B0 B1 a b c A0", id="ended: all"),
        pytest.param(True, 5, 3, "A0", id="ended: the line after"),
        pytest.param(True, 6, 4, "", id="ended: past the end"),
        pytest.param(True, -1, -1, "A0", id="ended: last"),
        pytest.param(True, -3, -2, "b c A0", id="ended: last ones over both"),
    ],
)
def test_what_the_cluster_did_stands_around_the_lines_of_the_node(
    has_ended: bool, from_line: int, asked_of_node: int, expected: str
):
    task = on_node(has_ended=has_ended)
    own = own_lines(task)
    assert own.node_line(from_line) == asked_of_node
    assert own.around(kept_lines(KNOWN, asked_of_node), KNOWN.console_count, from_line) == expected.split()


def test_a_task_that_waits_again_has_only_its_timeline():
    task = msgspec.structs.replace(on_node(), state=TaskState.WAITING)
    assert own_lines(task).around((), 0, 0) == ["B0", "B1", "A0"]


def test_of_a_long_console_what_is_kept_is_its_tail():
    known = LastKnown(code=StatusCode.RUNNING, console_count=10, console_tail=("8", "9"))
    assert kept_lines(known, 0) == ("8", "9")
    assert kept_lines(known, 9) == ("9",)
    assert kept_lines(None, 0) == ()


def test_a_delay_queue_gives_what_is_due_in_order_and_once():
    delay_queue: DelayQueue[str] = DelayQueue()
    delay_queue.set("b", Instant(20))
    delay_queue.set("a", Instant(10))
    delay_queue.set("late", Instant(99))
    assert delay_queue.next() == 10
    assert delay_queue.take_due(Instant(50)) == ["a", "b"]
    assert delay_queue.take_due(Instant(50)) == []
    assert delay_queue.next() == 99


def test_a_key_that_is_set_again_moves_and_a_discarded_one_is_never_due():
    delay_queue: DelayQueue[str] = DelayQueue()
    delay_queue.set("a", Instant(10))
    delay_queue.set("a", Instant(30))
    delay_queue.set("b", Instant(10))
    delay_queue.discard("b")
    assert delay_queue.take_due(Instant(20)) == []
    assert delay_queue.take_due(Instant(30)) == ["a"]
    assert delay_queue.next() is None
