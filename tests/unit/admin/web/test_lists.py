"""Lists are searched, filtered, sorted and paged; what needs attention comes with where to look."""

import re
from typing import Any

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.machines import AutoscalerStatus, BudgetStatus, TaskWaits
from clusterodm.libs.common.messages.overview import ClusterOverview, SpoolReport, UploadProgress
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.ports import StoredEvent
from clusterodm.services.admin.rendering.columns import json_object
from clusterodm.services.admin.rendering.machines import MACHINE, machine_line
from clusterodm.services.admin.web.api.renderer import templates
from clusterodm.services.admin.web.core.attention import attention_of
from clusterodm.services.admin.web.core.cluster_views import event_row
from clusterodm.services.admin.web.core.machine_views import autoscaler_view, machine_row
from clusterodm.services.admin.web.core.node_views import NODE_SORTS, node_row, node_texts
from clusterodm.services.admin.web.core.task_views import TaskRow, TasksPage, matching_uploads
from clusterodm.services.admin.web.core.views import Wanted, listed
from tests.fake_autoscaler import machine
from tests.fake_scheduler import node

NODES = [
    node(1, "b.example", labels=("gpu",), slots_used_count=2),
    node(2, "a.example", online=False, trouble="refused", info=None),
    node(3, "c.example", locked=True),
    node(4, "d.example", draining=True, locked=True),
]


@pytest.mark.parametrize(
    ("wanted", "numbers", "total"),
    [
        pytest.param(Wanted(), [1, 2, 3, 4], 4, id="all"),
        pytest.param(Wanted(search="GPU"), [1], 1, id="a label, in any case"),
        pytest.param(Wanted(search="refused"), [2], 1, id="what is wrong"),
        pytest.param(Wanted(states=("offline", "draining")), [2, 4], 2, id="two states"),
        pytest.param(Wanted(sort="name"), [2, 1, 3, 4], 4, id="by name"),
        pytest.param(Wanted(sort="slots", descending=True), [1, 3, 4, 2], 4, id="the busiest first"),
        pytest.param(Wanted(per_page=3, page=2), [4], 4, id="the second page"),
        pytest.param(Wanted(page=9), [], 4, id="behind the last page"),
        pytest.param(Wanted(sort="nonsense"), [1, 2, 3, 4], 4, id="an unknown order"),
    ],
)
def test_nodes_are_searched_filtered_sorted_and_paged(wanted: Wanted, numbers: list[int], total: int):
    page = listed(map(node_row, NODES), wanted, node_texts, NODE_SORTS, lambda row: row.state)
    assert [row.number for row in page.items] == numbers
    assert page.total_count == total


def test_uploads_are_among_tasks_unless_other_states_are_asked_for():
    uploads = [UploadProgress(task=TaskId("AB12"), instance=InstanceId("p"), name="Orchard", created_at_ms=1)]
    assert [row.state for row in matching_uploads(uploads, Wanted(search="orch"))] == ["uploading"]
    assert [row.id for row in matching_uploads(uploads, Wanted(search="ab12"))] == ["AB12"]
    assert matching_uploads(uploads, Wanted(states=("running",))) == []
    assert matching_uploads(uploads, Wanted(search="field")) == []


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"at_ms": "soon", "task": 7, "node": None, "reason": ["x"]}, id="other types"),
        pytest.param({}, id="nothing"),
    ],
)
def test_an_event_of_another_version_is_shown_as_far_as_it_is_understood(told: dict[str, object]):
    row = event_row(StoredEvent(5, "task.invented", 99, told))
    assert (row.at_ms, row.kind, row.task, row.node, row.reason) == (99, "task", "", "", "")


NOW_MS = WallMs(1_700_000_000_000)
WELL = ClusterOverview(at_ms=NOW_MS, nodes_online_count=1)


def failed(**changes: object) -> TasksPage:
    fields = {
        "id": "t/1",
        "name": "Bridge",
        "state": "failed",
        "created_at_ms": 1,
        "ended_at_ms": NOW_MS - 5_000,
        "reason": "no",
    }
    task = TaskRow(**{**fields, **changes})  # type: ignore[arg-type]
    return TasksPage(items=(task,), total_count=1, page=1, per_page=5, states={})


def test_nothing_needs_attention_where_all_is_well():
    assert attention_of(NOW_MS, WELL, None, [], None, None) == ()
    assert attention_of(NOW_MS, WELL, None, [], failed(ended_at_ms=NOW_MS - 90_000_000), None) == ()


def test_what_needs_attention_comes_errors_first_with_where_to_look():
    status = AutoscalerStatus(
        enabled=True,
        reason="",
        paused=True,
        waits=(TaskWaits(task=TaskId("t"), reason="over budget"),),
        file_mistakes=("hetzner: there is no size 'cx99'",),
    )
    spool = SpoolReport(instance=InstanceId("p"), host="h", free_bytes=5 * 10**9, total_bytes=10**12)
    offline = listed(map(node_row, NODES), Wanted(states=("offline",)), node_texts, {}, lambda row: row.state)
    waiting = ClusterOverview(at_ms=NOW_MS, nodes_online_count=1, oldest_wait_s=7_200)
    found = attention_of(NOW_MS, waiting, status, [spool], failed(), offline)
    assert [(each.severity, each.text, each.link) for each in found] == [
        ("error", "Bridge failed: no", "/tasks/t%2F1"),
        ("error", "The disk of p on h has 5.0 GB left.", "/services"),
        ("warning", "A task has waited for 2.0 h.", "/queue"),
        ("warning", "a.example:4001 is offline: refused", "/nodes/a.example-4001"),
        ("warning", "The provider does not accept the file: hetzner: there is no size 'cx99'", "/machines"),
        ("warning", "The autoscaler is paused.", "/machines"),
        ("warning", "1 waiting tasks get no machine: over budget", "/queue"),
    ]


