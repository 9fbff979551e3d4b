"""What an operator sees of a running cluster from outside.

Its log is JSON, also while it is changed and while something crashes; who asked for what is in the access log.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyodm
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.datasets import make_images
from tests.e2e.up import Up, program
from tests.otlp_collector import OTLPCollector
from tests.ports import ports_in_a_row
from tests.waiting import until_sync

pytestmark = pytest.mark.slow

TOKEN = "s3cret-of-the-client"
WRITTEN_S = 20.0
SERVICES_COUNT = 4
"""Each has a port for metrics."""


@pytest.fixture(scope="module")
def access_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access") / "access.log"


@pytest.fixture(scope="module")
def collector() -> Iterator[OTLPCollector]:
    with OTLPCollector() as opened:
        yield opened


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, access_log: Path, collector: OTLPCollector) -> Iterator[Up]:
    to = (f"--access-log={access_log}", "--access-log-format=json", f"--otlp-endpoint={collector.url}")
    flags = ("--demo", "--log-format=json", f"--metrics-port={ports_in_a_row(SERVICES_COUNT)}", *to)
    folder = tmp_path_factory.mktemp("observed")
    with Up(folder / "data", *flags, environment={"CLUSTERODM_TOKEN": TOKEN}) as started:
        yield started


def said(up: Up) -> list[dict[str, Any]]:
    """Read all that `up` has printed, every line of it as JSON but one that is still being written."""
    lines = up.history.splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def finished(up: Up, folder: Path, name: str) -> str:
    """Have one task processed and fetched; its id."""
    images = make_images(folder / "images", 3)
    task = pyodm.Node("127.0.0.1", up.port, TOKEN).create_task([str(path) for path in images], {}, name)
    task.wait_for_completion(interval=0.2)
    task.download_zip(str(folder / "results"))
    return str(task.uuid)


def test_every_line_is_json_and_a_request_is_found_in_every_service_by_its_id(up: Up, tmp_path: Path, access_log: Path):
    task = finished(up, tmp_path, "seen")
    of_task = [line for line in said(up) if line.get("task") == task]
    committed = next(line for line in of_task if line["event"] == "task.committed")
    submitted = next(line for line in of_task if line["event"] == "task.submitted")
    assert (committed["service"], submitted["service"]) == ("proxy", "scheduler")
    assert committed["cause"] == submitted["cause"]
    assert committed["tenant"] == submitted["tenant"]
    asked = [json.loads(line) for line in access_log.read_text().splitlines()]
    [commit] = [each for each in asked if each["target"].startswith(f"/task/new/commit/{task}")]
    assert (commit["status"], commit["method"], commit["cause"]) == (200, "POST", committed["cause"])
    assert {"GET", "POST"} == {each["method"] for each in asked}
    assert TOKEN not in access_log.read_text() + up.history
    assert "token=***" in commit["target"]


def test_all_that_is_done_for_a_task_is_one_trace(up: Up, tmp_path: Path, collector: OTLPCollector):
    task = finished(up, tmp_path, "traced")
    download = "GET /task/{uuid}/download/{asset}"
    names = {
        *("task", "place", "attempt", "run", "forward", "scheduler.submit_task", "scheduler.report_forwarded"),
        *("POST /task/new/init", "POST /task/new/upload/{uuid}", "POST /task/new/commit/{uuid}", download),
    }
    spans = until_sync(
        lambda: found if names <= (found := collector.of_task(task)).keys() else None,
        timeout_s=WRITTEN_S,
        what="all spans of a task",
    )
    assert len({each.trace_id for each in spans.values()}) == 1
    parents = {
        **dict.fromkeys(("place", "attempt", "POST /task/new/init", "POST /task/new/upload/{uuid}", download), "task"),
        **dict.fromkeys(("run", "forward"), "attempt"),
        "POST /task/new/commit/{uuid}": "task",
        "scheduler.submit_task": "POST /task/new/commit/{uuid}",
        "scheduler.report_forwarded": "forward",
    }
    assert {name: spans[name].parent_id for name in parents} == {
        name: spans[above].span_id for name, above in parents.items()
    }
    assert spans["task"].parent_id == b""
    services = {each.service for each in spans.values()}
    assert services == {"clusterodm-proxy", "clusterodm-scheduler"}
    assert spans["run"].duration_s >= 0.4
    assert spans["task"].begin_ns <= spans["attempt"].begin_ns <= spans["run"].begin_ns
    assert spans["run"].end_ns <= spans["task"].end_ns
    assert TOKEN.encode() not in collector.content


def test_figures_lead_to_the_traces_of_what_was_slow(up: Up, tmp_path: Path, collector: OTLPCollector):
    task = finished(up, tmp_path, "exemplary")
    spans = until_sync(
        lambda: found if "run" in (found := collector.of_task(task)) else None, timeout_s=WRITTEN_S, what="its spans"
    )
    trace_id = spans["run"].trace_id.hex()
    ports = json.loads((up.data_dir / "cluster.json").read_text())["metrics_ports"]
    for service, names in {
        "proxy": {"clusterodm_http_request_seconds", "clusterodm_forward_seconds"},
        "scheduler": {"clusterodm_queue_wait_seconds", "clusterodm_attempt_run_seconds"},
    }.items():
        pages = [openmetrics(port) for port in ports[service]]
        assert names <= {family for page in pages for family, trace in page if trace == trace_id}
    plain = httpx.get(f"http://127.0.0.1:{ports['proxy'][0]}/metrics", headers={"accept": "text/plain"}).text
    assert "trace_id" not in plain


def openmetrics(port: int) -> set[tuple[str, str]]:
    """Scrape as Prometheus does: names of metrics, and the traces that their exemplars name."""
    page = httpx.get(
        f"http://127.0.0.1:{port}/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"}
    )
    assert page.headers["content-type"].startswith("application/openmetrics-text")
    return {
        (family.name, sample.exemplar.labels["trace_id"])
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
        if sample.exemplar
    }


def test_a_client_with_a_trace_gets_all_of_it_in_its_own(up: Up, tmp_path: Path, collector: OTLPCollector):
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    token, [image] = {"token": TOKEN}, make_images(tmp_path, 1)
    with httpx.Client(base_url=f"http://127.0.0.1:{up.port}", params=token) as client:
        begun = client.post("/task/new/init", data={"name": "x"}, headers={"traceparent": f"00-{trace}-{parent}-01"})
        task = begun.json()["uuid"]
        client.post(f"/task/new/upload/{task}", files={"images": (image.name, image.read_bytes())})
        client.post(f"/task/new/commit/{task}")
    spans = until_sync(
        lambda: found if "task" in (found := collector.of_task(task)) else None, timeout_s=WRITTEN_S, what="its root"
    )
    assert {each.trace_id.hex() for each in spans.values()} == {trace}
    assert {spans[name].parent_id.hex() for name in ("task", "POST /task/new/init")} == {parent}


def test_what_is_logged_follows_an_operators_word_from_any_side(up: Up):
    def heard() -> list[tuple[str, str]]:
        return [(line["process"].rstrip("-12"), line["to"]) for line in said(up) if line["event"] == "log.level_set"]

    command = [program(), "log", "level", "debug", "proxy", "--data-dir", str(up.data_dir)]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert asked.returncode == 0, asked.stderr
    until_sync(lambda: ("proxy", "debug") in heard(), timeout_s=WRITTEN_S, what="the proxy to log more")
    api = httpx.post(
        f"http://127.0.0.1:{up.web_port}/api/v1/services/log-level",
        json={"level": "warning"},
        headers={"X-Requested-With": "a test"},
    )
    assert api.status_code == 200, api.text
    everybody = {(service, "warning") for service in ("proxy", "scheduler", "autoscaler", "admin")}
    until_sync(lambda: everybody <= set(heard()), timeout_s=WRITTEN_S, what="all of them to log less")
    httpx.post(
        f"http://127.0.0.1:{up.web_port}/api/v1/services/log-level",
        json={"level": "info"},
        headers={"X-Requested-With": "a test"},
    )
    acts = [line for line in said(up) if line["event"] == "operator.acted"]
    assert all(line["act"] == "LOG LEVEL" and line["outcome"] == "done" for line in acts)


def test_the_last_words_of_what_crashes_are_json_too(up: Up):
    def told(process: str, words: str) -> bool:
        return any(line["process"] == process and words in line["event"] for line in said(up))

    os.kill(up.service("admin"), signal.SIGABRT)
    until_sync(lambda: told("admin", "Fatal Python error: Aborted"), timeout_s=WRITTEN_S, what="the admin's stacks")
    os.kill(up.nats(), signal.SIGQUIT)  # Go prints the stacks of all goroutines
    until_sync(lambda: told("nats", "goroutine"), timeout_s=WRITTEN_S, what="NATS' stacks")
