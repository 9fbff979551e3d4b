"""Multipart bodies, in any pieces."""

import itertools
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.services.proxy.errors import MalformedBody
from clusterodm.services.proxy.exchange.multipart import (
    FIELD_LIMIT_BYTES,
    FileBegins,
    FileChunk,
    FileEnds,
    FormField,
    MultipartEvent,
    MultipartReader,
    boundary_of,
)
from clusterodm.services.proxy.exchange.part_heads import PartHead, read_head, read_lines
from clusterodm.services.proxy.exchange.whole_files import WholeFile, whole_files

BOUNDARY = b"x-boundary"


def body(*parts: tuple[str, bytes], end: bytes = b"--x-boundary--\r\n") -> bytes:
    """Write a body."""
    written = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (BOUNDARY, head.encode(), content)
        for head, content in parts
    )
    return written + end


def read(*chunks: bytes) -> list[MultipartEvent]:
    """Read a body that comes in these chunks; the chunks of a file are put together."""
    reader = MultipartReader(BOUNDARY)
    events: list[MultipartEvent] = []
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, FileChunk) and events and isinstance(last := events[-1], FileChunk):
                events[-1] = FileChunk(last.data + event.data)
            else:
                events.append(event)
    reader.finish()
    return events


def test_fields_and_files_come_in_the_order_of_the_body() -> None:
    assert read(body(('name="a"', b"1"), ('name="images"; filename="p.jpg"', b"pixels"), ('name="b"', b"2"))) == [
        FormField("a", "1"),
        FileBegins("images", "p.jpg"),
        FileChunk(b"pixels"),
        FileEnds(),
        FormField("b", "2"),
    ]


@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--x-bound", b"x"]), max_size=30).map(b"".join),
    ),
    cuts=st.lists(st.integers(0, 500), max_size=8),
)
def test_a_file_is_the_same_however_the_body_is_cut(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--x-boundary" in b"\r\n" + content:
        return
    whole = body(('name="images"; filename="p.jpg"', content))
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[a:b] for a, b in itertools.pairwise(places)]

    events = read(*chunks)

    assert events[0] == FileBegins("images", "p.jpg")
    assert events[-1] == FileEnds()
    assert b"".join(event.data for event in events if isinstance(event, FileChunk)) == content


@given(
    contents=st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"", b"\r\n", b"\r\n--x-bound"])), max_size=4),
    cuts=st.lists(st.integers(0, 500), max_size=4),
)
def test_files_that_come_at_once_are_the_same_files(contents: list[bytes], cuts: list[int]) -> None:
    if any(b"\r\n--x-boundary" in b"\r\n" + content for content in contents):
        return
    names = ["a.jpg", "", "=?utf-8?B??=", "=?utf-8?B?w7w=?="]
    given_parts = [
        (f'name="images"; filename="{name}"', content) for name, content in zip(names, contents, strict=False)
    ]
    sent = body(('name="x"', b"1"), *given_parts, ('name="y"', b"2"))
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    chunks = [sent[a:b] for a, b in itertools.pairwise(places)]
    reader, at_once = MultipartReader(BOUNDARY, whole=True), list[MultipartEvent]()
    for event in (event for chunk in chunks for event in reader.feed(chunk)):
        if isinstance(event, WholeFile):
            at_once += [FileBegins(event.field, event.filename), FileChunk(event.data), FileEnds()]
        elif isinstance(event, FileChunk) and isinstance(last := at_once[-1], FileChunk):
            at_once[-1] = FileChunk(last.data + event.data)
        else:
            at_once.append(event)
    reader.finish()
    assert [event for event in at_once if event != FileChunk(b"")] == read(sent)


def test_a_file_that_comes_at_once_is_one_event() -> None:
    assert MultipartReader(BOUNDARY, whole=True).feed(body(('name="images"; filename="p.jpg"', b"pixels"))) == [
        WholeFile("images", "p.jpg", b"pixels")
    ]


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"--x-boundary\r\n", b"\r\n--x-boundary\r\n", b"\r\n--x-boundary--\r\n", b"\r\n--x-boundary--", b"--x-boundary",
                b'Content-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n',
                b'Content-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n',
                b'Content-Disposition: form-data; name="b"; filename=""\r\n\r\n', b'Content-Disposition: form-data; name="b"\r\n\r\n',
                b"\r\n", b"--", b"pixels", b"",
            ]
        ),
        st.binary(max_size=4),
    ),
    max_size=10,
)  # fmt: skip


