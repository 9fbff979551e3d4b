"""exchange/destinations.py: what a client may have called, and how its address is read."""

import ipaddress

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.services.proxy.exchange.destinations import Destination, destination, networks, webhook_of, why_not


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("10.1.2.3", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("fd00::1", "private"),
        ("fec0::1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("100.64.0.1", "not public"),
        ("168.63.129.16", "not public"),
        ("192.0.0.8", "not public"),
        ("192.0.0.192", "not public"),
        ("192.88.99.1", "not public"),
        ("::ffff:168.63.129.16", "not public"),
        ("64:ff9b::a83f:8110", "not public"),
        ("3fff::1", "not public"),
        ("3fff:fff:ffff::1", "not public"),
        ("198.18.0.1", "private"),
        ("203.0.113.7", "private"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("ff02::1", "multicast"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("2001::1", "private"),
        ("2001:db8::1", "private"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::7f00:1", "not public"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::808:808", "not public"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a00:1::", "private"),
    ],
)
def test_an_address_that_is_not_anybodys_is_refused_and_its_kind_is_said(text: str, kind: str) -> None:
    address = ipaddress.ip_address(text)
    reason = why_not(address, ())
    assert kind in reason
    assert str(address) in reason


@pytest.mark.parametrize(
    "text",
    [
        "93.184.216.34",
        "168.63.129.17",
        "192.0.1.1",
        "192.88.98.255",
        "3ffe:ffff::1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_a_public_address_may_be_called(text: str) -> None:
    assert not why_not(ipaddress.ip_address(text), ())


@pytest.mark.parametrize(
    ("text", "allow"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("10.1.2.3", "192.168.0.0/16, 10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.99/24"),
        ("fd00::1", "10.0.0.0/8,fd00::/8"),
        ("fe80::1%eth0", "fe80::/10"),
        ("::ffff:10.0.0.1", "10.0.0.0/8"),
        ("::1", "[::1]"),
    ],
)
def test_a_network_that_operators_name_may_be_called(text: str, allow: str) -> None:
    assert not why_not(ipaddress.ip_address(text), networks(allow))


@pytest.mark.parametrize(("text", "allow"), [("10.1.2.3", "10.1.2.4"), ("::1", "127.0.0.0/8"), ("127.0.0.1", "::1")])
def test_another_network_than_the_named_one_stays_closed(text: str, allow: str) -> None:
    assert why_not(ipaddress.ip_address(text), networks(allow))


def test_no_network_is_read_from_nothing() -> None:
    assert networks(" , ") == ()


@pytest.mark.parametrize("text", ["private", "10.0.0.0/33", "webodm", "http://10.0.0.1"])
def test_what_is_no_network_is_said_with_the_right_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"192\.168\.1\.0/24"):
        networks(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", Destination(tls=False, host="h", port=80, authority="h", target="/")),
        ("HTTPS://H.example:8443/a?b=c#d", Destination(True, "h.example", 8443, "h.example:8443", "/a?b=c")),
        ("https://[2606:4700::1]/x", Destination(True, "2606:4700::1", 443, "[2606:4700::1]", "/x")),
        (
            "http://bücher.example/ä b",
            Destination(False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/%C3%A4%20b"),
        ),
        ("http://h/%2Fa?x=%20", Destination(False, "h", 80, "h", "/%2Fa?x=%20")),
        ("http://u:p%40@h/", Destination(False, "h", 80, "h", "/", "Basic dTpwQA==")),
        ("http://h/a\r\nX: y", Destination(False, "h", 80, "h", "/aX:%20y")),
    ],
)
def test_a_web_address_is_read(url: str, expected: Destination) -> None:
    assert destination(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://127.0.0.1:25/_HELO",
        "x",
        "//x",
        "http:",
        "http://",
        "http:///path",
        "http://[::1",
        "http://[::1x]/",
        "http://x:99999999/",
        "http://x:0/",
        "http://x:y/",
        "http://a b/",
        "http://a%0d%0ab/",
        "http://a..b/",
        "http://" + "a" * 64 + ".example/",
        "http://h/" + "a" * 2048,
    ],
)
def test_what_is_no_web_address_is_refused_at_init(url: str) -> None:
    with pytest.raises(Refused, match="http:// or https://"):
        webhook_of({"webhook": url})


@pytest.mark.parametrize("form", [{}, {"webhook": ""}, {"webhook": "  "}])
def test_no_webhook_is_none(form: dict[str, str]) -> None:
    assert not webhook_of(form)


def test_a_destination_shows_no_secret() -> None:
    shown = repr(destination("https://u:s3cret@h/s3cret?s3cret"))
    assert shown == "Destination(h)"
