"""JSON from outside: whatever comes, one exception comes out."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.model.nodes import NodeInfo
from clusterodm.libs.common.untrusted import DEEPEST, Malformed, decode_any_json, decode_json

BAD = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="half"),
    pytest.param(b"<html>", id="a page"),
    pytest.param(b'"' + b"x" * (1 << 20) + b'"', id="too long"),
    pytest.param(b"[" * 100_000, id="bottomless"),
    pytest.param(b"[" * 500 + b"]" * 500, id="deeper than is walked"),
    pytest.param(b'{"version":"\xff"}', id="no UTF-8"),
    pytest.param(b'{"else":"\xff"}', id="no UTF-8 where nobody looks"),
    pytest.param(b'{"version":"\\ud800"}', id="half a character"),
    pytest.param(b'{"maxImages":1e999}', id="more than a number"),
    pytest.param(b'{"maxImages":' + b"9" * 5_000 + b"}", id="more digits than a number has"),
]


@pytest.mark.parametrize("content", BAD)
@pytest.mark.parametrize("shape", [Any, NodeInfo], ids=["any", "typed"])
def test_what_cannot_be_read_is_malformed(content: bytes, shape: Any) -> None:
    with pytest.raises(Malformed):
        decode_json(content, shape)


@pytest.mark.parametrize("content", [b"[]", b'{"version":5}', b'{"maxImages":"many"}'])
def test_another_shape_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode_json(content, NodeInfo)


def test_many_megabytes_are_read_when_they_are_text_and_not_when_they_are_small_change() -> None:
    lines = [b'"' + b"a line, of a console" * 20 + b'"'] * 20_000
    assert len(decode_any_json(b"[" + b",".join(lines) + b"]", limit_bytes=64 << 20)) == 20_000
    with pytest.raises(Malformed, match="too many values"):
        decode_any_json(b"[" + b"0," * 2_000_001 + b"0]", limit_bytes=64 << 20)


def test_as_many_levels_as_are_allowed_are_read() -> None:
    assert decode_any_json(b"[" * DEEPEST + b"]" * DEEPEST)
    with pytest.raises(Malformed, match="deep"):
        decode_any_json(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))


def test_deep_objects_are_malformed_where_anything_may_come() -> None:
    with pytest.raises(Malformed, match="deep"):
        decode_any_json(b'{"a":' * 500 + b"1" + b"}" * 500)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    lines = [f"[INFO] {{{number}}}" for number in range(1_000)]

    assert decode_json(msgspec.json.encode(lines), list[str]) == lines


def test_the_message_shows_nothing_of_the_content() -> None:
    with pytest.raises(Malformed) as caught:
        decode_json(b'{"version":["s3cret"]}', NodeInfo)

    assert "s3cret" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(content: bytes) -> None:
    try:
        decode_any_json(content)
    except Malformed:
        return
    msgspec.json.decode(content)
