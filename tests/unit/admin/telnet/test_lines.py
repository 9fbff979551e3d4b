"""Bytes of telnet and plain clients become lines."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.services.admin.telnet.core.lines import (
    LONGEST_LINE_BYTES,
    Byte,
    DroppedLine,
    Input,
    Line,
    LineReader,
    Negotiation,
)

IAC = b"\xff"


def fed(*pieces: bytes) -> list[Input]:
    wire = LineReader()
    return [item for piece in pieces for item in wire.feed(piece)]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        pytest.param(b"NODE LIST\r\n", ["NODE LIST"], id="CR LF"),
        pytest.param(b"NODE LIST\n", ["NODE LIST"], id="LF"),
        pytest.param(b"NODE LIST\r\0", ["NODE LIST"], id="CR NUL"),
        pytest.param(b"NODE LIST\rQUIT\r", ["NODE LIST", "QUIT"], id="CR alone"),
        pytest.param(b"a\r\nb\r\n\r\nc\n", ["a", "b", "", "c"], id="several, one of them empty"),
        pytest.param(b"a\n\nb\n", ["a", "", "b"], id="an empty line between LFs"),
        pytest.param(b"NOED\x08\x08DE LIST\n", ["NODE LIST"], id="backspace"),
        pytest.param(b"NODX\x7fE\n", ["NODE"], id="DEL"),
        pytest.param(b"\x08\x08HELP\n", ["HELP"], id="backspace at the beginning"),
        pytest.param("aé\x7fb\n".encode(), ["ab"], id="backspace takes a whole character"),
        pytest.param("häuser\n".encode(), ["häuser"], id="UTF-8"),
        pytest.param(b"a\x00\x01b\n", ["ab"], id="control characters are dropped"),
        pytest.param(b"NODE DEL 1\x03\n", [""], id="Ctrl-C takes the line back"),
        pytest.param(b"NODE DEL 1\x15NODE LIST\n", ["NODE LIST"], id="Ctrl-U takes the line back"),
        pytest.param(b"NODE DEL 1" + IAC + b"\xf4\n", [""], id="IAC IP takes the line back"),
        pytest.param(b"a\tb\n", ["a b"], id="a tab is a space"),
        pytest.param(b"NODE" + IAC + bytes([Byte.ERASE_LINE]) + b"HELP\n", ["HELP"], id="IAC EL"),
        pytest.param(b"HELX" + IAC + bytes([Byte.ERASE_CHARACTER]) + b"P\n", ["HELP"], id="IAC EC"),
        pytest.param(
            b"HE" + IAC + b"\xfa\x18\x00xterm\xff\xff\xff\xf0LP\n", ["HELP"], id="a subnegotiation is skipped"
        ),
        pytest.param(b"HE" + IAC + b"\xf1LP\n", ["HELP"], id="IAC NOP is skipped"),
    ],
)
def test_bytes_become_lines_however_they_are_cut(data: bytes, lines: list[str]):
    wanted = [Line(text) for text in lines]
    assert fed(data) == wanted
    assert fed(*(bytes([byte]) for byte in data)) == wanted


@given(
    texts=st.lists(
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=20),
        max_size=6,
    ),
    end=st.sampled_from(["\r\n", "\n", "\r\0"]),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_any_cut_gives_the_same_lines(texts: list[str], end: str, cuts: list[int]):
    data = "".join(text + end for text in texts).encode()
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[start:stop] for start, stop in pairwise(places)]
    assert fed(*pieces) == [Line(text) for text in texts]


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(data: bytes):
    fed(data)


@pytest.mark.parametrize("option", [1, 3, 6, 24, 31, 255])
def test_every_option_is_refused(option: int):
    asked = IAC + bytes([Byte.DO, option]) + IAC + bytes([Byte.WILL, option])
    refused = [Negotiation(IAC + bytes([Byte.WONT, option])), Negotiation(IAC + bytes([Byte.DONT, option]))]
    assert fed(asked) == refused


def test_a_refusal_is_not_answered_or_it_would_go_on_for_ever():
    assert fed(IAC + bytes([Byte.DONT, 1]) + IAC + bytes([Byte.WONT, 3])) == []


def test_are_you_there_is_answered():
    assert fed(IAC + bytes([Byte.ARE_YOU_THERE])) == [Negotiation(b"[yes]\r\n")]


def test_a_line_that_is_too_long_is_dropped_whole_and_reported_once():
    assert fed(b"N" * 3 * LONGEST_LINE_BYTES, b"ODE LIST\nHELP\n") == [DroppedLine(), Line("HELP")]


def test_the_buffer_never_grows_beyond_a_line():
    wire = LineReader()
    for _ in range(100):
        list(wire.feed(b"x" * 1000))
    assert len(wire.buffer) <= LONGEST_LINE_BYTES


def test_a_last_line_without_its_end_counts():
    wire = LineReader()
    assert list(wire.feed(b"HELP\nQUIT")) == [Line("HELP")]
    assert wire.finish() == Line("QUIT")
    assert wire.finish() is None


@pytest.mark.parametrize(
    "key",
    [b"\x1b[A", b"\x1b[D", b"\x1bOA", b"\x1b[1;5C", b"\x1b"],
    ids=["up", "left", "up of a keypad", "by a word", "escape"],
)
def test_a_line_in_which_somebody_has_gone_back_is_none(key: bytes):
    assert fed(b"NODE DEL 12", key, b"3\nHELP\n") == [DroppedLine(), Line("HELP")]


def test_what_was_too_long_may_be_taken_back():
    assert fed(b"x" * 2 * LONGEST_LINE_BYTES, b"\x15HELP\n") == [Line("HELP")]


def test_of_bytes_that_are_sent_twice_no_more_is_kept_than_of_others():
    wire = LineReader()
    found = [item for _ in range(100) for item in wire.feed(IAC * 2_000)]
    assert len(wire.buffer) <= LONGEST_LINE_BYTES
    assert [*found, *wire.feed(b"\nHELP\n")] == [DroppedLine(), Line("HELP")]
