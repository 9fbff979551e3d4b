"""One connection of a client, as a play: bytes and times go in, events come out."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterodm.libs.http1.heads import HeadLimits
from clusterodm.libs.http1.server import (
    NEVER_S,
    BodyEnds,
    Close,
    Event,
    HalfClose,
    ProtocolRefusal,
    RequestBegun,
    RequestData,
    ServerLimits,
    ServerSide,
    ServerSideState,
)

LIMITS = ServerLimits(
    head_s=10, keep_alive_s=100, head=HeadLimits(size_bytes=1000, lines_count=20), linger_s=5, linger_bytes=1000
)
GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nLate: line\r\n\r\n"
LENGTH = b"POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


def opened(limits: ServerLimits = LIMITS) -> ServerSide:
    return ServerSide(limits, 0.0)


def told(events: Sequence[Event]) -> list[str]:
    """Write events down, pieces of a body put together."""
    said: list[str] = []
    for event in events:
        words = in_words(event)
        if words.startswith("body ") and said and said[-1].startswith("body "):
            said[-1] += words.removeprefix("body ")
        else:
            said.append(words)
    return said


def in_words(event: Event) -> str:
    """Write an event down."""
    match event:
        case RequestBegun(head):
            return f"{head.method} {head.target.decode()}"
        case RequestData(piece):
            return f"body {piece.decode('latin-1')}"
        case ProtocolRefusal(bad):
            return f"refuse {bad.status}"
        case _:
            return {BodyEnds: "end", HalfClose: "half-close", Close: "close"}[type(event)]


def play(side: ServerSide, segments: Sequence[bytes], *, keeps: bool = True) -> list[str]:
    """Feed segments; each request is answered as soon as it is complete. What would come of it, up to the end."""
    events: list[Event] = []
    for segment in segments:
        more = list(side.received(segment, 1.0))
        while more:
            events += more
            more = list(followed(side, more[-1], keeps=keeps))
    said = told(events)
    ends = [at for at, each in enumerate(said) if each in {"close", "half-close"}]
    return [*said[: ends[0]], "over"] if ends else said


def followed(side: ServerSide, last: Event, *, keeps: bool) -> Sequence[Event]:
    """Answer what is to be answered."""
    match last:
        case BodyEnds():
            return side.answered(1.0, keeps=keeps)
        case ProtocolRefusal():
            return side.refused(1.0)
        case _:
            return ()


# --- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "events"),
    [
        pytest.param(GET, ["GET /a?b=c", "end"], id="no body"),
        pytest.param(LENGTH, ["POST /l", "body hello", "end"], id="a length"),
        pytest.param(CHUNKED, ["POST /c", "body hello world", "end"], id="chunks, and trailers that nobody sees"),
        pytest.param(b"\r\n\r\n" + GET, ["GET /a?b=c", "end"], id="empty lines before it"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", ["GET /", "end"], id="HTTP/1.0 without Host"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ["OPTIONS *", "end"], id="asterisk"),
        pytest.param(b"GET http://y/z HTTP/1.1\r\nHost: x\r\n\r\n", ["GET http://y/z", "end"], id="an address"),
    ],
)
def test_a_request_is_read(sent: bytes, events: list[str]) -> None:
    assert play(opened(), [sent]) == events


@pytest.mark.parametrize("split", ["one packet", "head, then body"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        pytest.param(b"Content-Length: 30\r\n", b"GET /inner HTTP/1.1\r\nHost:x\r\n\r", id="length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n", b"1e\r\nGET /inner HTTP/1.1\r\nHost:x\r\n\r\r\n0\r\n\r\n", id="chunked"
        ),
        pytest.param(b"", b"", id="none"),
    ],
)
def test_an_offer_to_upgrade_is_read_as_if_it_were_not_there(framing: bytes, body: bytes, split: str) -> None:
    head = b"POST /p HTTP/1.1\r\nHost: x\r\n" + OFFER + framing + b"\r\n"
    segments = [head + body + GET] if split == "one packet" else [head, body + GET]

    said = play(opened(), segments)

    inner = ["body GET /inner HTTP/1.1\r\nHost:x\r\n\r"] if body else []
    assert said == ["POST /p", *inner, "end", "GET /a?b=c", "end"]


REFUSED = [
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no Host"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, id="two Hosts"),
    pytest.param(b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, id="two Hosts in HTTP/1.0"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400, id="a Host that is none"),
    pytest.param(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400, id="HTTP/2.0"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2's preface"),
    pytest.param(b"GET /\r\n\r\n", 400, id="HTTP/0.9"),
    pytest.param(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, id="HTTP/9.9"),
    pytest.param(b"OPTIONS / RTSP/1.0\r\nHost: x\r\n\r\n", 400, id="RTSP"),
    pytest.param(b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="two spaces"),
    pytest.param(b"GET / HTTP/1.1\nHost: x\n\n", 400, id="bare LF"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400, id="a folded line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400, id="a space before the colon"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400, id="a zero byte"),
    pytest.param(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="CONNECT"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, id="two lengths"
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
        400,
        id="both framings",
    ),
    pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="chunks in HTTP/1.0"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, id="another coding"
    ),
    pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 400, id="a coding that is none"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"y" * 1000, 431, id="an endless line"),
    pytest.param(b"GET /" + b"y" * 1000, 431, id="an endless target"),
    pytest.param(b"\r\n" * 501, 431, id="endless empty lines"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20 + b"\r\n", 431, id="too many lines"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="TLS"),
]


@pytest.mark.parametrize("step", [1, 1000], ids=["byte by byte", "at once"])
@pytest.mark.parametrize(("sent", "status"), REFUSED)
def test_what_is_not_served_is_refused_once_and_nothing_follows(sent: bytes, status: int, step: int) -> None:
    segments = [sent[at : at + step] for at in range(0, len(sent), step)]

    assert play(opened(), [*segments, GET]) == [f"refuse {status}", "over"]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"5\nhello\r\n", id="bare LF"),
        pytest.param(b"5\r\nhelloX\r\n", id="more than it says"),
        pytest.param(b"-5\r\nhello\r\n", id="negative"),
        pytest.param(b"0x5\r\nhello\r\n", id="hexadecimal by prefix"),
        pytest.param(b"fffffffffffffffff\r\n", id="more than a number"),
        pytest.param(b"0\r\nContent-Length: 5\r\n\r\n", id="a length among the trailers"),
        pytest.param(b"5;" + b"x" * 20_000, id="an endless extension"),
        pytest.param(b"0\r\n" + b"a: b\r\n" * 4_000, id="endless trailers"),
        pytest.param(b"0\r\nA: " + b"b" * 20_000, id="an endless trailer"),
    ],
)
def test_chunks_that_are_none_are_refused(chunks: bytes) -> None:
    head = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert "refuse 400" in play(
        opened(),
        [head + chunks[at : at + 4096] if not at else chunks[at : at + 4096] for at in range(0, len(chunks), 4096)],
    )


# --- one at a time -------------------------------------------------------------------------------------------------


def test_chunks_of_one_byte_that_come_together_are_one_piece() -> None:
    side = opened()
    side.received(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 0.0)

    assert side.received(b"1\r\na\r\n" * 5_000, 0.0) == [RequestData(b"a" * 5_000)]


def test_what_comes_behind_a_request_is_not_even_parsed_before_its_answer() -> None:
    side = opened()

    assert told(side.received(GET + b"nonsense\r\n\r\n", 1.0)) == ["GET /a?b=c", "end"]
    assert (side.state, side.early) == (ServerSideState.WAITING, b"nonsense\r\n\r\n")
    assert told(side.received(b"more", 1.0)) == []
    assert told(side.answered(2.0, keeps=True)) == ["refuse 400"]


def test_two_thousand_requests_in_one_read_are_one_request_and_bytes() -> None:
    side = opened()

    assert len(side.received(GET * 2000, 1.0)) == 2
    assert len(side.early) == 1999 * len(GET)


def test_requests_in_one_read_are_read_one_after_the_other() -> None:
    said = play(opened(), [GET + LENGTH + CHUNKED + GET])

    assert [each for each in said if each[0] in "GP"] == ["GET /a?b=c", "POST /l", "POST /c", "GET /a?b=c"]


# --- the end -------------------------------------------------------------------------------------------------------


def test_behind_the_last_answer_the_connection_is_closed() -> None:
    side = opened()
    side.received(GET, 1.0)

    assert told(side.answered(2.0, keeps=False)) == ["close"]


@pytest.mark.parametrize("sent", [LENGTH[:-2], GET + GET], ids=["a body comes", "a request has come"])
def test_what_still_comes_behind_the_last_answer_is_thrown_away_for_a_while(sent: bytes) -> None:
    side = opened()
    side.received(sent, 1.0)

    assert told(side.answered(2.0, keeps=False)) == ["half-close"]
    assert (side.state, side.until_s) == (ServerSideState.LINGER, 7.0)
    assert told(side.received(b"x" * 999, 3.0)) == []
    assert side.until_s == 7.0
    assert told(side.received(b"x", 3.0)) == ["close"]


def test_a_body_behind_its_answer_is_passed_over_to_the_next_request() -> None:
    side = opened()
    side.received(LENGTH[:-2], 1.0)

    assert told(side.answered(2.0, keeps=True)) == []
    assert told(side.received(b"lo" + GET, 3.0)) == ["GET /a?b=c", "end"]


def test_a_body_that_drips_behind_its_answer_is_cut() -> None:
    side = opened()
    side.received(LENGTH[:-4], 1.0)
    side.answered(2.0, keeps=True)

    side.received(b"l", 6.0)

    assert side.until_s == 7.0


def test_a_body_behind_its_answer_is_not_passed_over_for_ever() -> None:
    side = opened()
    side.received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 1.0)
    side.answered(2.0, keeps=True)

    assert told(side.received(b"x" * 1000, 3.0)) == ["close"]


# --- time ----------------------------------------------------------------------------------------------------------


def test_one_clock_covers_the_whole_head() -> None:
    side = opened()
    assert side.until_s == 10.0

    for now_s, byte in enumerate(GET[:-1]):
        side.received(bytes([byte]), 5.0 + now_s)

    assert side.until_s == 15.0


def test_while_we_owe_an_answer_there_is_no_limit_and_then_there_is() -> None:
    side = opened()
    side.received(GET, 1.0)
    assert side.until_s == NEVER_S

    side.answered(2.0, keeps=True)

    assert side.until_s == 102.0


def test_empty_lines_start_the_clock_once() -> None:
    side = opened()
    side.received(GET, 1.0)
    side.answered(2.0, keeps=True)

    side.received(b"\r\n", 3.0)
    side.received(b"\r\n", 12.0)

    assert side.until_s == 13.0


# --- what others take from the socket ------------------------------------------------------------------------------


def test_a_body_of_known_length_may_be_taken_by_somebody_else() -> None:
    side = opened()
    side.received(LENGTH[:-4], 1.0)

    assert side.lendable_bytes == 4
    assert told(side.skipped(3)) == []
    assert told(side.skipped(1)) == ["end"]
    assert side.lendable_bytes == 0


def test_chunks_are_not_lent() -> None:
    side = opened()
    side.received(CHUNKED[:80], 1.0)

    assert (side.state, side.lendable_bytes) == (ServerSideState.BODY, 0)


# --- any bytes, in any pieces --------------------------------------------------------------------------------------

MESSAGES = st.lists(
    st.sampled_from(
        [
            GET,
            LENGTH,
            CHUNKED,
            CHUNKED.replace(b"0\r\nLate", b"x\r\nLate"),
            b"\r\n",
            b"POST /p HTTP/1.1\r\nHost: x\r\n" + OFFER + b"Content-Length: 5\r\n\r\nhello",
        ]
        + [parameter.values[0] for parameter in REFUSED if len(parameter.values[0]) < 200]  # type: ignore[arg-type, operator]
    )
    | st.binary(max_size=40),
    max_size=5,
).map(b"".join)


def in_pieces(sent: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at some places."""
    places = sorted({cut % (len(sent) + 1) for cut in cuts})
    return [sent[begin:end] for begin, end in zip([0, *places], [*places, len(sent)], strict=True) if begin < end]


@settings(max_examples=300)
@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_any_split_into_segments_gives_the_same_events(sent: bytes, cuts: list[int], keeps: bool) -> None:
    unbounded = ServerLimits(head_s=10, keep_alive_s=100, linger_bytes=1 << 30)

    whole = play(opened(unbounded), [sent], keeps=keeps)

    assert play(opened(unbounded), in_pieces(sent, cuts), keeps=keeps) == whole
    assert play(opened(unbounded), [bytes([byte]) for byte in sent], keeps=keeps) == whole
