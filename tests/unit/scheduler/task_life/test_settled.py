"""What the record of a task keeps when nothing more happens to it."""

import msgspec
import pytest

from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.tasks import Ended, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId
from clusterodm.services.scheduler.task_life.attempts import (
    ERROR_LENGTH,
    LOST,
    REASON_LENGTH,
    AttemptPolicy,
    AttemptResult,
    shortened,
)
from clusterodm.services.scheduler.task_life.settled import LAST_REASON_LENGTH, compacted
from clusterodm.services.scheduler.task_life.settled import REASON_LENGTH as SHORT_LENGTH
from clusterodm.services.scheduler.task_life.transitions import Site, observed, placed, started, tried
from clusterodm.services.scheduler.tasks.core.submission import submitted
from tests.scheduling import NOW_MS, task_id

KIB = 1024
OPTIONS = (
    OptionValue("dsm", True),
    OptionValue("feature-quality", "high"),
    OptionValue("orthophoto-resolution", 2.5),
    OptionValue("pc-quality", "medium"),
    OptionValue("auto-boundary", True),
    OptionValue("min-num-features", 10_000),
    OptionValue("boundary", '{"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [5, 6], [1, 2]]]}'),
)
ASKED = SubmitTask(
    task=task_id("one"),
    name="A field in summer",
    upload_owner=InstanceId("5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e"),
    created_at_ms=NOW_MS,
    images_count=300,
    options=OPTIONS,
)
NODE = Node(
    id=NodeId("node-17.example.net-3000"),
    hostname="node-17.example.net",
    port=3000,
    machine=MachineId("0b7e9a52"),
    price_per_hour=0.4321,
)
WORDS = "not an option of this node; " * 1_000


def attempted(reasons: list[str]) -> Task:
    """Try a task as often, and give it up then."""
    task, policy = submitted(ASKED, NOW_MS, ""), AttemptPolicy(max_attempts_count=len(reasons))
    for number, reason in enumerate(reasons):
        task = placed(task, NODE, NodeTaskId(task_id(f"attempt {number}")), NOW_MS, 7)
        task = tried(
            started(task, NODE.name, NOW_MS), AttemptResult(reason, LOST, counted=True), NODE.name, policy, NOW_MS
        )
    assert task.state is TaskState.FAILED
    return task


def failed(error: str) -> Task:
    """Let its node say why it has failed."""
    task = started(placed(submitted(ASKED, NOW_MS, ""), NODE, NodeTaskId(ASKED.task), NOW_MS), NODE.name, NOW_MS)
    said = LastKnown(code=StatusCode.FAILED, error=error, options=(*OPTIONS, OptionValue("max-concurrency", 4)))
    return observed(task, said, Site(NODE.name), AttemptPolicy(), NOW_MS)


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(
            attempted([f"{number}: {WORDS}" for number in range(3)]), id="three attempts, each for another reason"
        ),
        pytest.param(attempted([WORDS] * 3), id="three attempts for the same reason"),
        pytest.param(failed(WORDS), id="its node says very much"),
    ],
)
def test_a_record_without_its_console_is_small_whatever_was_said_of_it(task: Task):
    ended = Ended(task=msgspec.structs.replace(compacted(task), timeline=()), revision=1_000_000)
    assert len(msgspec.json.encode(ended)) <= 3 * KIB
    assert compacted(task).timeline == task.timeline


def test_the_reason_of_the_last_attempt_is_kept_longer_than_those_before():
    kept = compacted(attempted([f"{number}: {WORDS}" for number in range(3)]))
    assert [len(each.reason) for each in kept.attempts] == [SHORT_LENGTH, SHORT_LENGTH, LAST_REASON_LENGTH]
    assert kept.attempts[0].reason.startswith("0: not an option")
    assert kept.attempts[0].reason.endswith("…")


def test_short_reasons_stay_as_they_are():
    task = attempted(["its node is gone", "its disk is full", "its node is gone"])
    assert compacted(task) == task


def test_a_task_that_may_still_be_tried_has_the_whole_reasons():
    assert {len(each.reason) for each in attempted([WORDS] * 3).attempts} == {REASON_LENGTH}


def test_what_a_client_reads_of_a_failure_is_the_same_once_its_record_is_put_away():
    for task in (attempted([f"{number}: {WORDS}" for number in range(3)]), failed(WORDS)):
        assert len(task.error) <= ERROR_LENGTH
        assert compacted(task).error == task.error


def test_of_many_long_reasons_the_beginning_of_each_is_told():
    error = attempted([f"{number} {WORDS}" for number in range(5)]).error
    assert all(f"attempt {number + 1}: {number} not an option" in error for number in range(5))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("", "", id="none"),
        pytest.param("abcd", "abcd", id="as long as it may be"),
        pytest.param("abcde", "abc…", id="longer"),
    ],
)
def test_a_long_text_says_that_it_goes_on(text: str, shown: str):
    assert shortened(text, 4) == shown
