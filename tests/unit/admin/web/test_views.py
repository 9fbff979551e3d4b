"""A view takes what a thing has under the same name."""

import pytest

from clusterodm.services.admin.web.core.node_views import NodeRow, node_row
from clusterodm.services.admin.web.core.views import View, view_of
from tests.fake_scheduler import node


class Glance(View, frozen=True, kw_only=True):
    """A node at a glance."""

    hostname: str
    pace: int
    state: str
    note: str = "none"


def test_what_has_the_same_name_is_taken_and_the_rest_is_given():
    assert view_of(Glance, node(1, pace=3), state="online") == Glance(hostname="127.0.0.1", pace=3, state="online")


def test_what_is_given_counts_before_what_has_the_same_name():
    assert view_of(Glance, node(1, pace=3), state="online", pace=0, note="slow").pace == 0


def test_what_neither_has_is_a_mistake():
    with pytest.raises(TypeError):
        view_of(Glance, node(1))


def test_every_field_of_a_row_says_what_the_node_says():
    row = node_row(node(7, "a.example", locked=True, pace=2, labels=("tenant=survey",)))
    wanted = (7, "a.example", True, 2, ("survey",), "locked")
    assert (row.number, row.hostname, row.locked, row.pace, row.reserved_for, row.state) == wanted
    assert isinstance(row, NodeRow)
