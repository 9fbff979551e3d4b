"""The life of a task: the table, and the functions that walk it."""

from collections.abc import Callable

import msgspec
import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Cleanup, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId
from clusterodm.libs.common.statemachine import ImpossibleStep
from clusterodm.services.scheduler.task_life.attempts import KEPT_COUNT, AttemptPolicy, AttemptResult, ended
from clusterodm.services.scheduler.task_life.life import (
    CHATTY_COUNT,
    LIFE,
    TaskStep,
    abandoned,
    after,
    canceled,
    removed,
    restarted,
    started_over,
)
from clusterodm.services.scheduler.task_life.transitions import (
    NOT_ENOUGH_MEMORY,
    Site,
    observed,
    placed,
    started,
    tried,
    uncertain,
    waiting_because,
)
from clusterodm.services.scheduler.tasks.core.submission import same_commit, submitted
from tests.scheduling import NOW_MS, task_id

NODE = Node(id=NodeId("a-3000"), hostname="a", port=3000)
POLICY = AttemptPolicy(max_attempts_count=3, first_backoff_ms=1000, max_backoff_ms=8000)
SITE = Site("a:3000", memory_bytes=8)
ASKED = SubmitTask(task=task_id("one"), name="one", upload_owner=InstanceId("p"), created_at_ms=1, images_count=3)


def new() -> Task:
    return submitted(ASKED, NOW_MS, "")


def forwarding() -> Task:
    return placed(new(), NODE, NodeTaskId(ASKED.task), NOW_MS)


def running() -> Task:
    return started(forwarding(), "a:3000", NOW_MS)


def seen(code: StatusCode, error: str = "") -> LastKnown:
    return LastKnown(code=code, error=error)


def completed() -> Task:
    return observed(running(), seen(StatusCode.COMPLETED), SITE, POLICY, NOW_MS)


def failed() -> Task:
    return observed(running(), seen(StatusCode.FAILED, "bad images"), SITE, POLICY, NOW_MS)


STATES = {
    TaskState.WAITING: new,
    TaskState.FORWARDING: forwarding,
    TaskState.RUNNING: running,
    TaskState.COMPLETED: completed,
    TaskState.FAILED: failed,
    TaskState.CANCELED: lambda: canceled(new(), Cleanup.NONE, NOW_MS),
}
STEPS = {
    TaskStep.PLACE: lambda task: placed(task, NODE, NodeTaskId("x"), NOW_MS),
    TaskStep.START: lambda task: started(task, "a:3000", NOW_MS),
    TaskStep.RETRY: lambda task: tried(task, AttemptResult("lost"), "a:3000", POLICY, NOW_MS),
    TaskStep.GIVE_UP: lambda task: tried(
        task, AttemptResult("lost", counted=True), "a", AttemptPolicy(max_attempts_count=1), NOW_MS
    ),
    TaskStep.ABANDON: lambda task: abandoned(task, "its photos are gone", NOW_MS),
    TaskStep.COMPLETE: lambda task: observed(task, seen(StatusCode.COMPLETED), SITE, POLICY, NOW_MS),
    TaskStep.FAIL: lambda task: observed(task, seen(StatusCode.FAILED, "bad"), SITE, POLICY, NOW_MS),
    TaskStep.CANCEL: lambda task: canceled(task, Cleanup.NONE, NOW_MS),
    TaskStep.RESTART: lambda task: restarted(task, None, NOW_MS),
}


@pytest.mark.parametrize("step", [pytest.param(step, id=step.value) for step in STEPS])
@pytest.mark.parametrize("state", [pytest.param(state, id=state.value) for state in STATES])
def test_every_function_does_what_the_table_says_and_nothing_else(state: TaskState, step: TaskStep):
    task = STATES[state]()
    if state is TaskState.CANCELED and step is TaskStep.RESTART:
        task = canceled(running(), Cleanup.NONE, NOW_MS)
    assert task.state is state
    if (state, step) in LIFE:
        assert STEPS[step](task).state is LIFE[state, step]
    else:
        with pytest.raises(ImpossibleStep):
            STEPS[step](task)


def test_every_state_but_the_end_has_a_way_out_and_every_state_is_reached():
    assert {state for state, _ in LIFE if state} == set(TaskState)
    assert set(LIFE.values()) == set(TaskState)


