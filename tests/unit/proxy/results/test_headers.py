"""The lines that a proxy passes on, from nodes and to them."""

import pytest

from clusterodm.services.proxy.results.core.answers import for_client, for_node, of_page, of_result


def test_hop_by_hop_lines_end_here() -> None:
    kept = [(b"content-type", b"a"), (b"content-length", b"1"), (b"etag", b"x"), (b"accept-ranges", b"bytes")]
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

    assert for_client(200, [*dropped, *kept]) == kept


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
        b"x-content-type-options",
        b"x-invented-tomorrow",
    ],
)
def test_a_node_sets_nothing_at_our_origin(name: bytes) -> None:
    assert for_client(200, [(name, b"x")]) == []


ALL = [
    (b"content-type", b"application/zip"),
    (b"content-length", b"5"),
    (b"content-range", b"bytes 0-4/25"),
    (b"content-encoding", b"gzip"),
    (b"accept-ranges", b"bytes"),
    (b"etag", b"x"),
    (b"last-modified", b"then"),
    (b"cache-control", b"no-store"),
    (b"expires", b"0"),
    (b"location", b"/"),
]


@pytest.mark.parametrize(
    ("status", "dropped"),
    [
        pytest.param(206, set(), id="a part"),
        pytest.param(416, set(), id="a part that is not there"),
        pytest.param(200, {b"content-range"}, id="the whole"),
        pytest.param(412, {b"content-range"}, id="another version"),
        pytest.param(404, {b"content-range"}, id="no page"),
        pytest.param(
            304,
            {b"content-range", b"content-type", b"content-length", b"content-encoding", b"accept-ranges", b"location"},
            id="the same version",
        ),
    ],
)
def test_what_a_node_says_of_a_part_or_of_the_whole_passes_where_that_is_sent(status: int, dropped: set[bytes]) -> None:
    assert {line[0] for line in ALL} - {line[0] for line in for_client(status, ALL)} == dropped


@pytest.mark.parametrize(
    "kind", [b"text/html", b"image/svg+xml", b"application/xml", b"application/zip", b"application/pdfx", b""]
)
def test_a_result_runs_nothing_in_browsers(kind: bytes) -> None:
    said = dict(of_result(200, [(b"content-type", kind), (b"content-security-policy", b"default-src *")]))
    assert said[b"content-security-policy"] == b"sandbox"
    assert said[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("kind", [b"application/pdf", b"Application/PDF; charset=binary"])
def test_browsers_show_a_pdf(kind: bytes) -> None:
    said = dict(of_result(200, [(b"content-type", kind)]))
    assert b"content-security-policy" not in said
    assert said[b"x-content-type-options"] == b"nosniff"


def test_a_page_of_a_node_loads_and_sends_at_this_address_only() -> None:
    said = dict(of_page(200, [(b"content-type", b"text/html"), (b"content-security-policy", b"default-src *")]))
    rules = dict(rule.strip().split(b" ", 1) for rule in said[b"content-security-policy"].split(b";"))
    assert {b"'self'", b"'unsafe-inline'"} <= set(rules[b"default-src"].split())
    assert not any(place in b" ".join(rules.values()).split() for place in (b"*", b"http:", b"https:"))
    assert said[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("path", [b"/", b"/images/", b"/a?b=c#d"])
def test_a_node_leads_to_a_path_of_ours(path: bytes) -> None:
    assert for_client(200, [(b"location", path)]) == [(b"location", path)]


@pytest.mark.parametrize(
    "place",
    [b"//evil.example", b"/\\evil.example", b"/\t/evil.example", b"https://evil.example/", b"javascript:1", b""],
)
def test_a_node_leads_nowhere_else(place: bytes) -> None:
    assert for_client(200, [(b"location", place)]) == []


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
