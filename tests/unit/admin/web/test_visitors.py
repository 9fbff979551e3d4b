"""Who may ask the web page for what."""

import base64

import pytest

from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.web.core.visitors import (
    credentials,
    has_requested_with,
    host_names,
    is_cross_site,
    is_foreign_load,
    is_json,
    is_known_host,
)


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        pytest.param({"host": "a:1"}, False, id="a script"),
        pytest.param({"host": "a:1", "origin": "http://a:1"}, False, id="this page"),
        pytest.param({"host": "a:1", "origin": "http://b:1"}, True, id="another host"),
        pytest.param({"host": "a:1", "origin": "http://a:2"}, True, id="another port"),
        pytest.param({"host": "a:1", "origin": "null"}, True, id="a sandboxed frame"),
        pytest.param({"host": "a:1", "origin": "http://["}, True, id="no address"),
        pytest.param({"host": "a", "origin": "http://b", "sec-fetch-site": "same-origin"}, False, id="behind a proxy"),
        pytest.param(
            {"host": "a", "origin": "http://a", "sec-fetch-site": "cross-site"}, True, id="the browser knows better"
        ),
        pytest.param({"host": "a", "sec-fetch-site": "same-site"}, True, id="a neighbour"),
        pytest.param({"host": "a", "sec-fetch-site": "none"}, False, id="typed by the user"),
    ],
)
def test_a_request_of_a_foreign_page_is_recognised(headers: dict[str, str], is_foreign: bool):
    assert is_cross_site(headers) is is_foreign


@pytest.mark.parametrize(
    ("headers", "does"),
    [({}, False), ({"x-requested-with": " "}, False), ({"x-requested-with": "XMLHttpRequest"}, True)],
)
def test_only_a_request_with_a_header_of_its_own_may_change_something(headers: dict[str, str], does: bool):
    assert has_requested_with(headers) is does


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("localhost:10000", True),
        ("LOCALHOST.", True),
        ("a.localhost:1", True),
        ("127.0.0.1:10000", True),
        ("192.168.1.5", True),
        ("[::1]:10000", True),
        ("[fd00::1]", True),
        ("admin.example:10000", True),
        ("Admin.Example", True),
        ("evil.example", False),
        ("evil.example:10000", False),
        ("admin.example.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("[evil.example]", False),
        ("notlocalhost", False),
        ("", False),
    ],
)
def test_only_names_of_the_page_are_answered(host: str, known: bool):
    assert is_known_host(host, host_names("Admin.example:10000")) is known


def test_names_are_separated_by_commas():
    assert host_names(" a.example , B:1,,[::1]") == {"a.example", "b", "::1"}


@pytest.mark.parametrize(
    ("kind", "json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("text/plain; application/json", False),
        ("", False),
    ],
)
def test_only_json_by_name_counts(kind: str, json: bool):
    assert is_json({"content-type": kind}) is json


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (basic("admin:pw"), ("admin", "pw")),
        (basic("admin:p:w:"), ("admin", "p:w:")),
        (basic("admin:pässe"), ("admin", "pässe")),
        (basic("admin"), None),
        ({}, None),
        ({"authorization": "Basic !!!"}, None),
        ({"authorization": "Basic \xe9"}, None),
        ({"authorization": "Basic /w=="}, None),
        ({"authorization": "Bearer eA=="}, None),
    ],
)
def test_credentials_are_read(headers: dict[str, str], found: tuple[str, str] | None):
    assert credentials(headers) == found


@pytest.mark.parametrize(
    ("given", "fits"),
    [(("admin", "pw"), True), (("root", "pw"), False), (("admin", "px"), False), (("admin", ""), False)],
)
def test_user_and_password_must_both_be_right(given: tuple[str, str], fits: bool):
    assert bool(Passwords({Role.ADMIN: "pw"}).opens(*given)) is fits


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        pytest.param({}, False, id="a script"),
        pytest.param({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, False, id="our own page"),
        pytest.param({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, False, id="typed by the user"),
        pytest.param(
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
            False,
            id="a link that is followed",
        ),
        pytest.param(
            {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
            True,
            id="a frame",
        ),
        pytest.param({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, True, id="an image"),
        pytest.param({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, True, id="a neighbour's script"),
        pytest.param({"host": "a", "origin": "http://b"}, True, id="a listener, where a browser says no more"),
    ],
)
def test_what_another_sites_page_loads_is_recognised(headers: dict[str, str], is_foreign: bool):
    assert is_foreign_load(headers) is is_foreign
