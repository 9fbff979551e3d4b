"""Who may ask the web page for what."""

import base64

import pytest

from services.admin.core.visitors import credentials, foreign, is_json, right


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
    assert foreign(headers) is is_foreign


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
    assert right(given, "pw") is fits
