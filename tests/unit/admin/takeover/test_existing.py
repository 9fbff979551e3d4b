"""State files of an existing installation are read and checked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.identity import owner_of
from clusterodm.services.admin.takeover.core import ROUTE_LIFE_MS, OldNode, OldRoute, read_nodes, read_routes

ID = "6f9619ff-8b86-4011-b42d-00c04fc964ff"


def test_nodes_are_read_with_token_and_lock_and_ports_of_both_kinds():
    content = [
        {"hostname": "a", "port": "3000", "token": "tok", "locked": True},
        {"hostname": "b", "port": 3001},
        {"hostname": "c", "port": 3002, "token": None, "dockerMachine": {"name": "m", "created": 1}},
        {"hostname": "[FD00::1]", "port": 3002},
    ]
    nodes, mistakes = read_nodes("nodes.json", json.dumps(content))
    assert mistakes == []
    assert nodes == [
        OldNode("a", 3000, "tok", locked=True),
        OldNode("b", 3001),
        OldNode("c", 3002, is_machine=True),
        OldNode("FD00::1", 3002),
    ]


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        pytest.param("", ["not JSON"], id="empty"),
        pytest.param("{}", ["holds no list of nodes"], id="an object"),
        pytest.param("[1]", ["entry 1: is no object"], id="no object"),
        pytest.param('[{"port": 1}]', ["entry 1: hostname None is none"], id="no hostname"),
        pytest.param('[{"hostname": "a b", "port": 1}]', ["hostname 'a b' is none"], id="a space"),
        pytest.param('[{"hostname": "http://a/", "port": 1}]', ["is none"], id="a URL"),
        pytest.param('[{"hostname": "javascript:x", "port": 1}]', ["fd00::20"], id="a script"),
        pytest.param('[{"hostname": "a", "port": "x"}]', ["port 'x' is none (1 to 65535)"], id="port of letters"),
        pytest.param('[{"hostname": "a", "port": 70000}]', ["port 70000 is none"], id="large port"),
        pytest.param('[{"hostname": "a", "port": true}]', ["port True is none"], id="port true"),
        pytest.param('[{"hostname": "a", "port": 1, "token": 5}]', ["token is no text"], id="token"),
        pytest.param('[{"hostname": 5, "port": 0}]', ["hostname 5", "port 0"], id="two mistakes, two lines"),
        pytest.param(
            '[{"hostname": "a", "port": 1}, {"hostname": "A", "port": "1"}]', ["a:1 stands there more"], id="twice"
        ),
    ],
)
def test_every_mistake_in_nodes_gets_a_line(text: str, mistakes: list[str]):
    _, found = read_nodes("nodes.json", text)
    assert len(found) == len(mistakes)
    for line, wanted in zip(found, mistakes, strict=True):
        assert line.startswith("nodes.json: ")
        assert wanted in line


def test_routes_are_read_with_the_owner_behind_the_token():
    content = {ID: {"node": {"hostname": "A", "port": "3000", "token": "n"}, "token": "client", "accessed": 12.5}}
    routes, mistakes = read_routes("routes.json", json.dumps(content))
    assert mistakes == []
    assert routes == [OldRoute(ID, ("a", 3000), owner_of("client"), 12)]  # type: ignore[arg-type]


@pytest.mark.parametrize("token", [{}, {"token": ""}, {"token": None}])
def test_a_route_without_token_has_the_nameless_owner(token: dict[str, Any]):
    routes, _ = read_routes("r", json.dumps({ID: {"node": {"hostname": "a", "port": 1}, "accessed": 0, **token}}))
    assert routes[0].owner == ""


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        pytest.param([], "holds no object of routes", id="a list"),
        pytest.param({"x": {}}, "route x: is no task id", id="no uuid"),
        pytest.param({ID: 1}, "is no object", id="no object"),
        pytest.param({ID: {}}, "node: is no object", id="no node"),
        pytest.param({ID: {"node": {"hostname": "a", "port": 1}, "accessed": "x"}}, "accessed 'x'", id="accessed"),
        pytest.param(
            {ID: {"node": {"hostname": "a", "port": 1}, "accessed": float("inf")}},
            "Infinity is no number of JSON",
            id="inf",
        ),
    ],
)
def test_every_mistake_in_routes_gets_a_line(content: Any, mistake: str):
    _, found = read_routes("routes.json", json.dumps(content))
    assert len(found) == 1
    assert mistake in found[0]


def test_a_route_expires_five_days_after_its_last_use():
    route = OldRoute(ID, ("a", 1), owner_of(""), 1000)  # type: ignore[arg-type]
    assert not route.expired(1000 + ROUTE_LIFE_MS)
    assert route.expired(1001 + ROUTE_LIFE_MS)


def test_no_mistake_repeats_a_token():
    _, found = read_nodes("n", json.dumps([{"hostname": "", "port": 0, "token": "s3cret"}, {"token": ["s3cret"]}]))
    assert found
    assert "s3cret" not in "".join(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["hostname", "port", "node", ID]) | st.text(), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_stands_in_a_file_it_is_read_or_refused(content: Any):
    text = json.dumps(content)
    read_nodes("n", text)
    read_routes("r", text)
