"""What is shown of a thing is said once, for tables and JSON."""

from typing import Any, get_args

import pytest

from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.services.admin.commands.core.answers import Answer
from clusterodm.services.admin.rendering.answers import SHAPES
from clusterodm.services.admin.rendering.columns import Column, Columns, head_of, json_object, listing, row_under
from clusterodm.services.admin.rendering.machines import MACHINE
from clusterodm.services.admin.rendering.nodes import DETAILS, ENTRY, TABLE
from clusterodm.services.admin.rendering.tasks import TASK, UPLOAD
from clusterodm.services.admin.rendering.usage import USAGE
from tests.fake_scheduler import node

COLUMNS: Columns[NodeView] = (
    Column(lambda node: node.number, "number", "N"),
    Column(lambda node: node.pace, "pace"),
    Column(lambda node: node.slots_used_count, head="BUSY", cell=lambda count: str(count or "")),
)


def test_every_answer_has_a_shape():
    assert set(SHAPES) == set(get_args(Answer))


def test_a_column_is_where_it_has_a_name():
    assert json_object(COLUMNS, node(3)) == {"number": 3, "pace": 0}
    assert listing(COLUMNS, [node(3, slots_used_count=2), node(4, slots_used_count=0)], "") == (
        ["N", "BUSY"],
        [["3", "2"], ["4", "-"]],
        "",
    )


def test_in_a_table_of_others_what_a_thing_has_not_is_empty():
    assert row_under(["BUSY", "WHY", "N"], COLUMNS, node(3, slots_used_count=2)) == ["2", "", "3"]


@pytest.mark.parametrize("columns", [ENTRY, DETAILS, TASK, UPLOAD, MACHINE, USAGE])
def test_no_name_is_given_to_two_columns(columns: Columns[Any]):
    keys = [column.key for column in columns if column.key]
    assert len({*keys}) == len(keys)
    assert len({*head_of(columns)}) == len(head_of(columns))


def test_the_table_of_nodes_has_each_head_once():
    assert len({*head_of(TABLE)}) == len(head_of(TABLE))


def test_uploads_are_shown_under_the_heads_of_tasks():
    assert {*head_of(UPLOAD)} <= {*head_of(TASK)}
