"""Which 206 and 416 are answers to the range that was asked for."""

import pytest

from clusterodm.services.proxy.results.core.answers import for_node, passes
from clusterodm.services.proxy.results.core.ranges import span_wanted

HUGE = b"bytes 0-4/99999999999999999999999"


def passed(status: int, asked: bytes, *places: bytes, length: bytes = b"5", kind: bytes = b"application/zip") -> bool:
    """Say whether a node's answer to a range passes."""
    told = [(b"content-range", place) for place in places]
    return passes(status, for_node([(b"range", asked)]), [*told, (b"content-length", length), (b"content-type", kind)])


@pytest.mark.parametrize(
    ("asked", "place", "length"),
    [
        pytest.param(b"bytes=0-4", b"bytes 0-4/25", b"5", id="the part"),
        pytest.param(b"bytes=0-4", b"bytes 0-4/*", b"5", id="of how much is not said"),
        pytest.param(b"bytes=0-99", b"bytes 0-24/25", b"25", id="to the end"),
        pytest.param(b"bytes=20-", b"bytes 20-24/25", b"5", id="from somewhere"),
        pytest.param(b"bytes=-3", b"bytes 22-24/25", b"3", id="the last ones"),
        pytest.param(b"bytes=-99", b"bytes 0-24/25", b"25", id="more of the last ones than there are"),
        pytest.param(b"bytes=0-4", b"bytes 0-2/*", b"3", id="what there is of it"),
    ],
)
def test_the_part_that_was_asked_for_passes(asked: bytes, place: bytes, length: bytes):
    assert passed(206, asked, place, length=length)


@pytest.mark.parametrize(
    ("asked", "place", "length"),
    [
        pytest.param(b"bytes=0-4", HUGE, b"5", id="of more than there can be"),
        pytest.param(b"bytes=-3", HUGE, b"5", id="not the last ones"),
        pytest.param(b"bytes=99-", b"bytes 0-4/25", b"5", id="from elsewhere"),
        pytest.param(b"bytes=99-", b"bytes 99-103/25", b"5", id="behind its own end"),
        pytest.param(b"bytes=0-4", b"bytes 0-24/25", b"25", id="more than was asked for"),
        pytest.param(b"bytes=0-4", b"bytes 1-4/25", b"4", id="later"),
        pytest.param(b"bytes=0-4", b"bytes 0-4/25", b"25", id="longer than it says"),
        pytest.param(b"bytes=0-4", b"bytes 0-4/25", b"x", id="of no length"),
        pytest.param(b"bytes=0-4", b"bytes 4-0/25", b"5", id="backwards"),
        pytest.param(b"bytes=0-4", b"bytes */25", b"5", id="no part"),
        pytest.param(b"bytes=0-4", b"items 0-4/25", b"5", id="another unit"),
        pytest.param(b"bytes=-3", b"bytes 0-2/*", b"3", id="the last ones of nobody knows how much"),
    ],
)
def test_any_other_part_is_refused(asked: bytes, place: bytes, length: bytes):
    assert not passed(206, asked, place, length=length)


def test_a_part_says_once_which_it_is():
    part = b"bytes 0-4/25"
    assert passed(206, b"bytes=0-4", part)
    assert not passed(206, b"bytes=0-4")
    assert not passed(206, b"bytes=0-4", part, part)


def test_several_parts_are_no_answer_to_one_range():
    assert not passed(206, b"bytes=0-4", b"bytes 0-4/25", kind=b"Multipart/ByteRanges; boundary=x")


def test_a_part_that_is_cut_out_here_promises_no_others():
    told = [(b"accept-ranges", b"bytes"), (b"content-length", b"25"), (b"etag", b"x")]
    span = span_wanted([(b"range", b"bytes=0-4")], told)
    assert span is not None
    assert dict(span.headers(told)) == {b"etag": b"x", b"content-range": b"bytes 0-4/25", b"content-length": b"5"}


@pytest.mark.parametrize(
    "asked", [b"bytes=0-1,3-4", b"items=0-4", b"bytes=4-0", b"bytes=-", b"bytes=" + b"9" * 19 + b"-"]
)
def test_for_anything_but_one_range_everything_is_asked_for(asked: bytes):
    assert for_node([(b"range", asked), (b"if-range", b"x"), (b"accept", b"y")]) == [(b"accept", b"y")]
    assert for_node([(b"range", b"bytes=0-4"), (b"range", b"bytes=7-9")]) == []
    assert not passed(206, asked, b"bytes 0-4/25")
    assert not passed(416, asked, b"bytes */25")


@pytest.mark.parametrize(
    ("asked", "places", "passing"),
    [
        pytest.param(b"bytes=25-", [b"bytes */25"], True, id="behind the end"),
        pytest.param(b"bytes=25-", [], True, id="it does not say where that is"),
        pytest.param(b"bytes=-0", [b"bytes */25"], True, id="nothing"),
        pytest.param(b"bytes=24-", [b"bytes */25"], False, id="there is a byte"),
        pytest.param(b"bytes=25-", [b"bytes */*"], False, id="no end"),
        pytest.param(b"bytes=25-", [b"bytes 0-4/25"], False, id="a part"),
        pytest.param(b"bytes=25-", [b"bytes */25", b"bytes */25"], False, id="twice"),
    ],
)
def test_a_range_that_is_not_there_begins_behind_the_end(asked: bytes, places: list[bytes], passing: bool):
    assert passed(416, asked, *places) is passing
