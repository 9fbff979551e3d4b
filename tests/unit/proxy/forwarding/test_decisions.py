"""forwarding/core and the throttle: what forwarding decides and sends."""

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.retry import RetryPolicy
from clusterodm.libs.http1.client import ResponseData
from clusterodm.services.proxy.forwarding.adapters.node_call import Collected, Throttle
from clusterodm.services.proxy.forwarding.core.decisions import (
    ERRED,
    UNREACHED,
    DeliveryStep,
    Failure,
    ImagesCount,
    NextStep,
    Outcome,
    Proof,
    Retries,
    StepDecision,
    counted,
    judge,
    next_step,
    sending_order,
)
from clusterodm.services.proxy.forwarding.core.node_messages import form, one_file

UNREACHABLE, REFUSED, ERRED_, UNKNOWN = Outcome.UNREACHABLE, Outcome.REFUSED, Outcome.ERRED, Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("step", "failure", "expected"),
    [
        pytest.param(DeliveryStep.BEGIN, {"outcome": UNREACHABLE}, {"again_after_s": 0.5}, id="init not seen"),
        pytest.param(
            DeliveryStep.SEND, {"outcome": UNREACHABLE, "failures_count": 2}, {"again_after_s": 1.0}, id="file not seen"
        ),
        pytest.param(
            DeliveryStep.COMMIT,
            {"outcome": UNREACHABLE, "failures_count": 4},
            {"again_after_s": 4.0},
            id="commit not seen",
        ),
        pytest.param(DeliveryStep.BEGIN, {"outcome": REFUSED}, {"node_refused": True}, id="init refused"),
        *(
            pytest.param(
                step,
                {"outcome": REFUSED, "reason": "Invalid set-uuid: 6f96"},
                {"commit_uncertain": True},
                id=f"the node has a task of that id ({step.name})",
            )
            for step in (DeliveryStep.BEGIN, DeliveryStep.SUBMIT)
        ),
        pytest.param(DeliveryStep.SEND, {"outcome": REFUSED}, {"node_refused": True}, id="file refused"),
        pytest.param(DeliveryStep.COMMIT, {"outcome": REFUSED}, {"node_refused": True}, id="commit refused is certain"),
        pytest.param(
            DeliveryStep.COMMIT,
            {"outcome": REFUSED, "erred_before": True},
            {"commit_uncertain": True},
            id="commit refused after an error may have been taken before",
        ),
        pytest.param(
            DeliveryStep.BEGIN, {"outcome": ERRED_}, {"again_after_s": 0.25}, id="init answered with an error"
        ),
        pytest.param(DeliveryStep.SEND, {"outcome": ERRED_}, {"again_after_s": 0.25}, id="file answered with an error"),
        pytest.param(
            DeliveryStep.SEND,
            {"outcome": ERRED_, "provable": False},
            {},
            id="a file that no count would show is not sent again",
        ),
        pytest.param(
            DeliveryStep.SEND,
            {"outcome": ERRED_, "retry_after_s": 3.0},
            {"again_after_s": 3.0},
            id="the node names a pause",
        ),
        pytest.param(
            DeliveryStep.COMMIT, {"outcome": ERRED_}, {"again_after_s": 0.25}, id="commit answered with an error"
        ),
        pytest.param(DeliveryStep.BEGIN, {"outcome": UNKNOWN}, {}, id="init in doubt"),
        pytest.param(DeliveryStep.SEND, {"outcome": UNKNOWN}, {}, id="a file in doubt is never sent again"),
        pytest.param(DeliveryStep.COMMIT, {"outcome": UNKNOWN}, {"commit_uncertain": True}, id="commit in doubt"),
        pytest.param(
            DeliveryStep.SUBMIT, {"outcome": UNKNOWN}, {"commit_uncertain": True}, id="one-step task in doubt"
        ),
    ],
)
def test_an_outcome_decides_about_the_attempt(
    step: DeliveryStep, failure: dict[str, Any], expected: dict[str, Any]
) -> None:
    decision = judge(step, Failure(**{"reason": "why"} | failure), Retries(), chance=0.0)
    assert replace(decision, reason="why") == StepDecision(reason="why", **expected)


@pytest.mark.parametrize(
    ("outcome", "policy", "uncertain"),
    [
        pytest.param(UNREACHABLE, UNREACHED, False, id="never reached: over, and certain"),
        pytest.param(ERRED_, ERRED, True, id="always an error: over, and the commit in doubt"),
    ],
)
def test_a_node_is_tried_a_bounded_number_of_times(outcome: Outcome, policy: RetryPolicy, uncertain: bool) -> None:
    failures = [Failure(outcome=outcome, reason="why", failures_count=number) for number in range(1, 20)]
    verdicts = [judge(DeliveryStep.COMMIT, failure, Retries(), chance=0.5) for failure in failures]
    assert sum(1 for decision in verdicts if decision.again_after_s is not None) == policy.tries_count - 1
    assert verdicts[-1] == StepDecision(reason="why (tried 19 times)", commit_uncertain=uncertain)


