"""Small forms in three notations."""

import pytest

from clusterodm.services.proxy.errors import MalformedBody
from clusterodm.services.proxy.exchange.forms import (
    JSON,
    URLENCODED,
    kind_of,
    read_fields,
    read_json,
    read_urlencoded,
    unsupported,
)


def test_a_urlencoded_form_is_read() -> None:
    assert read_urlencoded(b"uuid=a%20b&options=%5B%5D&empty=&uuid=last") == {
        "uuid": "last",
        "options": "[]",
        "empty": "",
    }


def test_a_json_form_keeps_texts_and_writes_the_rest_as_json() -> None:
    assert read_json(b'{"uuid":"a","options":[{"name":"dsm"}],"n":1,"none":null}') == {
        "uuid": "a",
        "options": '[{"name":"dsm"}]',
        "n": "1",
    }


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[", id="half"),
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b'{"uuid":' + b"[" * 100_000, id="bottomless"),
        pytest.param(b'{"uuid":' + b"[" * 500 + b"]" * 500 + b"}", id="deep"),
    ],
)
def test_json_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        read_json(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"null", b"true", b"7"])
def test_json_that_is_no_object_has_no_fields(body: bytes) -> None:
    assert read_json(body) == {}


@pytest.mark.parametrize(
    ("kind", "body", "fields"),
    [
        pytest.param(b"", b"", {}, id="nothing"),
        pytest.param(b"", b"name=a", {}, id="no content type"),
        pytest.param(b"text/plain", b"name=a", {}, id="a text"),
        pytest.param(URLENCODED, b"name=a", {"name": "a"}, id="a form"),
        pytest.param(
            JSON, b'{"name":"a","skipPostProcessing":true}', {"name": "a", "skipPostProcessing": "true"}, id="JSON"
        ),
    ],
)
def test_what_is_no_form_has_no_fields(kind: bytes, body: bytes, fields: dict[str, str]) -> None:
    assert read_fields(kind, body) == fields


@pytest.mark.parametrize("body", [b"\xff=1", b"&".join(b"a=1" for _ in range(1001))])
def test_forms_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        read_urlencoded(body)


def test_the_media_type_is_taken_without_parameters_and_case() -> None:
    assert kind_of(b"Application/JSON; charset=utf-8") == b"application/json"
    assert kind_of(None) == b""
    with pytest.raises(MalformedBody, match="Missing Content-Type"):
        raise unsupported(b"")
