"""One connection to a server, as a play: bytes go in, events come out."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterodm.libs.http1.client import (
    INFORMATIONAL_COUNT,
    AnswerEnds,
    Broken,
    ClientSide,
    Event,
    Response,
    ResponseData,
)
from clusterodm.libs.http1.heads import HeadLimits
from clusterodm.libs.http1.lines import request_head

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nLate: line\r\n\r\n"
)
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nhello"
EMPTY = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


def asked(*, head_only: bool = False, limits: HeadLimits | None = None) -> ClientSide:
    side = ClientSide(limits or HeadLimits())
    side.asked(head_only=head_only)
    return side


def told(events: Sequence[Event]) -> list[str]:
    """Write events down, pieces of a body put together."""
    said: list[str] = []
    for event in events:
        match event:
            case Response(head):
                said.append(f"{head.status} {sorted(name.decode() for name, _ in head.headers)}")
            case ResponseData(piece) if said and said[-1].startswith("body "):
                said[-1] += piece.decode("latin-1")
            case ResponseData(piece):
                said.append(f"body {piece.decode('latin-1')}")
            case AnswerEnds():
                said.append("end")
            case Broken():
                said.append("bad")
    return said


def play(side: ClientSide, segments: Sequence[bytes], *, ends: bool = True) -> list[str]:
    """Feed segments, then the end of the connection. What comes of it."""
    events: list[Event] = []
    for segment in segments:
        events += side.received(segment)
    if ends:
        events += side.ended()
    return told(events)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(LENGTH, ["200 ['content-length']", "body hello", "end"], id="a length"),
        pytest.param(
            CHUNKED, ["200 ['transfer-encoding']", "body hello world", "end"], id="chunks, and trailers nobody sees"
        ),
        pytest.param(ENDLESS, ["200 []", "body hello", "end"], id="up to the end"),
        pytest.param(EMPTY, ["204 ['content-length']", "end"], id="204"),
        pytest.param(b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n", ["304 ['content-length']", "end"], id="304"),
        pytest.param(EARLY + LENGTH, ["200 ['content-length']", "body hello", "end"], id="behind a hint"),
        pytest.param(LENGTH[:-1], ["200 ['content-length']", "body hell", "bad"], id="half a body"),
        pytest.param(CHUNKED[:-2], ["200 ['transfer-encoding']", "body hello world", "bad"], id="half a trailer"),
        pytest.param(b"", ["bad"], id="not a word"),
    ],
)
def test_an_answer_is_read_however_it_is_framed(sent: bytes, said: list[str]) -> None:
    assert play(asked(), [sent]) == said


def test_the_answer_to_a_head_has_no_body() -> None:
    assert play(asked(head_only=True), [LENGTH[:-5]]) == ["200 ['content-length']", "end"]


@pytest.mark.parametrize(
    ("sent", "reusable"),
    [
        pytest.param(LENGTH, True, id="a length"),
        pytest.param(CHUNKED, True, id="chunks"),
        pytest.param(EMPTY, True, id="no body"),
        pytest.param(LENGTH + b"H", False, id="something behind it"),
        pytest.param(EMPTY + b"hello", False, id="a body where there is none"),
        pytest.param(LENGTH.replace(b"Content", b"Connection: close\r\nContent"), False, id="it says close"),
        pytest.param(LENGTH.replace(b"HTTP/1.1", b"HTTP/1.0"), False, id="HTTP/1.0"),
        pytest.param(LENGTH[:-1], False, id="half of it"),
    ],
)
def test_a_connection_is_used_again_when_nothing_speaks_against_it(sent: bytes, reusable: bool) -> None:
    side = asked()
    side.received(sent)

    assert side.reusable is reusable


def test_two_answers_in_one_segment_are_one_answer_and_the_end_of_the_connection() -> None:
    side = asked()

    assert told(side.received(LENGTH + LENGTH)) == ["200 ['content-length']", "body hello", "end"]
    assert not side.reusable


BAD = [
    pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="another protocol"),
    pytest.param(b"ICY 200 OK\r\n\r\n", id="radio"),
    pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="HTTP/2.0"),
    pytest.param(b"RTSP/1.0 200 OK\r\n\r\n", id="RTSP"),
    pytest.param(b"HTTP/1.1 200 OK\nA: b\n\n", id="bare LF"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", id="a folded line"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", id="two lengths"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", id="both framings"),
    pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="another coding"),
    pytest.param(
        b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", id="another protocol that nobody wants"
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000, id="an endless head"),
    pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n", id="too many lines"),
    pytest.param(EARLY * (INFORMATIONAL_COUNT + 1) + LENGTH, id="endless hints"),
    pytest.param(CHUNKED[:-2] + b"A: b\r\n" * 4_000, id="endless trailers"),
    pytest.param(CHUNKED.replace(b"0\r\nLate", b"x\r\nLate"), id="no chunk"),
]


@pytest.mark.parametrize("step", [1, 16_384], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("sent", BAD)
def test_what_is_no_answer_is_bad(sent: bytes, step: int) -> None:
    assert play(asked(), [sent[at : at + step] for at in range(0, len(sent), step)], ends=False)[-1] == "bad"


def test_a_body_of_known_length_may_be_taken_by_somebody_else() -> None:
    side = asked()
    side.received(LENGTH[:-4])

    assert (side.left_bytes, told(side.skipped(4)), side.reusable) == (4, ["end"], True)


@pytest.mark.parametrize("target", [b"", b"/a b", b"/a\r\nx: y", b"/\x7f", b"/\xff"])
def test_a_request_line_is_never_two(target: bytes) -> None:
    with pytest.raises(ValueError, match="request line"):
        request_head(b"GET", target, [])


@pytest.mark.parametrize("line", [(b"a", b"b\r\nc: d"), (b"a b", b""), (b"", b""), (b"a", b"\x00")])
def test_a_header_line_is_never_two(line: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="header line"):
        request_head(b"GET", b"/", [line])


ANSWERS = st.lists(
    st.sampled_from([LENGTH, CHUNKED, ENDLESS, EMPTY, EARLY, b"\r\n"])
    | st.sampled_from([parameter.values[0] for parameter in BAD if len(parameter.values[0]) < 200])  # type: ignore[arg-type, misc]
    | st.binary(max_size=40),
    max_size=4,
).map(b"".join)


@settings(max_examples=300)
@given(ANSWERS, st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_any_split_into_segments_gives_the_same_events(sent: bytes, cuts: list[int], head_only: bool) -> None:
    places = sorted({cut % (len(sent) + 1) for cut in cuts})
    pieces = [sent[begin:end] for begin, end in zip([0, *places], [*places, len(sent)], strict=True) if begin < end]
    whole = play(asked(head_only=head_only), [sent])

    assert play(asked(head_only=head_only), pieces) == whole
    assert play(asked(head_only=head_only), [bytes([byte]) for byte in sent]) == whole


USUAL = b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nhello"
LINES = st.sampled_from(
    [
        b"Content-Length: 5", b"content-length: 5", b"Content-Length: 7", b"Content-Length:5", b"Content-Length: +5", b"Content-Length: 5 ",
        b"Content-Length: 5, 5", b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Connection: close", b"Connection: keep-alive",
        b"connection: Keep-Alive, Upgrade", b"Keep-Alive: timeout=5", b"Upgrade: h2c", b"X: y", b"X:y", b"X: ", b"X: a\tb", b"X: \x80", b": y",
        b" folded", b"X", b'ETag: W/"a-b"', b"Date: Fri, 27 Nov 2026 03:00:00 GMT", b"X: a\nContent-Length: 9", b"X: a\rb", b"",
    ]
)  # fmt: skip
"""What may follow the first line, in an order that somebody might choose to be misread."""
FIRST = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"http/1.1 200 ok", b"HTTP/1.1 204 OK", b"HTTP/1.1 200"]
)
ENDINGS = st.sampled_from([b"hello", b"hell", b"hello!", b"", b"hello" + LENGTH])


def test_an_answer_in_the_usual_form_is_taken_at_once() -> None:
    side = asked()
    assert side.usual_body(USUAL) == b"hello"
    assert side.reusable


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(USUAL[:-1], id="half a body"),
        pytest.param(USUAL + b"!", id="more than a body"),
        pytest.param(USUAL.replace(b"200", b"201"), id="another status"),
        pytest.param(USUAL.replace(b"keep-alive\r\n", b"close\r\n"), id="the last one"),
        pytest.param(USUAL.replace(b"X-Powered", b"Content-Length: 5\r\nX-Powered"), id="two lengths"),
        pytest.param(CHUNKED, id="chunks"),
    ],
)
def test_any_other_answer_is_left_to_the_reader(sent: bytes) -> None:
    side = asked()
    assert side.usual_body(sent) is None
    assert play(side, [sent]) == play(asked(), [sent])


def test_the_answer_to_a_head_is_left_to_the_reader() -> None:
    assert asked(head_only=True).usual_body(USUAL) is None


@settings(max_examples=600)
@given(FIRST, st.lists(LINES, max_size=6), ENDINGS)
def test_what_is_taken_at_once_is_what_the_reader_reads(first: bytes, lines: list[bytes], ending: bytes) -> None:
    sent = b"\r\n".join([first, *lines, b"", ending])
    quick, reader = asked(), asked()
    body = quick.usual_body(sent)
    read = play(reader, [sent], ends=False)
    if body is None:
        assert play(quick, [sent], ends=False) == read
    else:
        assert [read[0][:3], *read[1:]] == ["200", *([f"body {body.decode()}"] if body else []), "end"]
        assert quick.reusable == reader.reusable is True