def test_a_step_that_is_not_in_the_table_says_so():
    with pytest.raises(ImpossibleStep, match="a task that is completed cannot place"):
        after(TaskState.COMPLETED, TaskStep.PLACE)


@pytest.mark.parametrize(
    ("make", "attempt_state"),
    [
        pytest.param(new, None, id="waiting"),
        pytest.param(forwarding, AttemptState.FORWARDING, id="forwarding"),
        pytest.param(lambda: uncertain(forwarding(), "silent"), AttemptState.UNCERTAIN, id="uncertain"),
        pytest.param(running, AttemptState.RUNNING, id="running"),
        pytest.param(completed, AttemptState.ENDED, id="completed"),
        pytest.param(failed, AttemptState.ENDED, id="failed"),
        pytest.param(lambda: canceled(running(), Cleanup.CANCEL, NOW_MS), AttemptState.ENDED, id="canceled"),
        pytest.param(lambda: restarted(completed(), None, NOW_MS), AttemptState.RUNNING, id="restarted"),
    ],
)
def test_the_attempt_moves_with_the_task(make: Callable[[], Task], attempt_state: AttemptState | None):
    attempt = make().attempt
    assert (attempt.state if attempt else None) is attempt_state


def test_the_first_attempt_is_number_one_and_the_next_is_two():
    again = placed(tried(forwarding(), AttemptResult("reset"), "a", POLICY, NOW_MS), NODE, NodeTaskId("x"), NOW_MS)
    assert [attempt.number for attempt in again.attempts] == [1, 2]


def test_attempts_that_do_not_count_never_fail_a_task():
    task = forwarding()
    for _ in range(50):
        task = placed(tried(task, AttemptResult("nobody home"), "a", POLICY, NOW_MS), NODE, NodeTaskId("x"), NOW_MS)
    assert task.state is TaskState.FORWARDING
    assert len(task.attempts) <= KEPT_COUNT + 1
    assert task.attempts[-1].number == 51


def test_counted_attempts_are_never_dropped_from_the_record():
    attempts = tuple(
        Attempt(number=number, node=NodeId("a"), node_task_id=NodeTaskId("x"), counted=number == 1)
        for number in range(1, KEPT_COUNT + 5)
    )
    kept = ended(attempts, AttemptResult("reset"), NOW_MS)
    assert len(kept) == KEPT_COUNT
    assert kept[0].number == 1


def test_a_task_fails_with_the_reason_of_every_attempt():
    task = running()
    for reason in ("node silent", "unknown to the node"):
        task = started(
            placed(
                tried(task, AttemptResult(reason, counted=True), "a", POLICY, NOW_MS), NODE, NodeTaskId("x"), NOW_MS
            ),
            "a",
            NOW_MS,
        )
    task = tried(task, AttemptResult("node silent again", counted=True), "a", POLICY, NOW_MS)
    assert task.state is TaskState.FAILED
    assert task.error == "attempt 1: node silent; attempt 2: unknown to the node; attempt 3: node silent again"
    assert task.ended_at_ms == NOW_MS


def test_a_task_that_every_node_refuses_fails_in_the_words_of_the_node():
    task = forwarding()
    for _ in range(2):
        task = tried(task, AttemptResult("Invalid option", counted=True), "a", POLICY, NOW_MS)
        task = placed(task, NODE, NodeTaskId("x"), NOW_MS)
    assert tried(task, AttemptResult("Invalid option", counted=True), "a", POLICY, NOW_MS).error == "Invalid option"


@pytest.mark.parametrize(
    ("failed_count", "expected_ms"),
    [
        pytest.param(1, 1000, id="first"),
        pytest.param(2, 2000, id="doubled"),
        pytest.param(4, 8000, id="longest"),
        pytest.param(5, 8000, id="no longer than that"),
        pytest.param(10_000, 8000, id="after very many"),
    ],
)
def test_the_back_off_doubles_up_to_a_limit(failed_count: int, expected_ms: int):
    assert POLICY.backoff_ms(failed_count) == expected_ms


def test_too_little_memory_is_tried_again_with_more():
    task = observed(running(), seen(StatusCode.FAILED, NOT_ENOUGH_MEMORY), SITE, POLICY, NOW_MS)
    assert (task.state, task.min_memory_bytes) == (TaskState.WAITING, 8)
    assert task.attempts[0].cleanup is Cleanup.REMOVE
    assert task.attempts[0].counted


