"""Answers as telnet shows them."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from clusterodm.libs.common.messages.machines import PlannedStep
from clusterodm.libs.common.model.tasks import StatusCode, TaskState
from clusterodm.libs.common.model.values import Owner
from clusterodm.services.admin.cli.api.session import written
from clusterodm.services.admin.cli.core.tables import PLAIN, human, table
from clusterodm.services.admin.commands.core.answers import (
    Answer,
    ConsoleLines,
    Declined,
    Failed,
    Invalid,
    MachineCommandLine,
    MachinePlan,
    NodeChoice,
    NodeDetail,
    NodeListing,
    Ok,
    Route,
    RouteDetail,
    RouteListing,
    TaskChanged,
    TaskDetail,
    TaskListing,
    Unavailable,
)
from clusterodm.services.admin.rendering.answers import document, exit_code, render, rendered
from clusterodm.services.admin.rendering.columns import cells, json_object
from clusterodm.services.admin.rendering.nodes import ENTRY
from clusterodm.services.admin.rendering.tasks import CODES, newest
from clusterodm.services.admin.rendering.text import CONTROLS, HIDDEN, duration, one_line, pretty, printable
from clusterodm.services.admin.web.core.shown import visible
from tests.fake_scheduler import FakeScheduler, node, task

ROUTE = Route("t1", "10.0.0.1", 3000, node_has_token=True, has_owner=True, accessed_ms=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(Ok(), "OK\r\n", id="done"),
        pytest.param(Declined("taken"), "FAIL\r\n", id="not done"),
        pytest.param(Declined("there\nis none", told=True), "FAIL there is none\r\n", id="not done, and why"),
        pytest.param(Invalid("none"), "INVALID\r\n", id="no such thing"),
        pytest.param(
            Unavailable("The scheduler does not answer."), "The scheduler does not answer.\r\n", id="nobody answers"
        ),
        pytest.param(NodeListing(()), "\r\n", id="no nodes"),
        pytest.param(
            NodeListing((node(1), node(2, port=4002, locked=True, auto_spawned=True))),
            "1) 127.0.0.1:4001 [online] [1/2] <engine: odm 3.5.5> <API: 2.2.4>\r\n"
            "2) 127.0.0.1:4002 [online] [1/2] <engine: odm 3.5.5> <API: 2.2.4> [L,A]\r\n\r\n",
            id="nodes",
        ),
        pytest.param(
            NodeListing((node(1, online=False, info=None, trouble="refused"),)),
            "1) 127.0.0.1:4001 [offline] [?/?] <engine: ?> <API: ?>\r\n\r\n",
            id="a node never seen",
        ),
        pytest.param(
            NodeListing((node(1, slots_used_count=2),)),
            "1) 127.0.0.1:4001 [online] [2/2] <engine: odm 3.5.5> <API: 2.2.4>\r\n\r\n",
            id="promised slots count as used",
        ),
        pytest.param(NodeChoice(None), "No best node available\r\n", id="no best node"),
        pytest.param(
            NodeChoice(node(7)),
            "1) 127.0.0.1:4001 [online] [1/2] <engine: odm 3.5.5> <API: 2.2.4>\r\n",
            id="the best is 1)",
        ),
        pytest.param(TaskChanged(), '{\n  "success": true\n}\r\n', id="task acted upon"),
        pytest.param(TaskChanged("no"), '{\n  "success": false,\n  "error": "no"\n}\r\n', id="task refused"),
        pytest.param(Failed("odd"), '{\n  "error": "odd"\n}\r\n', id="trouble"),
        pytest.param(TaskListing(()), "[]\r\n", id="no tasks"),
        pytest.param(RouteListing(()), "{}\r\n", id="no routes"),
        pytest.param(ConsoleLines(("one", "two")), "one\r\ntwo\r\n", id="console"),
        pytest.param(ConsoleLines(()), "\r\n", id="empty console"),
        pytest.param(
            MachineCommandLine("docker-machine create x"), "docker-machine create x\r\n", id="machine command"
        ),
        pytest.param(MachinePlan(()), "nothing is to be done\r\n", id="no plan"),
        pytest.param(
            MachinePlan((PlannedStep(act="create", what="s in x", reason="a\x1bb", count=2),)),
            "create 2 x s in x: ab\r\n",
            id="plan",
        ),
    ],
)
def test_an_answer_has_the_text_that_scripts_know(answer: Answer, text: str):
    assert render(answer) == text


def test_a_node_in_detail_has_the_known_keys_and_no_token():
    shown = json.loads(render(NodeDetail(node(1, has_token=True, locked=True))))
    assert {"hostname", "port", "token", "info", "lastRefreshed", "locked"} <= set(shown)
    assert (shown["port"], shown["token"], shown["has_token"], shown["locked"]) == ("4001", "***", True, True)
    assert shown["info"]["maxParallelTasks"] == 2
    assert shown["lastRefreshed"] == 1_700_000_000_000


def test_an_offline_node_was_not_refreshed():
    assert json.loads(render(NodeDetail(node(1, online=False))))["lastRefreshed"] == 0


def test_a_node_in_the_list_of_the_page_has_the_originals_keys():
    wanted = {"name", "isLocked", "isAutoSpawned", "isOnline", "getTaskQueueCount", "getMaxParallelTasks"}
    assert wanted | {"getEngineInfo", "getVersion", "nodeData"} <= set(json_object(ENTRY, node(1)))


def test_a_task_in_detail_is_an_info_object_of_nodeodm():
    shown = json.loads(render(TaskDetail(task("t1", on=node(1)), "127.0.0.1:4001")))
    wanted = {"uuid", "name", "dateCreated", "processingTime", "status", "options", "imagesCount", "progress"}
    assert wanted <= set(shown)
    assert shown["status"] == {"code": 20}
    assert (shown["processingTime"], shown["progress"], shown["node"]) == (61_000, 42.0, "127.0.0.1:4001")


@pytest.mark.parametrize("state", list(TaskState))
def test_every_state_has_a_code_of_nodeodm(state: TaskState):
    assert CODES[state] in set(StatusCode)


def test_a_failed_task_says_why_in_its_status():
    shown = json.loads(render(TaskDetail(task("t1", TaskState.FAILED, error="Cannot process dataset"), "")))
    assert shown["status"] == {"code": 30, "errorMessage": "Cannot process dataset"}


def test_a_waiting_task_is_queued_and_says_why():
    scheduler = FakeScheduler()
    waiting = scheduler.summary(task("t1", TaskState.WAITING, waiting_because="all nodes are busy"))
    shown = json.loads(render(TaskListing((waiting,))))[0]
    assert (shown["status"], shown["position"], shown["reason"]) == ({"code": 10}, 1, "all nodes are busy")


def test_routes_are_keyed_by_task_and_hide_both_tokens():
    shown = json.loads(render(RouteListing((ROUTE,))))
    assert shown == {
        "t1": {"node": {"hostname": "10.0.0.1", "port": "3000", "token": "***"}, "token": "***", "accessed": 5}
    }
    assert json.loads(render(RouteDetail(ROUTE))) == shown["t1"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ConsoleLines(("a\x1b[2Jb\x9b31mc\x07\rd\ne",)), id="console"),
        pytest.param(TaskDetail(task("t1", name="x\x1b]0;evil\x07\x9by"), ""), id="name"),
        pytest.param(Unavailable("no\x1b[2J"), id="sentence"),
        pytest.param(MachineCommandLine("a\x1bb\nc"), id="command"),
    ],
)
def test_nothing_that_others_wrote_steers_the_operators_terminal(answer: Answer):
    for text in (render(answer), human(answer)):
        assert not set(text.replace("\r\n", "")) & {"\x1b", "\x9b", "\x07", "\r"}


@pytest.mark.parametrize(
    "answer",
    [
        ConsoleLines(("photo\u202egpj.exe", "a\x9b31mb")),
        TaskDetail(task("t1", name="a\u2066b\x85c\u200ed"), ""),
        Declined("no\u2028\u061c"),
        NodeListing((node(1, trouble="a\u202e", online=False),)),
    ],
)
def test_what_turns_the_text_around_or_is_of_the_second_set_is_shown_escaped(answer: Answer):
    for text in (render(answer), human(answer)):
        assert not re.search("[\x80-\x9f\u061c\u200e\u2028\u202e\u2066]", text)
    if not isinstance(answer, Declined | NodeListing):
        assert "\\u" in render(answer)
    if isinstance(answer, TaskDetail):
        assert json.loads(render(answer))["name"] == "a\u2066b\x85c\u200ed"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Ok(), 0),
        (NodeListing(()), 0),
        (TaskChanged(), 0),
        (TaskChanged("no"), 1),
        (Declined(""), 1),
        (Invalid(""), 1),
        (Failed(""), 1),
        (NodeChoice(None), 1),
        (NodeChoice(node(1)), 0),
        (Unavailable(""), 3),
    ],
)
def test_the_exit_code_says_what_came_of_it(answer: Answer, code: int):
    assert exit_code(answer) == code


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Ok(), {"success": True}),
        (Declined("taken"), {"success": False, "error": "taken"}),
        (Unavailable("gone"), {"success": False, "error": "gone"}),
        (NodeChoice(None), None),
        (ConsoleLines(("a",)), ["a"]),
        (MachineCommandLine("c"), {"command": "c"}),
        (
            MachinePlan((PlannedStep(act="wait", what="", reason="r"),)),
            [{"act": "wait", "what": "", "reason": "r", "count": 1}],
        ),
        (TaskChanged("no"), {"success": False, "error": "no"}),
    ],
)
def test_every_answer_is_one_json_document(answer: Answer, shown: Any):
    assert document(answer) == shown


def test_a_table_is_aligned_and_has_no_empty_cells():
    assert table(("A", "BB"), cells([("long", ""), ("x", "y")]), PLAIN) == "A     BB\nlong  -\nx     y"


def test_tables_show_what_is_wrong_with_a_node():
    lines = human(NodeListing((node(1), node(2, port=4002, online=False, trouble="refused", locked=True)))).splitlines()
    assert lines[0].split()[:3] == ["N", "NODE", "SLOTS"]
    assert lines[2].endswith("offline (refused), locked")


@pytest.mark.parametrize(("ms", "text"), [(-1, ""), (0, "0m00s"), (61_000, "1m01s"), (3_660_000, "1h01m")])
def test_a_time_span_has_two_units(ms: int, text: str):
    assert duration(ms) == text


def test_a_page_shows_active_tasks_first_then_the_newest():
    scheduler = FakeScheduler()
    made = [
        task("old-done", TaskState.COMPLETED, committed_at_ms=1),
        task("old-waiting", TaskState.WAITING, committed_at_ms=2),
        task("new-done", TaskState.FAILED, committed_at_ms=3),
        task("new-waiting", TaskState.WAITING, committed_at_ms=4, owner=Owner("o")),
    ]
    shown = newest([scheduler.summary(each) for each in made], 3)
    assert [each.id for each in shown] == ["new-waiting", "old-waiting", "new-done"]


TAG = "\U000e0041"
"""Of the invisible tags, as names may be hidden in."""


@pytest.mark.parametrize("sign", ["\xad", "\u3164", "\u2800", "\u180e", "\ufe0f", TAG, "\u202e", "\x85"])
def test_what_cannot_be_seen_is_seen_in_tables_in_json_and_on_pages(sign: str):
    detail = TaskDetail(task("t1", name=f"a{sign}b"), "")
    escape = json.dumps(sign).strip('"')
    assert f"a{escape}b" in render(detail)
    assert json.loads(render(detail))["name"] == f"a{sign}b"
    assert one_line(f"a{sign}b") == f"a{escape}b" == visible(f"a{sign}b")


def test_the_console_of_a_page_shows_the_same_as_all_else():
    script = Path("services/admin/web/api/static/console.js").read_text(encoding="utf-8")
    (signs,) = re.findall(r"const HIDDEN = /\[(.*)\]/gu;", script)
    spans = re.findall(r"\\u\{?([0-9a-f]+)\}?(?:-\\u\{?([0-9a-f]+)\}?)?", signs)
    codes = {code for first, last in spans for code in range(int(first, 16), int(last or first, 16) + 1)}
    assert codes == {*CONTROLS, *HIDDEN}


@pytest.mark.parametrize("one_line_each", [False, True])
def test_yaml_steers_no_terminal_and_says_what_there_is(one_line_each: bool):
    content = {"name": "photo\u202egpj\x85\u200b", "other": "Häuser: 1"}
    text = written(content, "yaml", one_line_each=one_line_each)
    assert printable(text) == text
    assert msgspec.yaml.decode(text) == content
    assert "Häuser" in written({"name": "Häuser"}, "yaml", one_line_each=one_line_each)


MANY = [FakeScheduler().summary(task(f"t{number}", name='two\nlines "of" {braces}')) for number in range(50)]


@pytest.mark.parametrize(
    "answer",
    [
        TaskListing(tuple(MANY)),
        TaskListing(()),
        RouteListing(tuple(replace(ROUTE, task=each.id) for each in MANY)),
        RouteListing(()),
    ],
    ids=["tasks", "no tasks", "routes", "no routes"],
)
def test_a_long_list_is_written_in_pieces_as_it_would_be_as_a_whole(answer: Answer):
    pieces = list(rendered(answer))
    assert "".join(pieces) == f"{pretty(document(answer))}\r\n"
    assert max(map(len, pieces)) < 2_000