@given(PIECES)
def test_what_is_read_as_a_whole_is_what_the_reader_reads(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    files = whole_files(b"head" + data, 4, BOUNDARY)
    if files is None:
        return

    reader = MultipartReader(BOUNDARY, whole=True)
    assert reader.feed(data) == files
    reader.finish()


def test_a_body_of_plain_files_is_read_as_a_whole_and_no_other() -> None:
    head = b'Content-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: image/jpeg\r\n\r\n'
    one, other = head % (b"images", b"a.jpg") + b"1", head % (b"other", b"b.jpg")
    whole = b"--x-boundary\r\n%s\r\n--x-boundary\r\n%s\r\n--x-boundary--" % (one, other)
    expected = [WholeFile("images", "a.jpg", b"1"), WholeFile("other", "b.jpg", b"")]

    assert whole_files(whole, 0, BOUNDARY) == whole_files(whole + b"\r\n", 0, BOUNDARY) == expected
    for data in (
        b"",
        whole[2:],
        whole[:-1],
        whole + b"\r\nx",
        b"\r\n" + whole,
        b"--x-boundary--\r\n",
        body(('name="a"', b"1")),
    ):
        assert whole_files(data, 0, BOUNDARY) is None


@given(cut=st.integers(0, 130))
def test_a_body_that_stops_early_is_refused(cut: int) -> None:
    whole = body(('name="images"; filename="p.jpg"', b"pixels" * 5), end=b"--x-boundary--")
    with pytest.raises(MalformedBody):
        read(whole[: min(cut, len(whole) - 1)])


def test_an_empty_file_input_of_a_browser_is_no_file() -> None:
    assert read(body(('name="images"; filename=""', b""))) == []


def test_a_file_without_name_but_with_content_is_a_file() -> None:
    assert read(body(('name="images"; filename=""', b"x")))[0] == FileBegins("images", "")


def test_an_empty_file_with_a_name_is_a_file() -> None:
    assert read(body(('name="images"; filename="e.jpg"', b""))) == [FileBegins("images", "e.jpg"), FileEnds()]


def test_what_follows_the_last_boundary_is_ignored() -> None:
    assert read(body(('name="a"', b"1"), end=b"--x-boundary--\r\nepilogue")) == [FormField("a", "1")]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param([('name="a"', b"x" * (FIELD_LIMIT_BYTES + 1))], "Field value too long", id="one field"),
        pytest.param([('name="a"', b"x" * FIELD_LIMIT_BYTES)] * 5, "Too much data in the fields", id="all fields"),
        pytest.param([('name="a"', b"")] * 1001, "Too many fields", id="many fields"),
        pytest.param([('name="images"; filename=""', b"")] * 1001, "Too many fields", id="many inputs that are empty"),
        pytest.param([(f'name="{"n" * 15_000}"', b"")] * 300, "Too much data in the fields", id="all names"),
    ],
)
def test_fields_have_limits(parts: list[tuple[str, bytes]], words: str) -> None:
    with pytest.raises(MalformedBody, match=words):
        read(body(*parts))


def test_what_is_kept_of_fields_is_what_they_take_in_memory() -> None:
    reader, fields = MultipartReader(BOUNDARY), {}
    whole = body(*((f'name="{number}"', b"%04d" % number) for number in range(1000)))
    tracemalloc.start()
    try:
        for at in range(0, len(whole), 4096):
            for event in reader.feed(whole[at : at + 4096]):
                assert isinstance(event, FormField)
                fields[event.name] = event.value
        del event
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 < reader.kept_bytes / taken_bytes < 1.5


def test_what_is_not_understood_yet_is_kept_too() -> None:
    reader = MultipartReader(BOUNDARY)
    reader.feed(b"--x-boundary\r\nX: " + b"x" * 10_000)
    assert reader.kept_bytes > 10_000
    reader.feed(b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n1')
    assert reader.kept_bytes < 100


def test_the_longest_field_is_taken() -> None:
    assert read(body(('name="a"', b"x" * FIELD_LIMIT_BYTES))) == [FormField("a", "x" * FIELD_LIMIT_BYTES)]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [(b"multipart/form-data; boundary=abc", b"abc"), (b'multipart/form-data; charset=x; boundary="a b"', b"a b")],
)
def test_the_boundary_is_found(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", [b"multipart/form-data", b"multipart/form-data; boundary=", b""])
def test_a_missing_boundary_is_said(content_type: bytes) -> None:
    with pytest.raises(MalformedBody, match="Boundary not found"):
        boundary_of(content_type)


TOKENS = [
    BOUNDARY,
    b"--",
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"--x-boundary",
    b"--x-boundary--",
    b": ",
    b'"',
    b"\\",
    b"x",
    b"Content-Disposition: form-data; ",
    b'name="images"',
    b'; filename="a.jpg"',
    b"; filename*=utf-8''%",
    b"Content-Type: multipart/mixed",
    b'; filename="=?utf-8?',
]


def outcome(*chunks: bytes) -> list[MultipartEvent] | str:
    """Read a body, or say why not."""
    try:
        return read(*chunks)
    except MalformedBody as error:
        return error.message


@given(tokens=st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4)), max_size=40), data=st.data())
def test_whatever_comes_is_read_or_refused_alike_however_it_is_cut(tokens: list[bytes], data: st.DataObject) -> None:
    body = b"".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[a:b] for a, b in itertools.pairwise([0, *cuts, len(body)])]

    assert outcome(*pieces) == outcome(body)


def test_no_head_takes_long_to_refuse() -> None:
    words = "=?utf-8?B?" + "YQ==?==?utf-8?B?" * 900
    assert read(body((f'name="images"; filename="{words}"', b"x")))[0] == FileBegins("images", words)


def test_what_goes_past_the_reader_is_offered_only_inside_a_file() -> None:
    reader = MultipartReader(BOUNDARY)
    offered = []
    for piece in (
        b'--x-boundary\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n',
        b"pix",
        b"\r\n--",
    ):
        reader.feed(piece)
        offered.append(reader.inside_file)

    assert offered == [False, True, False]
    reader.feed(b"y")
    assert reader.inside_file


@given(
    name=st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12),
    filename=st.one_of(
        st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12),
        st.sampled_from(["=?utf-8?B?w7w=?=", "a%20b.jpg", "C:\\x.jpg", 'a"b', ""]),
    ),
    line=st.sampled_from([b"", b"\r\nContent-Type: image/jpeg", b"\r\nContent-Type: application/octet-stream"]),
)
def test_a_usual_head_is_read_as_any_other(name: str, filename: str, line: bytes) -> None:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'.encode() + line

    def read_by(reader: Callable[[bytes], PartHead]) -> PartHead | str:
        try:
            return reader(head)
        except MalformedBody as error:
            return error.message

    assert read_by(read_head) == read_by(read_lines)