def test_the_data_of_the_last_attempt_stays_on_its_node():
    task = observed(running(), seen(StatusCode.FAILED, NOT_ENOUGH_MEMORY), SITE, AttemptPolicy(1), NOW_MS)
    assert (task.state, task.error) == (TaskState.FAILED, NOT_ENOUGH_MEMORY)
    assert task.attempts[0].cleanup is Cleanup.NONE


def test_a_restart_forgets_what_was_known_and_is_later_than_the_last_run():
    task = restarted(completed(), None, NOW_MS - 5)
    assert (task.known, task.ended_at_ms, task.error) == (None, None, "")
    assert task.attempts[-1].running_at_ms == NOW_MS + 1


def test_a_task_whose_inputs_nobody_has_gets_no_second_attempt():
    orphan = msgspec.structs.replace(running(), upload_owner=InstanceId(""))
    task = tried(orphan, AttemptResult("node silent", counted=True), "a", POLICY, NOW_MS)
    assert (task.state, task.error) == (TaskState.FAILED, "node silent; its inputs are not kept any more")


def test_removing_a_running_task_leaves_its_node_to_be_told():
    task = removed(running(), NOW_MS)
    assert (task.removed, task.state, task.attempts[0].cleanup) == (True, TaskState.CANCELED, Cleanup.REMOVE)


def test_a_commit_sent_again_is_the_same_only_for_the_same_upload():
    task = new()
    assert same_commit(task, ASKED)
    assert not same_commit(task, msgspec.structs.replace(ASKED, owner="other"))
    assert not same_commit(task, msgspec.structs.replace(ASKED, created_at_ms=2))
    assert not same_commit(removed(task, NOW_MS), ASKED)


def test_why_a_task_waits_is_told_only_when_it_is_news_and_not_too_often():
    task = submitted(ASKED, NOW_MS, "no node is online")
    assert waiting_because(task, "no node is online", NOW_MS + 60_000) is task
    assert waiting_because(task, "all nodes are locked", NOW_MS + 1_000) is task
    told = waiting_because(task, "all nodes are locked", NOW_MS + 30_000)
    assert [line.text for line in told.timeline] == [
        "Waiting for a node: no node is online",
        "Waiting for a node: all nodes are locked",
    ]


def test_a_very_long_timeline_only_grows_by_what_matters():
    task = new()
    for number in range(2 * CHATTY_COUNT):
        task = waiting_because(task, f"reason {number}", NOW_MS + number * 30_000)
    assert len(task.timeline) == CHATTY_COUNT
    assert canceled(task, Cleanup.NONE, NOW_MS).timeline[-1].text == "Canceled"


# --- a clock that goes back ------------------------------------------------------------------------------------------

EARLIER_MS = WallMs(NOW_MS - 7_200_000)
GIVES_UP = AttemptPolicy(max_attempts_count=1, first_backoff_ms=1000, max_backoff_ms=8000)


def waiting_again() -> Task:
    return started_over(canceled(new(), Cleanup.NONE, NOW_MS), None, NOW_MS)


def running_again() -> Task:
    return restarted(completed(), None, NOW_MS)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda: canceled(waiting_again(), Cleanup.NONE, EARLIER_MS), id="canceled while it waits"),
        pytest.param(lambda: canceled(running_again(), Cleanup.NONE, EARLIER_MS), id="canceled while it runs"),
        pytest.param(lambda: abandoned(waiting_again(), "nobody has its photos", EARLIER_MS), id="abandoned"),
        pytest.param(
            lambda: tried(running_again(), AttemptResult("lost", counted=True), "a:3000", GIVES_UP, EARLIER_MS),
            id="given up",
        ),
        *(
            pytest.param(
                lambda code=code: observed(running_again(), seen(code), SITE, POLICY, EARLIER_MS),
                id=f"{code.name} there",
            )
            for code in (StatusCode.COMPLETED, StatusCode.FAILED, StatusCode.CANCELED)
        ),
    ],
)
def test_no_task_ends_before_it_was_last_started_again_where_the_clock_goes_back(end: Callable[[], Task]):
    """Else an older record, restored from a backup, would take the end for one that came before that start, and run it again."""
    task = end()
    assert task.state.ended
    assert task.ended_at_ms is not None
    assert task.ended_at_ms >= task.restarted_at_ms > NOW_MS
