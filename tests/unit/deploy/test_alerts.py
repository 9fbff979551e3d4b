"""Every alert of deploy/observability/rules.yml fires when it should, stays silent when it should not, and has its page.

promtool plays the rules against made-up series (prometheus.io, "Unit testing for rules"). Skipped only where it is not installed: apt-get
install prometheus; CI has it.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from clusterodm.libs.common.telemetry.metrics import DECLARED
from docs import write_metrics

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "observability"
RULES = FOLDER / "rules.yml"
DASHBOARD = FOLDER / "grafana" / "clusterodm.json"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
NAME = re.compile(r"clusterodm_\w+")
promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(promtool is None, reason="apt-get install prometheus")

Series = dict[str, str]
"""Each with its values, one a minute: `0+5x10` begins at 0 and grows by 5 ten times."""

JOB = 'job="clusterodm",instance="a:1"'
OF = {"job": "clusterodm", "instance": "a:1"}


class Case(NamedTuple):
    """What makes an alert fire, what does not, and the labels that it has then."""

    fires: Series
    silent: Series
    labels: Mapping[str, str] = OF
    at: str = "60m"


def gauge(name: str, bad: str, good: str, labels: str = "", **more: str) -> Case:
    """Make the case of a gauge that has a bad value for an hour, and of a good one."""
    series = f"{name}{{{JOB}{',' if labels else ''}{labels}}}"
    return Case({series: f"{bad}x60"}, {series: f"{good}x60"}, {**OF, **more})


def slow(name: str, label: str = "") -> tuple[Series, Series]:
    """Make the series of a histogram of which all are within a second and none within a tenth; and of one of which all are."""

    def of(within: str) -> Series:
        return {
            f'{name}_bucket{{{JOB}{label},le="0.1"}}': within,
            f'{name}_bucket{{{JOB}{label},le="1"}}': "0+60x60",
            f'{name}_bucket{{{JOB}{label},le="5"}}': "0+600x60",
            f'{name}_bucket{{{JOB}{label},le="+Inf"}}': "0+600x60",
        }

    fast = dict.fromkeys(of(""), "0+600x60")
    return of("0+0x60"), fast


LAG, PING = slow("clusterodm_event_loop_lag_seconds"), slow("clusterodm_nats_ping_seconds")
POLL = slow("clusterodm_http_request_seconds", ',endpoint="/task/{uuid}/info"')
UPLOAD = slow("clusterodm_http_request_seconds", ',endpoint="/task/new/upload/{uuid}"')
BUILD = {'clusterodm_build_info{job="clusterodm",instance="a:1",service="scheduler",version="2"}': "1x60"}
SECOND = 'job="clusterodm",instance="b:1"'
REQUESTS = 'clusterodm_http_requests_total{job="clusterodm",endpoint="/info",code='
ENDED = 'clusterodm_tasks_ended_total{job="clusterodm",state='
FORWARDS = 'clusterodm_forward_attempts_total{job="clusterodm",outcome='
FREE, RESERVE = f"clusterodm_spool_free_bytes{{{JOB}}}", f"clusterodm_spool_reserve_bytes{{{JOB}}}"
OLDEST, PLACED = (
    f"clusterodm_queue_oldest_seconds{{{JOB}}}",
    f'clusterodm_task_events_total{{{JOB},event="task.placed"}}',
)
LEFT, BUDGET = f'clusterodm_budget_left{{{JOB},per="day"}}', f'clusterodm_budget{{{JOB},per="day"}}'

CASES: dict[str, Case] = {
    "ClusterodmServiceDown": gauge("up", "0", "1"),
    "ClusterodmNotReady": gauge("clusterodm_ready", "0", "1"),
    "ClusterodmNoLeader": Case(
        BUILD | {f"clusterodm_leader{{{JOB}}}": "0x60"},
        BUILD
        | {f"clusterodm_leader{{{JOB}}}": "0x60", f"clusterodm_leader{{{SECOND}}}": "1x60"}
        | {f'clusterodm_build_info{{{SECOND},service="scheduler",version="2"}}': "1x60"},
        {"service": "scheduler"},
    ),
    "ClusterodmLoopHangs": gauge("clusterodm_alive", "0", "1"),
    "ClusterodmLoopFails": gauge("clusterodm_loop_failures", "4", "1", 'loop="probe nodes"', loop="probe nodes"),
    "ClusterodmEventLoopLag": Case(*LAG, {"instance": "a:1"}),
    "ClusterodmNatsAway": gauge("clusterodm_nats_connected", "0", "1"),
    "ClusterodmNatsSlow": Case(*PING, {"instance": "a:1"}),
    "ClusterodmLoginsWrong": Case(
        {f'clusterodm_logins_total{{{JOB},door="web",outcome="wrong"}}': "0+2x60"},
        {
            f'clusterodm_logins_total{{{JOB},door="web",outcome="wrong"}}': "0+1x60",
            f'clusterodm_logins_total{{{JOB},door="web",outcome="right"}}': "0+9x60",
        },
        {"door": "web"},
    ),
    "ClusterodmRequestsFail": Case(
        {f'{REQUESTS}"200"}}': "0+90x60", f'{REQUESTS}"503"}}': "0+10x60"},
        {f'{REQUESTS}"200"}}': "0+97x60", f'{REQUESTS}"503"}}': "0+3x60"},
        {},
    ),
    "ClusterodmPollsSlow": Case(POLL[0], POLL[1] | UPLOAD[0], {"endpoint": "/task/{uuid}/info"}),
    "ClusterodmUploadsRefused": Case(
        {f"clusterodm_upload_requests_refused_total{{{JOB}}}": "0+1x60"},
        {f"clusterodm_upload_requests_refused_total{{{JOB}}}": "0+1x40 40x30"},
    ),
    "ClusterodmSpoolFilling": Case({FREE: "150x60", RESERVE: "100x60"}, {FREE: "250x60", RESERVE: "100x60"}),
    "ClusterodmSpoolFull": Case({FREE: "90x60", RESERVE: "100x60"}, {FREE: "150x60", RESERVE: "100x60"}),
    "ClusterodmNoNodes": Case(
        {f'clusterodm_nodes{{{JOB},state="online"}}': "0x60", f'clusterodm_tasks{{{JOB},state="waiting"}}': "3x60"},
        {f'clusterodm_nodes{{{JOB},state="online"}}': "0x60", f'clusterodm_tasks{{{JOB},state="waiting"}}': "0x60"},
        {},
    ),
    "ClusterodmNodeDown": gauge("clusterodm_node_up", "0", "1", 'node="n:3000"', node="n:3000"),
    "ClusterodmQueueStuck": Case({OLDEST: "3700x60", PLACED: "7x60"}, {OLDEST: "3700x60", PLACED: "0+1x60"}),
    "ClusterodmHolderAway": gauge("clusterodm_queue_tasks", "2", "0", 'reason="holder_away"', reason="holder_away"),
    "ClusterodmTasksFail": Case(
        {f'{ENDED}"failed"}}': "0+1x90", f'{ENDED}"completed"}}': "0+0x90"},
        {f'{ENDED}"failed"}}': "0+1x90", f'{ENDED}"completed"}}': "0+3x90"},
        {},
        "90m",
    ),
    "ClusterodmAttemptsLost": Case(
        {f'clusterodm_attempts_ended_total{{{JOB},outcome="lost"}}': "0+1x60"},
        {f'clusterodm_attempts_ended_total{{{JOB},outcome="lost"}}': "0+1x2 2x60"},
        {},
    ),
    "ClusterodmForwardingFails": Case(
        {f'{FORWARDS}"failed"}}': "0+1x60", f'{FORWARDS}"forwarded"}}': "3x60"},
        {f'{FORWARDS}"failed"}}': "0+1x60", f'{FORWARDS}"forwarded"}}': "0+2x60"},
        {},
    ),
    "ClusterodmMachinesFail": Case(
        {f'clusterodm_machine_failures_total{{{JOB},provider="aws",reason="refused"}}': "0+1x60"},
        {f'clusterodm_machine_failures_total{{{JOB},provider="aws",reason="refused"}}': "9x60"},
        {"provider": "aws", "reason": "refused"},
    ),
    "ClusterodmMachineStuck": gauge(
        "clusterodm_machine_state_oldest_seconds", "4000", "100", 'state="setting-up"', state="setting-up"
    ),
    "ClusterodmMachineNotDestroyed": gauge("clusterodm_machines_not_destroyed", "1", "0"),
    "ClusterodmMachineLeaked": Case(
        {f'clusterodm_machine_events_total{{{JOB},event="machine.leaked"}}': "0x30 1x30"},
        {f'clusterodm_machine_events_total{{{JOB},event="machine.created"}}': "0x30 1x30"},
        {**OF, "event": "machine.leaked"},
    ),
    "ClusterodmProviderTrouble": gauge("clusterodm_provider_trouble", "1", "0"),
    "ClusterodmDemandUnmet": gauge("clusterodm_machine_demand_unmet_tasks", "2", "0"),
    "ClusterodmBudgetSpent": Case(
        {LEFT: "1x60", BUDGET: "20x60"}, {LEFT: "10x60", BUDGET: "20x60"}, {**OF, "per": "day"}
    ),
}


def played(folder: Path, alert: str, case: Case, *, fires: bool) -> subprocess.CompletedProcess[str]:
    """Let promtool play one case."""
    rule = ALERTS[alert]
    expected = {"exp_labels": {**case.labels, **rule["labels"]}, "exp_annotations": rule["annotations"]}
    series = case.fires if fires else case.silent
    file = folder / "test.yml"
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": alert, "exp_alerts": [expected] if fires else []}],
    }
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    assert promtool is not None
    return subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)


@needs_promtool
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_stays_silent(tmp_path: Path, alert: str):
    for fires in (True, False):
        done = played(tmp_path, alert, CASES[alert], fires=fires)
        assert done.returncode == 0, f"fires={fires}\n{done.stdout}{done.stderr}"


@needs_promtool
def test_an_alert_that_does_not_fire_is_noticed(tmp_path: Path):
    case = CASES["ClusterodmNotReady"]
    assert played(tmp_path, "ClusterodmNotReady", Case(case.silent, case.fires), fires=True).returncode != 0


def test_every_alert_is_played():
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_page_that_says_what_to_do(alert: str):
    page = ROOT / ALERTS[alert]["annotations"]["runbook_url"]
    text = page.read_text()
    assert f"`{alert}`" in text
    for part in ("## What it means", "## What to look at", "## What to do"):
        assert part in text
    assert f"({page.name})" in (page.parent / "README.md").read_text()
    assert ALERTS[alert]["labels"]["severity"] in {"page", "ticket"}


def queries(panels: list[dict[str, Any]]) -> list[str]:
    """List the queries of the dashboard."""
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_every_metric_that_is_asked_for_is_declared():
    write_metrics.declared()
    rules = [rule["expr"] for group in GROUPS for rule in group["rules"]]
    pages = [path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md")]
    asked = {
        name
        for text in (*rules, *queries(json.loads(DASHBOARD.read_text())["panels"]), *pages)
        for name in NAME.findall(text)
    }
    assert len(asked) > 50
    assert {name for name in asked if re.sub(r"_(bucket|sum|count)$", "", name) not in DECLARED} == set()


def test_every_rule_that_is_asked_for_is_recorded():
    texts = [RULES.read_text(), DASHBOARD.read_text()]
    asked = {name for text in texts for name in re.findall(r"clusterodm:\w+(?::\w+)?", text)}
    assert asked == RECORDED
