"""What processes print reaches the user line by line, and holds nobody up."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator

import pytest

from clusterodm.deploy.output import BACKLOG_BYTES, Lines, Printer, reason_in

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for end in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(end)


def read_all(reader: int) -> bytes:
    """Take what has come."""
    taken = b""
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(reader, 1 << 16):
            taken += chunk
    return taken


def test_lines_are_told_when_they_are_complete(pipe: Pipe):
    told: list[bytes] = []
    lines = Lines(pipe[0], told.append)
    os.write(pipe[1], b"one\ntw")
    assert lines.read()
    assert told == [b"one"]
    os.write(pipe[1], b"o\nthree")
    lines.read()
    assert not lines.read()
    os.close(pipe[1])
    assert not lines.read()
    assert lines.ended
    lines.tell_rest()
    assert told == [b"one", b"two", b"three"]


def test_a_line_without_end_is_told_in_pieces(pipe: Pipe):
    told: list[bytes] = []
    lines = Lines(pipe[0], told.append)
    for _ in range(3):
        os.write(pipe[1], b"x" * 40_000)
        lines.read()
    assert [len(line) for line in told] == [80_000]


def test_the_last_line_with_anything_in_it_is_kept(pipe: Pipe):
    lines = Lines(pipe[0], lambda _: None)
    assert lines.last == b""
    os.write(pipe[1], b"one\ntwo\n \n")
    lines.read()
    assert lines.last == b"two"
    os.write(pipe[1], b"without an end")
    lines.read()
    lines.tell_rest()
    assert lines.last == b"without an end"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"clusterodm proxy: --tokens t: No such file", "--tokens t: No such file", id="of a service"),
        pytest.param(b"ValueError: clusterodm proxy: x", "ValueError: clusterodm proxy: x", id="of a trace"),
        pytest.param(b"\x1b[31mred\x1b[0m\r", "red", id="in colours"),
        pytest.param(b"\xff one\x0btwo", "\ufffd one two", id="what is no text"),
        pytest.param(b"", "", id="none"),
    ],
)
def test_a_reason_is_one_line_without_the_name_of_the_program(line: bytes, reason: str):
    assert reason_in(line) == reason


def test_every_line_carries_the_name_of_who_printed_it(pipe: Pipe):
    printer = Printer(["proxy", "autoscaler"], pipe[1], colours=False)
    printer.line("proxy", b"ready")
    printer.line("system", b"proxy started")
    printer.plain(b"hello")
    assert read_all(pipe[0]) == b"proxy      | ready\nsystem     | proxy started\nhello\n"


def test_names_have_colours_on_a_terminal(pipe: Pipe):
    printer = Printer(["proxy"], pipe[1], colours=True)
    printer.line("proxy", b"ready")
    assert read_all(pipe[0]) == b"\x1b[33mproxy  | \x1b[0mready\n"


def test_a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_is_missing(pipe: Pipe):
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    printer = Printer(["proxy"], pipe[1], colours=False)
    line = b"x" * 50_000
    for _ in range(BACKLOG_BYTES // len(line) + 10):
        printer.line("proxy", line)
    assert printer.waits
    taken = drained(printer, pipe[0])
    printer.line("proxy", b"again")
    taken += drained(printer, pipe[0])
    assert b"lines are missing here" in taken
    assert taken.endswith(b"proxy  | again\n")
    assert taken.count(line) >= BACKLOG_BYTES // len(line)


def drained(printer: Printer, reader: int) -> bytes:
    """Take everything that waits."""
    taken = read_all(reader)
    while printer.waits:
        printer.flush()
        taken += read_all(reader)
    return taken


def test_a_reader_that_has_gone_is_no_trouble(pipe: Pipe):
    printer = Printer(["proxy"], pipe[1], colours=False)
    os.close(pipe[0])
    printer.line("proxy", b"ready")
    assert not printer.waits


def test_every_line_is_an_object_where_json_is_wanted(pipe: Pipe):
    printer = Printer(["proxy"], pipe[1], colours=False, as_json=True)
    printer.line("proxy", b'{"event":"proxy.started","level":"info"}')
    printer.line("proxy", b"Traceback (most recent call last):")
    printer.line("proxy", b'{"event": half of one')
    printer.line("proxy", b"[1, 2]")
    printer.line("proxy", b'{"a":' * 5000)
    printer.line("proxy", b'{"event":"\xff"}')
    printer.line("system", b"proxy: ended")
    printer.greeting(b"\033[32mClusterODM is ready.\033[0m")
    printer.greeting(b"")
    said = [json.loads(line) for line in read_all(pipe[0]).splitlines()]
    assert said[0] == {"process": "proxy", "event": "proxy.started", "level": "info"}
    assert [each["event"] for each in said[1:]] == [
        "Traceback (most recent call last):", '{"event": half of one', "[1, 2]", '{"a":' * 5000, '{"event":"\ufffd"}',
        "proxy: ended", "ClusterODM is ready.",
    ]  # fmt: skip
    assert [each["process"] for each in said[1:]] == [*["proxy"] * 5, "system", "greeting"]
    assert all(each["timestamp"].endswith("Z") for each in said[1:])


def test_a_line_that_is_an_object_cannot_name_another_process(pipe: Pipe):
    printer = Printer(["proxy"], pipe[1], colours=False, as_json=True)
    printer.line("proxy", b'{"process":"admin","event":"x"}')
    assert json.loads(read_all(pipe[0]))["process"] == "proxy"
