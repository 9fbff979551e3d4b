"""Who is believed to be a machine, and which machine should go on."""

import hashlib
from typing import Any

import pytest

from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.proxy.callbacks.core import (
    CallbackDecision,
    boot_lines,
    last_words,
    lease,
    line_number,
    reporting,
    webhook,
)
from clusterodm.services.proxy.cluster.core import wanted

OWN, OTHER = "own-secret", "others-secret"


def machine(secret: str = OWN, **values: Any) -> Machine:
    return Machine(
        id=MachineId(f"m-{secret}"),
        provider="docker",
        requested_at_ms=1,
        webhook_digest=hashlib.sha256(secret.encode()).hexdigest() if secret else "",
        **{"state": MachineState.BUSY, **values},
    )


@pytest.mark.parametrize(
    ("secret", "known", "on_machine", "decision"),
    [
        pytest.param("", None, False, CallbackDecision.WELCOME, id="a node without machine"),
        pytest.param(
            "anything", None, False, CallbackDecision.WELCOME, id="a node without machine and a token of its own"
        ),
        pytest.param(OWN, machine(), True, CallbackDecision.WELCOME, id="its own secret"),
        pytest.param("", machine(), True, CallbackDecision.NAMELESS, id="none"),
        pytest.param("wrong", machine(), True, CallbackDecision.WRONG, id="a wrong one"),
        pytest.param(OTHER, machine(), True, CallbackDecision.WRONG, id="that of another machine"),
        pytest.param(OWN, None, True, CallbackDecision.WRONG, id="a machine long gone"),
        pytest.param(OWN, machine(""), True, CallbackDecision.WRONG, id="a machine without secret"),
        pytest.param("\udcff", machine(), True, CallbackDecision.WRONG, id="no text at all"),
    ],
)
def test_a_machines_report_needs_its_own_secret(
    secret: str, known: Machine, on_machine: bool, decision: CallbackDecision
):
    assert webhook(secret, known, on_machine=on_machine) is decision


@pytest.mark.parametrize("state", MachineState)
def test_a_machine_lives_until_it_is_destroyed(state: MachineState):
    assert wanted(machine(state=state)) is (
        state not in {MachineState.DESTROYING, MachineState.GONE, MachineState.FAILED}
    )


@pytest.mark.parametrize(
    ("secret", "state", "decision"),
    [
        pytest.param(OWN, MachineState.BUSY, CallbackDecision.WELCOME, id="wanted"),
        pytest.param(OWN, MachineState.DESTROYING, CallbackDecision.OVER, id="being destroyed"),
        pytest.param(OWN, MachineState.GONE, CallbackDecision.OVER, id="gone"),
        pytest.param("wrong", MachineState.BUSY, CallbackDecision.WRONG, id="a wrong secret"),
        pytest.param("", MachineState.BUSY, CallbackDecision.NAMELESS, id="none"),
    ],
)
def test_a_lease_is_renewed_for_a_machine_that_is_wanted(secret: str, state: MachineState, decision: CallbackDecision):
    assert lease(secret, [machine(OTHER), machine(state=state)]) is decision


def test_a_report_is_of_the_machine_whose_secret_it_shows():
    machines = [machine(OTHER), machine()]
    assert reporting(OWN, machines) is machines[1]
    assert reporting("wrong", machines) is None
    assert reporting("", [machine("")]) is None


@pytest.mark.parametrize(
    ("said", "line"),
    [
        pytest.param(b"E: no such package\nended with code 1\n", "E: no such package | ended with code 1", id="lines"),
        pytest.param(b"\x1b[31mred\x1b[0m\r\nx\x00\x07y", "red | xy", id="signs that nobody sees"),
        pytest.param(b"\xff\xfe\xc3", "\ufffd" * 3, id="no text"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(b"".join(b"%d\n" % number for number in range(9)), "4 | 5 | 6 | 7 | 8", id="the last lines"),
        pytest.param(b"x" * 4000, "x" * 400, id="a long one"),
    ],
)
def test_last_words_are_one_short_line_that_can_be_printed(said: bytes, line: str):
    assert last_words(said) == line


@pytest.mark.parametrize(
    ("said", "first_line", "found"),
    [
        pytest.param(b"one\n\ntwo\n", 0, (0, ("one", "", "two")), id="lines, empty ones too"),
        pytest.param(b"one\ntw", 0, (0, ("one",)), id="a line that has not ended"),
        pytest.param(b"ret\nfour\nfive\n", 3, (4, ("four", "five")), id="it begins in the middle of a line"),
        pytest.param(b"10%\r50%\r100%\r\nok\n", 0, (0, ("100%", "ok")), id="progress"),
        pytest.param(b"\x1b[31mred\x1b[0m\tx\x00\xff\n", 0, (0, ("red    x\ufffd",)), id="signs that nobody sees"),
        pytest.param(b"", 7, (8, ()), id="nothing"),
        pytest.param(b"x" * 30_000 + b"\nend\n", 0, (1, ("end",)), id="a first line that was cut"),
    ],
)
def test_the_output_of_a_boot_becomes_numbered_lines_that_can_be_printed(
    said: bytes, first_line: int, found: tuple[int, tuple[str, ...]]
):
    assert boot_lines(said, first_line) == found


def test_of_many_lines_the_last_are_taken():
    first, lines = boot_lines(b"".join(b"%d\n" % number for number in range(1000)), 0)
    assert (first, lines[0], lines[-1], len(lines)) == (600, "600", "999", 400)


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("", 0), ("-3", 0), ("x", 0), ("9" * 11, 0), ("9999999999", 10**9)]
)
def test_the_number_of_a_line_is_a_number_or_none(text: str, number: int):
    assert line_number(text) == number
