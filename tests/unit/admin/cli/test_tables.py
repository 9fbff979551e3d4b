"""Tables on a terminal: they fit, nothing that tells things apart is lost, and colour is only where it is wanted."""

import pytest

from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.services.admin.cli.core.tables import TableStyle, human, table, unambiguous_length
from clusterodm.services.admin.commands.core.answers import NodeListing, TaskListing
from tests.fake_scheduler import FakeScheduler, node, task

IDS = [
    "6f9619ff-8b86-4011-b42d-00c04fc964ff",
    "6f9619ff-8b86-4011-b42d-00c04fc964aa",
    "5b3a1c6e-8f0d-4e7a-9a51-0c2f6d1b7e44",
]


def tasks(*ids: str) -> TaskListing:
    fake = FakeScheduler()
    reason = "all nodes that would take so many images are busy at this moment, and no machine may be rented"
    made = [task(each, TaskState.WAITING, waiting_because=reason, name="A field " * 8) for each in ids]
    return TaskListing(tuple(map(fake.summary, made)))


@pytest.mark.parametrize("width", [70, 80, 100, 140])
def test_a_table_is_no_wider_than_the_terminal(width: int) -> None:
    lines = human(tasks(IDS[0], IDS[2]), TableStyle(width=width)).splitlines()
    assert max(map(len, lines)) <= width
    assert "…" in lines[1]


@pytest.mark.parametrize("width", [10, 20, 40, 50])
def test_where_columns_have_no_room_each_row_is_a_block(width: int) -> None:
    text = human(tasks(IDS[0], IDS[2]), TableStyle(width=width))
    first, second = text.split("\n\n")
    assert first.startswith("TASK    6f9619ff"[:width])
    assert second.startswith("TASK    5b3a1c6e"[:width])
    words = " ".join(text.split())
    if width >= 20:
        assert max(map(len, text.splitlines())) <= width
    assert "rented" in words
    assert "…" not in text


def test_a_block_leaves_out_what_says_nothing_and_colours_the_state() -> None:
    rows = [("a", "-", "online, locked"), ("b", "c", "?")]
    assert table(("N", "NAME", "STATE"), rows, TableStyle(width=14)) == (
        "N      a\nSTATE  online,\n       locked\n\nN      b\nNAME   c\nSTATE  ?"
    )
    coloured = table(("N", "NAME", "STATE"), rows, TableStyle(width=14, colour=True))
    assert "\x1b[33monline,\x1b[0m" in coloured


def test_wide_and_what_goes_to_a_file_is_whole() -> None:
    lines = human(tasks(*IDS), TableStyle()).splitlines()
    assert "…" not in "".join(lines)
    assert lines[1].startswith(IDS[0])
    assert lines[1].endswith("may be rented")


def test_ids_are_shortened_to_what_tells_them_apart() -> None:
    lines = human(tasks(IDS[0], IDS[2]), TableStyle(width=100)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["6f9619ff", "5b3a1c6e"]
    assert unambiguous_length(IDS) == 35


def test_colour_is_for_terminals_and_for_the_state_alone() -> None:
    answer = NodeListing(
        (node(1), node(2, port=4002, online=False, trouble="refused"), node(3, port=4003, locked=True))
    )
    plain, coloured = human(answer, TableStyle(width=200)), human(answer, TableStyle(width=200, colour=True))
    assert "\x1b" not in plain
    assert (
        coloured.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[33m", "").replace("\x1b[0m", "") == plain
    )
    online, offline, locked = coloured.splitlines()[1:]
    assert "\x1b[32monline\x1b[0m" in online
    assert "\x1b[31moffline (refused)\x1b[0m" in offline
    assert "\x1b[33monline, locked\x1b[0m" in locked


def test_a_table_that_fits_is_not_shortened() -> None:
    assert table(("NAME", "REASON"), [("a", "b")], TableStyle(width=60)) == "NAME  REASON\na     b"
