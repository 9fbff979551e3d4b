"""A host name is a host name."""

import pytest

from clusterodm.libs.common.hosts import bare, canonical, is_host, shown


@pytest.mark.parametrize(
    "text",
    ["a", "node-1", "node_1.example.org", "example.org.", "192.168.1.20", "1a", "fd00::20", "::1", "xn--bcher-kva"],
)
def test_a_name_or_an_address_is_a_host(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "999.1.1.1",
        "1.2.3.4.5",
        "node.1",
        "300",
        ".a",
        "-a",
        "a-",
        "a b",
        "a/b",
        "http://a",
        "javascript:alert(1)",
        "data:text",
        "a:3000",
        "[::1]",
        "fe80::1%eth0",
        "user@a",
        "a?b",
        "a&b",
        "a(1)",
        "a;b",
        "bücher",
        "a\n",
        "\u202ea",
        "x" * 64,
        ".".join(["x" * 60] * 5),
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_host(text)


@pytest.mark.parametrize(
    ("written", "host"), [(" a ", "a"), ("[::1]", "::1"), ("[a]", "[a]"), ("::1", "::1"), ("[]", "[]")]
)
def test_brackets_belong_to_the_writing_and_not_to_the_host(written: str, host: str) -> None:
    assert bare(written) == host


@pytest.mark.parametrize(("host", "text"), [("a", "a:3000"), ("10.0.0.1", "10.0.0.1:3000"), ("::1", "[::1]:3000")])
def test_an_address_is_shown_so_that_its_port_can_be_told(host: str, text: str) -> None:
    assert shown(host, 3000) == text


@pytest.mark.parametrize(
    ("host", "other"),
    [
        ("::1", "0:0:0:0:0:0:0:1"),
        ("fd00::20", "FD00:0:0::20"),
        ("node-1", "Node-1"),
        ("a.example.org", "a.example.org."),
    ],
)
def test_all_spellings_of_a_host_are_one(host: str, other: str) -> None:
    assert canonical(host) == canonical(other)


def test_other_hosts_are_others() -> None:
    assert len({canonical(host) for host in ("::1", "::2", "127.0.0.1", "node-1", "node-10")}) == 5
