"""What info and output say, from the record and the node's own words."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.console import attempt_on_node, kept_lines, own_lines
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, LastKnown, Moment, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.services.proxy.polling.core.task_info import (
    cluster_info,
    code_of,
    known_info,
    line_number,
    node_info,
    own_lines_with_place,
)

ATTEMPT = Attempt(number=1, node=NodeId("n"), node_task_id=NodeTaskId("x"), running_at_ms=20)
TIMELINE = (Moment(at_ms=10, text="accepted"), Moment(at_ms=20, text="running on A"))


def task(state: TaskState = TaskState.RUNNING, **values: Any) -> Task:
    """A task of the cluster."""
    given_values: dict[str, Any] = {
        "attempts": (ATTEMPT,),
        "timeline": TIMELINE,
        "known": None,
        "submodel": False,
        "images_count": 2,
        **values,
    }
    return Task(
        id=TaskId("t"),
        name="mine",
        state=state,
        upload_owner=InstanceId("i"),
        created_at_ms=5,
        committed_at_ms=10,
        **given_values,
    )


@pytest.mark.parametrize(
    ("state", "said", "shown"),
    [
        (TaskState.WAITING, None, 20),
        (TaskState.FORWARDING, None, 20),
        (TaskState.RUNNING, None, 20),
        (TaskState.RUNNING, 10, 20),
        (TaskState.RUNNING, 20, 20),
        (TaskState.RUNNING, 30, 20),
        (TaskState.RUNNING, 40, 20),
        (TaskState.RUNNING, 50, 20),
        (TaskState.COMPLETED, 20, 40),
        (TaskState.FAILED, 40, 30),
        (TaskState.CANCELED, 20, 50),
    ],
)
@pytest.mark.parametrize("submodel", [False, True], ids=["", "submodel"])
def test_the_record_decides_and_the_node_adds(state: TaskState, said: int | None, shown: int, submodel: bool) -> None:
    record = task(state, submodel=submodel)
    info = known_info(record, WallMs(30)) if said is None else node_info(record, {"status": {"code": said}})
    assert (info or {})["status"]["code"] == shown


@pytest.mark.parametrize("said", [None, 10, 20], ids=["it is silent", "it says queued", "it says running"])
@pytest.mark.parametrize("seen", [None, 10, 20], ids=["not seen yet", "seen queued", "seen running"])
def test_what_was_running_while_it_was_sent_is_not_queued_on_its_node(said: int | None, seen: int | None) -> None:
    before = task(TaskState.FORWARDING)
    on_node = task(TaskState.RUNNING, known=None if seen is None else LastKnown(code=StatusCode(seen)))
    told = known_info(on_node, WallMs(30)) if said is None else node_info(on_node, {"status": {"code": said}})
    assert (code_of(before), (told or {})["status"]) == (StatusCode.RUNNING, {"code": 20})


def test_a_task_is_queued_when_a_slot_has_been_looked_for_in_vain() -> None:
    waiting = task(TaskState.WAITING, waiting_because="no free slot (1 of 1 busy)")
    assert code_of(waiting) == StatusCode.QUEUED
    part = msgspec.structs.replace(waiting, submodel=True)
    assert (code_of(part), known_info(part, now_ms=110)["processingTime"]) == (StatusCode.RUNNING, 100)
    beyond = msgspec.structs.replace(part, beyond=True)
    assert (code_of(beyond), known_info(beyond, now_ms=110)["processingTime"]) == (StatusCode.QUEUED, -1)


def test_a_restarted_task_is_shown_as_created_then() -> None:
    again = task(TaskState.RUNNING, restarted_at_ms=77)
    assert known_info(again, 80)["dateCreated"] == 77
    assert (node_info(again, {"status": {"code": 20}, "dateCreated": 5}) or {})["dateCreated"] == 77


def test_whole_percents_are_written_without_a_fraction() -> None:
    known = LastKnown(code=StatusCode.RUNNING, progress=97.0)
    assert msgspec.json.encode(known_info(task(known=known), 0)["progress"]) == b"97"
    assert known_info(task(known=msgspec.structs.replace(known, progress=4.5)), 0)["progress"] == 4.5
    assert msgspec.json.encode(known_info(task(TaskState.COMPLETED), 0)["progress"]) == b"100"


@pytest.mark.parametrize(
    ("said", "shown"),
    [(1e308, 100), (10**400, 100), (-3, 0), (True, 0), ("x", 0), (None, 0), (float("inf"), 100), (4.5, 4.5), (97, 97)],
)
def test_a_nodes_progress_is_shown_as_a_number_within_0_and_100(said: Any, shown: float) -> None:
    info = node_info(task(TaskState.RUNNING), {"status": {"code": 20}, "progress": said}) or {}
    assert (info["progress"], type(info["progress"]) is bool) == (shown, False)


@pytest.mark.parametrize(("said", "shown"), [(1e308, -1), (float("inf"), -1), (-(10**400), -1), (7.9, 7), ("7", -1)])
def test_a_nodes_time_is_shown_as_milliseconds_that_a_clock_can_say(said: Any, shown: int) -> None:
    info = node_info(task(TaskState.RUNNING), {"status": {"code": 20}, "processingTime": said}) or {}
    assert info["processingTime"] == shown


@pytest.mark.parametrize(
    "said",
    [10**308, -(10**308), -5, True, 0.5, 1e15, "7", "<script>", None, [], {}, [[[]]], 2**31],
)
def test_a_nodes_number_of_images_that_is_none_gives_way_to_the_recorded_one(said: Any) -> None:
    info = node_info(task(TaskState.RUNNING, images_count=3), {"status": {"code": 20}, "imagesCount": said}) or {}
    assert (info["imagesCount"], type(info["imagesCount"])) == (3, int)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine makes examples slowly
@given(
    said=st.dictionaries(
        st.sampled_from(["status", "error", "uuid", "processingTime", "output", "progress", "imagesCount"]), JSON
    ),
    code=st.one_of(st.none(), st.integers(-5, 60)),
    state=st.sampled_from(TaskState),
)
def test_whatever_a_node_says_no_client_sees_an_error_or_a_code_that_does_not_exist(
    said: dict[str, Any], code: int | None, state: TaskState
) -> None:
    if code is not None:
        said = {**said, "status": {"code": code}}
    info = node_info(task(state), said) or known_info(task(state), now_ms=30)

    assert "error" not in info
    assert info["uuid"] == "t"
    assert info["status"]["code"] in {10, 20, 30, 40, 50}
    assert type(info["processingTime"]) is int
    assert type(info["dateCreated"]) is int
    assert 0 <= info.get("progress", 0) <= 100
    assert type(info["imagesCount"]) is int
    msgspec.json.encode(info)


def test_a_failure_gives_its_reason() -> None:
    assert known_info(task(TaskState.FAILED, error="Cannot process dataset"), 0)["status"] == {
        "code": 30,
        "errorMessage": "Cannot process dataset",
    }
    known = LastKnown(code=StatusCode.FAILED, error="from the node")
    assert known_info(task(TaskState.FAILED, known=known), 0)["status"]["errorMessage"] == "from the node"


def test_a_task_on_its_way_counts_its_time_from_the_commit() -> None:
    assert known_info(task(TaskState.FORWARDING), now_ms=110)["processingTime"] == 100
    assert known_info(task(TaskState.WAITING), now_ms=110)["processingTime"] == -1


def test_only_an_attempt_that_has_run_is_asked_about() -> None:
    assert attempt_on_node(task(TaskState.RUNNING)) == ATTEMPT
    assert attempt_on_node(task(TaskState.COMPLETED)) == ATTEMPT
    assert attempt_on_node(task(TaskState.WAITING)) is None
    assert attempt_on_node(task(TaskState.FORWARDING)) is None
    never_ran = msgspec.structs.replace(ATTEMPT, running_at_ms=None, state=AttemptState.ENDED)
    assert attempt_on_node(task(TaskState.CANCELED, attempts=(never_ran,))) is None


# --- console -------------------------------------------------------------------------------------------------------

NODES = [f"n{number}" for number in range(6)]


def shown(record: Task, from_line: int, node_lines: list[str]) -> list[str]:
    """Ask a node that has these lines as the handler does."""
    own = own_lines(record)
    count = record.known.console_count if record.known else 0
    return own.around(node_lines[own.node_line(from_line) :], count, from_line)


@given(from_line=st.integers(-15, 15), count=st.integers(0, 6), ended=st.booleans())
def test_any_line_number_cuts_the_whole_console(from_line: int, count: int, ended: bool) -> None:
    moments = (*TIMELINE, Moment(at_ms=30, text="done"), Moment(at_ms=31, text="stored"))
    known = LastKnown(code=StatusCode.COMPLETED, console_count=count)
    record = task(TaskState.COMPLETED if ended else TaskState.RUNNING, timeline=moments, known=known)
    whole = ["accepted", "running on A", *NODES[:count], *(["done", "stored"] if ended else [])]

    assert shown(record, from_line, NODES[:count]) == whole[from_line:]


@given(steps=st.lists(st.integers(0, 3), max_size=10))
def test_a_client_that_asks_from_where_it_is_gets_each_line_once(steps: list[int]) -> None:
    seen: list[str] = []
    count = 0
    for step in steps:
        count = min(6, count + step)
        record = task(known=LastKnown(code=StatusCode.RUNNING, console_count=count))
        seen += shown(record, len(seen), NODES[:count])
    ended = task(
        TaskState.COMPLETED,
        timeline=(*TIMELINE, Moment(at_ms=40, text="done")),
        known=LastKnown(code=StatusCode.COMPLETED, console_count=count),
    )
    seen += shown(ended, len(seen), NODES[:count])

    assert seen == ["accepted", "running on A", *NODES[:count], "done"]


@given(node_from=st.integers(-8, 12))
def test_the_stored_tail_stands_in_for_a_node_with_the_same_numbers(node_from: int) -> None:
    lines = [f"n{number}" for number in range(10)]
    known = LastKnown(code=StatusCode.RUNNING, console_count=10, console_tail=tuple(lines[6:]))

    stored = list(kept_lines(known, node_from))

    assert stored == [line for line in lines[node_from:] if line in lines[6:]]


def test_a_waiting_task_says_its_place() -> None:
    assert (
        own_lines_with_place(task(TaskState.WAITING, attempts=()), position=3).before[-1]
        == "running on A (place 3 in the queue)"
    )
    assert own_lines_with_place(task(TaskState.WAITING, attempts=(), timeline=()), position=3).before == ()


@pytest.mark.parametrize(
    ("text", "number"),
    [("5", 5), ("-3", -3), ("+2", 2), (" 7x", 7), ("1.9", 1), ("abc", 0), ("", 0), ("9" * 40, 10**15 - 1)],
)
def test_line_numbers_are_read_as_nodeodm_reads_them(text: str, number: int) -> None:
    assert line_number(text) == number


# --- the cluster ---------------------------------------------------------------------------------------------------


def test_info_tells_the_real_totals() -> None:
    summary = ClusterSummary(
        online_count=2,
        task_queue_count=3,
        max_parallel_tasks=4,
        max_images=100,
        total_memory_bytes=8,
        available_memory_bytes=5,
        cpu_cores_count=16,
        engine="odm",
        engine_version="3.5",
    )

    assert cluster_info(summary) == {
        "version": "2.2.4",
        "taskQueueCount": 3,
        "totalMemory": 8,
        "availableMemory": 5,
        "cpuCores": 16,
        "maxImages": 100,
        "maxParallelTasks": 4,
        "engineVersion": "3.5",
        "engine": "odm",
    }


def test_without_nodes_uploads_are_still_invited() -> None:
    info = cluster_info(ClusterSummary())

    assert (info["maxImages"], info["maxParallelTasks"]) == (None, 1)


# --- images in an archive ------------------------------------------------------------------------------------------

ZIP: dict[str, Any] = {"images_count": None, "zip_url": "http://x/y.zip"}


@pytest.mark.parametrize(
    ("values", "count"),
    [
        pytest.param(ZIP, -1, id="nobody has counted them: as NodeODM says it"),
        pytest.param({**ZIP, "known": LastKnown(code=StatusCode.RUNNING, images_count=7)}, 7, id="its node has"),
        pytest.param({**ZIP, "images_count": 7}, 7, id="its node had"),
        pytest.param({"images_count": 0}, 0, id="none"),
    ],
)
def test_unknown_is_not_zero(values: dict[str, Any], count: int) -> None:
    assert known_info(task(**values), WallMs(0))["imagesCount"] == count


@pytest.mark.parametrize(
    ("values", "said", "took_ms", "count"),
    [
        pytest.param(ZIP, 0, 5, -1, id="the node has not counted yet"),
        pytest.param(ZIP, -1, 5, -1, id="the node says so"),
        pytest.param(ZIP, 7, 5, 7, id="the node has counted"),
        pytest.param(ZIP, 1, -1, -1, id="the node unpacks: the archive is one file"),
        pytest.param({**ZIP, "images_count": 7}, 0, 5, 7, id="an earlier node has"),
        pytest.param({}, 0, 5, 0, id="no archive: as the node says"),
    ],
)
def test_a_nodes_number_counts_when_it_is_one(values: dict[str, Any], said: int, took_ms: int, count: int) -> None:
    info = node_info(task(**values), {"status": {"code": 20}, "processingTime": took_ms, "imagesCount": said})
    assert info is not None
    assert info["imagesCount"] == count
