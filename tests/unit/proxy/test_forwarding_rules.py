"""core/forwarding.py, core/outgoing.py and the throttle: what forwarding decides and sends."""

import pytest

from libs.common.errors import NodeFailed
from libs.common.model import TaskState
from services.proxy.adapters.throttle import Throttle
from services.proxy.core.forwarding import (
    RETRY_AFTER_S,
    Move,
    Outcome,
    Step,
    Verdict,
    judge,
    next_move,
    patience_s,
    sending_order,
)
from services.proxy.core.outgoing import form, one_file


@pytest.mark.parametrize(
    ("step", "outcome", "tries", "expected"),
    [
        pytest.param(Step.BEGIN, Outcome.UNREACHABLE, 1, {"again_after_s": 0.5}, id="init not seen"),
        pytest.param(Step.SEND, Outcome.UNREACHABLE, 2, {"again_after_s": 1.0}, id="file not seen"),
        pytest.param(Step.COMMIT, Outcome.UNREACHABLE, 4, {"again_after_s": 4.0}, id="commit not seen"),
        pytest.param(Step.COMMIT, Outcome.UNREACHABLE, 5, {}, id="never reached: over, and certain"),
        pytest.param(Step.SEND, Outcome.UNREACHABLE, 5, {}, id="node gone"),
        pytest.param(Step.BEGIN, Outcome.REFUSED, 1, {"node_refused": True}, id="init refused"),
        pytest.param(Step.SEND, Outcome.REFUSED, 1, {"node_refused": True}, id="file refused"),
        pytest.param(Step.COMMIT, Outcome.REFUSED, 1, {"node_refused": True}, id="commit refused is certain"),
        pytest.param(Step.BEGIN, Outcome.UNKNOWN, 1, {}, id="init in doubt"),
        pytest.param(Step.SEND, Outcome.UNKNOWN, 1, {}, id="a file in doubt is never sent again"),
        pytest.param(Step.COMMIT, Outcome.UNKNOWN, 1, {"commit_uncertain": True}, id="commit in doubt"),
        pytest.param(Step.SUBMIT, Outcome.UNKNOWN, 1, {"commit_uncertain": True}, id="one-step task in doubt"),
    ],
)
def test_an_outcome_decides_about_the_attempt(
    step: Step, outcome: Outcome, tries: int, expected: dict[str, object]
) -> None:
    assert judge(step, outcome, "why", tries) == Verdict(reason="why", **expected)  # type: ignore[arg-type]


def test_a_node_is_tried_a_bounded_number_of_times() -> None:
    verdicts = [judge(Step.SEND, Outcome.UNREACHABLE, "", tries) for tries in range(1, 10)]
    assert sum(1 for verdict in verdicts if verdict.again_after_s is not None) == len(RETRY_AFTER_S)


def test_the_largest_files_go_first() -> None:
    assert sending_order({"a": 1, "c": 5, "b": 5, "d": 9}) == ["d", "b", "c", "a"]


@pytest.mark.parametrize(
    ("position", "seconds"),
    [pytest.param(1, 5.05, id="first"), pytest.param(100, 10, id="later"), pytest.param(10**6, 60, id="far back")],
)
def test_the_further_back_in_the_queue_the_more_patient(position: int, seconds: float) -> None:
    assert patience_s(position) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("state", "move"),
    [
        pytest.param(None, Move.ADOPT, id="unknown"),
        pytest.param(TaskState.WAITING, Move.WATCH, id="waiting"),
        pytest.param(TaskState.FORWARDING, Move.WATCH, id="forwarding in doubt"),
        pytest.param(TaskState.RUNNING, Move.WATCH, id="running"),
        pytest.param(TaskState.COMPLETED, Move.FINISH, id="completed"),
        pytest.param(TaskState.FAILED, Move.FINISH, id="failed"),
        pytest.param(TaskState.CANCELED, Move.FINISH, id="canceled"),
    ],
)
def test_the_inputs_stay_until_the_task_has_ended(state: TaskState | None, move: Move) -> None:
    assert next_move(state) is move


def test_only_what_is_said_to_be_removed_is_dropped() -> None:
    assert next_move(None, removed=True) is Move.DROP


@pytest.mark.parametrize(
    ("name", "header"),
    [
        pytest.param("IMG 1.JPG", b'filename="IMG 1.JPG"', id="plain"),
        pytest.param('a"b.jpg', b'filename="a\\"b.jpg"', id="quote"),
        pytest.param("a\\b.jpg", b'filename="a\\\\b.jpg"', id="backslash"),
        pytest.param("100%22.jpg", b'filename="100%22.jpg"', id="percent stays"),
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
