"""boot_logs/core.py: what is kept of what a machine says."""

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.boot_logs import BootLog
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.boot_lines import LINES_COUNT, BootLines
from clusterodm.services.autoscaler.boot_logs.core import (
    LENGTH,
    LINE_LENGTH,
    SILENT_MS,
    TALKS_MS,
    grown,
    joined,
    lines_from,
    listened_to,
    with_unkept,
)

NOW_MS = WallMs(1_700_000_000_000)
KEPT = BootLog(first_line=2, lines=("two", "three", "four"), at_ms=1)


def a_machine(state: MachineState = MachineState.SETTING_UP, online_at_ms: int | None = None) -> Machine:
    return Machine(id=MachineId("m"), state=state, provider="hetzner", requested_at_ms=1, online_at_ms=online_at_ms)


@pytest.mark.parametrize(
    ("first_line", "lines", "found"),
    [
        pytest.param(3, ["three", "four", "five"], (2, ["two", "three", "four", "five"]), id="it goes on"),
        pytest.param(5, ["five"], (2, ["two", "three", "four", "five"]), id="it goes on where it ended"),
        pytest.param(2, ["two", "three"], (2, ["two", "three", "four"]), id="an older report that comes late"),
        pytest.param(2, ["two", "three", "four"], (2, ["two", "three", "four"]), id="the same again"),
        pytest.param(9, ["nine"], (9, ["nine"]), id="lines between were lost"),
        pytest.param(0, list("abcdef"), (0, list("abcdef")), id="from the beginning"),
        pytest.param(2, [], (2, ["two", "three", "four"]), id="nothing"),
    ],
)
def test_a_log_grows_at_its_end_and_never_goes_back(first_line: int, lines: list[str], found: tuple[int, list[str]]):
    log = grown(KEPT, first_line, lines, [], NOW_MS)
    assert (log.first_line, list(log.lines)) == found


def test_what_is_not_new_is_the_same_log_so_that_nothing_is_written():
    assert grown(KEPT, 3, ["three", "four"], [], NOW_MS) is KEPT


def test_a_machines_secrets_are_masked_before_lines_are_cut():
    secret = Secret("s3cret-of-the-machine")
    line = "x" * (LINE_LENGTH - 5) + secret.reveal()
    (kept,) = grown(BootLog(), 0, [line], [secret], NOW_MS).lines
    assert len(kept) <= LINE_LENGTH
    assert "s3c" not in kept


def test_a_log_is_bounded_by_lines_and_by_length_and_its_lines_keep_their_numbers():
    many = grown(BootLog(), 0, [f"line {number}" for number in range(LINES_COUNT + 10)], [], NOW_MS)
    assert (many.first_line, many.lines[0], len(many.lines)) == (10, "line 10", LINES_COUNT)
    log = BootLog()
    for number in range(0, 900, 100):
        log = grown(log, number, ["y" * LINE_LENGTH] * 100, [], NOW_MS)
    assert sum(len(line) + 1 for line in log.lines) <= LENGTH
    assert log.first_line + len(log.lines) == 900


@pytest.mark.parametrize(
    ("from_line", "first", "lines"),
    [
        (0, 2, ["two", "three", "four"]),
        (3, 3, ["three", "four"]),
        (5, 5, []),
        (99, 5, []),
        (-1, 4, ["four"]),
        (-9, 2, ["two", "three", "four"]),
    ],
)
def test_a_reader_goes_on_from_where_it_stopped(from_line: int, first: int, lines: list[str]):
    read = lines_from(KEPT, a_machine(), from_line, NOW_MS)
    assert (read.from_line, list(read.lines), read.next_line) == (first, lines, 5)


@pytest.mark.parametrize(
    ("machine", "silent_ms", "ended"),
    [
        pytest.param(a_machine(), 10 * SILENT_MS, False, id="it boots, in silence"),
        pytest.param(a_machine(MachineState.ONLINE), SILENT_MS // 2, False, id="it has just come up"),
        pytest.param(a_machine(MachineState.ONLINE), SILENT_MS + 1, True, id="it has said all"),
        pytest.param(a_machine(MachineState.FAILED), SILENT_MS + 1, True, id="it has failed"),
    ],
)
def test_a_log_has_ended_when_nothing_more_will_come(machine: Machine, silent_ms: int, ended: bool):
    log = BootLog(lines=("a",), at_ms=NOW_MS - silent_ms)
    assert lines_from(log, machine, 0, NOW_MS).ended is ended


@pytest.mark.parametrize(
    ("machine", "heard"),
    [
        pytest.param(None, False, id="nobody knows it"),
        pytest.param(a_machine(), True, id="it boots"),
        pytest.param(a_machine(MachineState.BUSY, NOW_MS - 1000), True, id="it has just come up"),
        pytest.param(a_machine(MachineState.BUSY, NOW_MS - TALKS_MS), False, id="it has come up long ago"),
        pytest.param(a_machine(MachineState.DESTROYING), False, id="it is going"),
        pytest.param(a_machine(MachineState.GONE), False, id="it is gone"),
    ],
)
def test_a_machine_is_listened_to_while_it_boots_and_shortly_afterwards(machine: Machine | None, heard: bool):
    assert listened_to(machine, NOW_MS) is heard


def test_lines_of_a_program_and_of_the_machine_itself_are_each_shown_once_whichever_comes_when():
    log = joined(BootLog(), ["creating"], [], NOW_MS)
    log = grown(log, 0, ["boot one"], [], NOW_MS)
    log = joined(log, ["created"], [], NOW_MS)
    log = grown(log, 0, ["boot one", "boot two"], [], NOW_MS)
    assert log.lines == ("creating", "boot one", "created", "boot two")
    assert grown(log, 1, ["boot two"], [], NOW_MS) is log
    missed = grown(log, 5, ["boot six"], [], NOW_MS)
    assert (missed.first_line, missed.lines) == (7, ("boot six",)), "where lines are missing it begins anew"


def test_a_log_of_an_earlier_version_is_the_machines_own():
    assert grown(KEPT, 0, ["a", "b", "two", "three", "four", "five"], [], NOW_MS).first_line == 0
    assert joined(KEPT, ["said"], [], NOW_MS).own_count == 5


def test_what_a_program_says_is_printable_masked_and_bounded():
    lines, secret = BootLines(), Secret("s3cret-of-the-machine")
    boot = lines.of(MachineId("m"))
    boot.said("\x1b[31m(m) Waiting\x1b[0m 10%\r(m) Waiting 100%")
    boot.said(f"token {secret.reveal()}\x07")
    log = with_unkept(BootLog(), lines.take(MachineId("m")), [secret], NOW_MS)
    assert log.lines == ("(m) Waiting 100%", "token ***")
    for number in range(LINES_COUNT + 1):
        boot.said(f"{number}")
    assert len(lines.take(MachineId("m")).said) == LINES_COUNT


def test_what_could_not_be_kept_stands_before_what_was_said_since():
    lines, machine = BootLines(), MachineId("m")
    lines.of(machine).said("one")
    taken = lines.take(machine)
    lines.of(machine).said("two")
    lines.give_back(machine, taken)
    assert list(lines.take(machine).said) == ["one", "two"]
    assert lines.machines() == []
