"""The lines that a proxy passes on, from nodes and to them."""

import pytest

from clusterodm.services.proxy.results.core import for_client, for_node


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
