"""Small forms in three notations, and the lines that a proxy passes on."""

import pytest

from services.proxy.errors import MalformedBody
from services.proxy.exchange.forms import (
    JSON,
    URLENCODED,
    kind_of,
    read_fields,
    read_json,
    read_urlencoded,
    unsupported,
)
from services.proxy.results.core import for_client, for_node


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


def test_hop_by_hop_lines_end_here() -> None:
    kept = [(b"content-type", b"a"), (b"content-length", b"1"), (b"etag", b"x"), (b"content-range", b"bytes 0-0/1")]
    dropped = [
        (b"connection", b"close, X-Named"),
        (b"x-named", b"by connection"),
        (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"chunked"),
        (b"access-control-allow-origin", b"*"),
        (b"date", b"now"),
        (b"set-cookie", b"x"),
        (b"x-powered-by", b"Express"),
    ]

    assert for_client([*dropped, *kept]) == kept


@pytest.mark.parametrize(
    "name",
    [
        b"alt-svc",
        b"clear-site-data",
        b"content-location",
        b"content-security-policy",
        b"link",
        b"nel",
        b"proxy-authenticate",
        b"refresh",
        b"report-to",
        b"set-cookie",
        b"strict-transport-security",
        b"www-authenticate",
        b"x-invented-tomorrow",
    ],
)
def test_a_node_sets_nothing_at_our_origin(name: bytes) -> None:
    assert for_client([(name, b"x")]) == []


@pytest.mark.parametrize("path", [b"/", b"/images/", b"/a?b=c#d"])
def test_a_node_leads_to_a_path_of_ours(path: bytes) -> None:
    assert for_client([(b"location", path)]) == [(b"location", path)]


@pytest.mark.parametrize(
    "place",
    [b"//evil.example", b"/\\evil.example", b"/\t/evil.example", b"https://evil.example/", b"javascript:1", b""],
)
def test_a_node_leads_nowhere_else(place: bytes) -> None:
    assert for_client([(b"location", place)]) == []


def test_a_node_hears_only_what_changes_its_answer() -> None:
    kept = [(b"range", b"bytes=0-1"), (b"if-none-match", b"x"), (b"accept-encoding", b"gzip")]
    dropped = [
        (b"cookie", b"c"),
        (b"authorization", b"a"),
        (b"origin", b"o"),
        (b"host", b"h"),
        (b"connection", b"close"),
    ]

    assert for_node([*dropped, *kept]) == kept