def test_tasks_that_do_not_get_on_need_attention():
    stuck = ClusterOverview(
        at_ms=NOW_MS, nodes_online_count=1, upload_owner_away_count=2, on_offline_nodes_count=3,
        longest_run_task=TaskId("t/1"), longest_run_s=180_000.0,
    )  # fmt: skip
    assert [(each.severity, each.text, each.link) for each in attention_of(NOW_MS, stuck, None, [], None, None)] == [
        ("error", "2 tasks wait for a proxy that does not answer: it has the images.", "/services"),
        ("warning", "3 tasks are on nodes that do not answer.", "/nodes?state=offline"),
        ("warning", "A task has been running for 50 h.", "/tasks/t%2F1"),
    ]
    usual = ClusterOverview(at_ms=NOW_MS, nodes_online_count=1, longest_run_task=TaskId("t"), longest_run_s=3_600.0)
    assert attention_of(NOW_MS, usual, None, [], None, None) == ()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param({"cost_per_hour": 9.0}, [], id="no budget"),
        pytest.param({"cost_per_hour": 8.9, "max_hourly_cost": 10.0}, [], id="enough left"),
        pytest.param(
            {"cost_per_hour": 9.0, "max_hourly_cost": 10.0},
            [("warning", "The cost per hour is 9.00 of 10.00.")],
            id="nearly used up",
        ),
        pytest.param(
            {"cost_last_day": 51.0, "max_daily_cost": 50.0},
            [("error", "The cost of the last day is 51.00 of 50.00.")],
            id="over budget",
        ),
    ],
)
def test_a_budget_that_is_nearly_used_up_needs_attention(status: dict[str, float], said: list[tuple[str, str]]):
    found = attention_of(NOW_MS, WELL, AutoscalerStatus(enabled=True, reason="", **status), [], None, None)  # type: ignore[arg-type]
    assert [(each.severity, each.text) for each in found] == said


def test_an_act_of_an_operator_says_who_did_what_and_what_came_of_it():
    told = {
        "user": "anne",
        "door": "web",
        "act": "TASK UP",
        "target": "5b3a",
        "outcome": "refused",
        "reason": "it has ended",
    }
    row = event_row(StoredEvent(5, "operator.acted", 99, told))
    assert (row.kind, row.user, row.door, row.state, row.reason) == (
        "operator", "anne", "web", "refused", "TASK UP 5b3a: it has ended",
    )  # fmt: skip
    assert event_row(StoredEvent(5, "operator.acted", 99, told | {"reason": ""})).reason == "TASK UP 5b3a"


@pytest.mark.parametrize(
    ("name", "told", "about"),
    [
        pytest.param("task.started", {"task": "5b3a"}, "task 5b3a", id="a task"),
        pytest.param("operator.acted", {"user": "anne", "door": "web"}, "anne by web", id="an operator"),
        pytest.param(
            "operator.acted",
            {"user": "", "door": "web", "address": "192.0.2.7"},
            "nobody known by web from 192.0.2.7",
            id="whoever did not get in",
        ),
        pytest.param("operator.acted", {"user": "", "count": 312}, "nobody known", id="many that did not"),
        pytest.param("log.level_set", {"level": "debug"}, "all services", id="the log of all"),
        pytest.param("log.level_set", {"level": "debug", "service": "proxy"}, "proxy", id="the log of one"),
    ],
)
def test_every_event_in_the_list_is_about_something(name: str, told: dict[str, Any], about: str):
    parts: Any = templates().get_template("parts.html").module
    table = parts.event_table([event_row(StoredEvent(5, name, 99, told))], lambda _: "now")
    cell = re.search(r'data-label="About">(.*?)</td>', table, re.DOTALL)
    assert cell
    assert " ".join(re.sub(r"<[^>]*>", " ", cell[1]).split()) == about


def test_a_scheduler_that_does_not_answer_is_all_that_is_said_of_the_cluster():
    assert [each.text for each in attention_of(NOW_MS, None, None, [], None, None)] == [
        "The scheduler does not answer."
    ]


def test_what_machines_cost_by_owner_is_shown_beside_the_limits():
    spent = BudgetStatus(owner=Owner("survey"), cost_per_hour=0.5, cost_last_day=3.25, max_daily_cost=20.0)
    (shown,) = autoscaler_view(AutoscalerStatus(enabled=True, reason="", budgets=(spent,))).budgets
    assert (shown.owner, shown.cost_last_day, shown.max_hourly_cost, shown.max_daily_cost) == ("survey", 3.25, None, 20)


def test_a_machine_says_how_it_is_rented_and_for_whom():
    rented = machine(1, spot=True, gpu=True, owner=Owner("survey"))
    shown = machine_row(rented)
    assert (shown.spot, shown.gpu, shown.owner) == (True, True, "survey")
    assert "<size: s-2vcpu-2gb@sfo2 (spot)>" in machine_line(rented)
    assert json_object(MACHINE, rented)["owner"] == "survey"