@pytest.mark.parametrize(
    ("seen", "settled", "files", "images", "doubted", "proof"),
    [
        pytest.param(20, True, 20, 20, 3, Proof.RIGHT, id="each once"),
        pytest.param(20, False, 20, 20, 3, Proof.RIGHT, id="each once, before anything is sorted out"),
        pytest.param(21, True, 20, 20, 3, Proof.WRONG, id="one twice"),
        pytest.param(21, False, 20, 20, 3, Proof.WRONG, id="one twice, before anything is sorted out"),
        pytest.param(-1, False, 20, 20, 3, Proof.OPEN, id="not counted yet"),
        pytest.param(0, False, 20, 20, 3, Proof.OPEN, id="an older node that has not counted yet"),
        pytest.param(20, True, 22, 20, 3, Proof.RIGHT, id="what is no image is sorted out"),
        pytest.param(22, False, 22, 20, 1, Proof.RIGHT, id="not sorted out yet, and too many for one doubt"),
        pytest.param(22, False, 22, 20, 2, Proof.OPEN, id="not sorted out yet, or two images twice"),
        pytest.param(22, True, 22, 20, 2, Proof.WRONG, id="two images twice"),
        pytest.param(23, False, 22, 20, 2, Proof.WRONG, id="not sorted out, and one twice"),
        pytest.param(19, True, 20, 20, 3, Proof.WRONG, id="one missing"),
    ],
)
def test_the_nodes_count_of_images_proves_that_each_is_there_once(
    seen: int, settled: bool, files: int, images: int, doubted: int, proof: Proof
) -> None:
    assert counted(ImagesCount(seen, settled), files, images, doubted) is proof


def test_the_largest_files_go_first() -> None:
    assert sending_order({"a": 1, "c": 5, "b": 5, "d": 9}) == ["d", "b", "c", "a"]


@pytest.mark.parametrize(
    ("state", "move"),
    [
        pytest.param(None, NextStep.ADOPT, id="unknown"),
        pytest.param(TaskState.WAITING, NextStep.WATCH, id="waiting"),
        pytest.param(TaskState.FORWARDING, NextStep.WATCH, id="forwarding in doubt"),
        pytest.param(TaskState.RUNNING, NextStep.WATCH, id="running"),
        pytest.param(TaskState.COMPLETED, NextStep.FINISH, id="completed"),
        pytest.param(TaskState.FAILED, NextStep.FINISH, id="failed"),
        pytest.param(TaskState.CANCELED, NextStep.FINISH, id="canceled"),
    ],
)
def test_the_inputs_stay_until_the_task_has_ended(state: TaskState | None, move: NextStep) -> None:
    assert next_step(state) is move


def test_only_what_is_said_to_be_removed_is_dropped() -> None:
    assert next_step(None, removed=True) is NextStep.DROP


def test_what_is_noted_of_a_removed_task_stays_until_its_nodes_have_been_told() -> None:
    assert next_step(None, removed=True, untold=True) is NextStep.KEEP_NOTES


@pytest.mark.parametrize(
    ("name", "header"),
    [
        pytest.param("IMG 1.JPG", b'filename="IMG 1.JPG"', id="plain"),
        pytest.param('a"b.jpg', b'filename="a\\"b.jpg"', id="quote"),
        pytest.param("a\\b.jpg", b'filename="a\\\\b.jpg"', id="backslash"),
        pytest.param(
            "100%22.jpg", b"filename*=utf-8''100%2522.jpg; filename=\"100%22.jpg\"", id="percent: in both forms"
        ),
        pytest.param("ü.jpg", "filename*=utf-8''%C3%BC.jpg; filename=\"ü.jpg\"".encode(), id="UTF-8: in both forms"),
        pytest.param("ü東.jpg", 'filename="ü東.jpg"'.encode(), id="UTF-8"),
    ],
)
def test_a_file_name_goes_out_as_the_nodes_parser_takes_it_back(name: str, header: bytes) -> None:
    frame = one_file("bb", name)
    assert header in frame.head
    assert frame.head.startswith(b"--bb\r\n")
    assert frame.head.endswith(b"\r\n\r\n")
    assert frame.tail == b"\r\n--bb--\r\n"


def test_a_name_with_a_line_break_never_goes_out() -> None:
    with pytest.raises(NodeFailed):
        one_file("bb", "a\r\nX-Evil: 1")


def test_a_form_holds_its_fields_in_order() -> None:
    body = form("bb", [("name", "é"), ("options", "[]")])
    assert body.head.decode() == (
        '--bb\r\nContent-Disposition: form-data; name="name"\r\n\r\né\r\n'
        '--bb\r\nContent-Disposition: form-data; name="options"\r\n\r\n[]\r\n--bb--\r\n'
    )
    assert body.content_type == "multipart/form-data; boundary=bb"


def test_transfers_share_one_speed_limit() -> None:
    now_s = 100.0
    throttle = Throttle(1000, clock=lambda: now_s)
    assert [throttle.reserve(500) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    now_s = 110.0
    assert throttle.reserve(500) == 0.0


def test_without_a_limit_nobody_waits() -> None:
    throttle = Throttle(0)
    assert [throttle.reserve(1 << 40) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_an_answer_that_comes_in_bits_takes_no_more_than_its_bytes() -> None:
    collected = Collected()
    tracemalloc.start()
    for number in range(50_000):
        collected.take(ResponseData(b"%02d" % (number % 100)))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(collected.content) == 100_000
    assert peak_bytes < 400_000
