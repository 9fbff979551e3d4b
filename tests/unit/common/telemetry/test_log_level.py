"""What is logged may change while a process runs, and what repeats itself is not written for ever."""

import asyncio
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Self

import pytest
import structlog

from clusterodm.libs.common.telemetry.log import (
    REMEMBERED_COUNT,
    SAME_COUNT,
    LeveledLogger,
    Repetitions,
    Severity,
    set_level,
    with_request,
)
from clusterodm.libs.common.telemetry.request_context import cause, tenant

LEVELS = ("debug", "info", "warning", "error")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    number = Severity.number
    yield
    Severity.number = number


class Lines:
    """Takes what is logged."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def debug(self, event: str) -> None:
        self.written.append(event)

    info = warning = error = debug


def logged(level: str) -> list[str]:
    """Say something on every level with a logger that was made before the level was set."""
    lines = Lines()
    log = structlog.wrap_logger(
        lines, processors=[lambda _log, _name, event: event["event"]], wrapper_class=LeveledLogger
    ).bind()
    set_level(level)
    for each in LEVELS:
        getattr(log, each)(each)
    return lines.written


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", LEVELS),
        ("silly", LEVELS),
        ("info", LEVELS[1:]),
        ("warn", LEVELS[2:]),
        ("warning", LEVELS[2:]),
        ("error", LEVELS[3:]),
    ],
)
def test_loggers_that_exist_follow_the_level(level: str, shown: tuple[str, ...]):
    assert logged(level) == list(shown)


def test_another_word_is_no_level():
    with pytest.raises(ValueError, match="loud is no level: debug, info, warning, error"):
        set_level("loud")


class Writer:
    """Writes lines at times that the test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self._limit = Repetitions(clock=lambda: self.now)

    def says(self, **fields: object) -> dict[str, object] | None:
        try:
            return dict(self._limit(None, "info", {"level": "info", "timestamp": self.now, **fields}))
        except structlog.DropEvent:
            return None


def test_the_same_line_is_written_a_few_times_and_then_with_how_many_were_not():
    writer = Writer()
    written = [writer.says(event="nats is away") for _ in range(SAME_COUNT + 7)]
    assert [each is not None for each in written] == [True] * SAME_COUNT + [False] * 7
    writer.now = 10.0
    again = writer.says(event="nats is away")
    assert again is not None
    assert again["repeated"] == 7
    assert "repeated" not in (writer.says(event="nats is away") or {"repeated": 0})


def test_lines_that_differ_in_an_id_are_not_the_same():
    writer = Writer()
    assert all(writer.says(event="task.finished", task=number) for number in range(500))


def test_lines_that_others_cause_at_will_are_the_same_whatever_their_fields():
    writer = Writer()
    written = [writer.says(event="upload.refused", path=f"/{number}", at_will=True) for number in range(SAME_COUNT + 9)]
    assert written[:SAME_COUNT] == [
        {"level": "info", "timestamp": 0.0, "event": "upload.refused", "path": f"/{number}"}
        for number in range(SAME_COUNT)
    ]
    assert written[SAME_COUNT:] == [None] * 9
    assert writer.says(event="request.put_off", path="/", at_will=True) is not None
    writer.now = 10.0
    again = writer.says(event="upload.refused", path="/again", at_will=True) or {}
    assert (again["path"], again["repeated"]) == ("/again", 9)


def test_lines_that_say_the_same_for_different_requests_are_the_same():
    writer = Writer()
    written = [writer.says(event="nats is away", cause=number) for number in range(SAME_COUNT + 2)]
    assert sum(each is not None for each in written) == SAME_COUNT


def test_lines_name_the_request_and_the_tenant_that_they_were_written_for():
    async def asked() -> dict[str, object]:
        cause.set("c1")
        tenant.set("acme")
        return dict(with_request(None, "info", {"event": "x", "tenant": "the task's"}))

    assert asyncio.run(asked()) == {"event": "x", "cause": "c1", "tenant": "the task's"}
    assert with_request(None, "info", {"event": "x"}) == {"event": "x"}


def test_few_lines_are_remembered():
    writer = Writer()
    for number in range(1000):
        writer.says(event="x", task=number)
    assert repr(writer._limit) == "Repetitions(256)"


class Interrupted(str):
    """The name of a line: when it is looked up for the second time, others have their turn."""

    __slots__ = ("looked_up_count", "others")

    def __new__(cls, said: str, others: Callable[[], None]) -> Self:
        made = super().__new__(cls, said)
        made.others, made.looked_up_count = others, 0
        return made

    def __str__(self) -> str:
        return self

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def __hash__(self) -> int:
        self.looked_up_count += 1
        if self.looked_up_count == 2:
            self.others()
        return super().__hash__()


def test_a_line_is_written_although_other_threads_write_many_in_the_middle_of_it():
    writer = Writer()
    many = Thread(target=lambda: [writer.says(event="x", task=number) for number in range(REMEMBERED_COUNT + 1)])

    def others() -> None:
        many.start()
        many.join(0.2)  # it may have to wait for the line

    assert writer.says(event="y", at_will=True) is not None
    assert writer.says(event="z", at_will=True) is not None
    assert writer.says(event=Interrupted("y", others), at_will=True) is not None
    many.join()
    assert repr(writer._limit) == f"Repetitions({REMEMBERED_COUNT})"


def test_what_is_finalized_in_the_middle_of_a_line_may_write_one():
    writer, told = Writer(), list[object]()
    said = writer.says(event=Interrupted("y", lambda: told.append(writer.says(event="x"))), at_will=True)
    assert said is not None
    assert {"level": "info", "timestamp": 0.0, "event": "x"} in told
