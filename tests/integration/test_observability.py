"""Prometheus itself scrapes the four services of a running cluster, and every query of the rules and the dashboard gets an answer.

Skipped only where it is not installed: apt-get install prometheus; CI has it.
"""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyodm
import pytest
import yaml

from tests.datasets import make_images
from tests.e2e.up import Up
from tests.machines_file import machines_file
from tests.ports import free_port, ports_in_a_row
from tests.waiting import until_sync

prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(prometheus is None, reason="apt-get install prometheus")]

FOLDER = Path(__file__).parents[2] / "deploy" / "observability"
SERVICES = ("proxy", "scheduler", "autoscaler", "admin")


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


class Prometheus:
    """A Prometheus that scrapes every second, with the rules of deploy/observability."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Ask; what it knows."""
        where = f"http://127.0.0.1:{self._port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            found: list[dict[str, Any]] = json.loads(get(where))["data"]["result"]
        except OSError:
            return []
        return found


@contextmanager
def scraping(folder: Path, targets: list[int]) -> Iterator[Prometheus]:
    assert prometheus is not None
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "rules.yml")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait(timeout=20)


def queries() -> list[str]:
    """List what the dashboard and the recording rules ask for."""
    panels = json.loads((FOLDER / "grafana" / "clusterodm.json").read_text())["panels"]
    rules = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [*asked, *(rule["record"] for rule in rules if "record" in rule)]


def test_prometheus_scrapes_a_running_cluster_and_every_query_is_answered(tmp_path: Path):
    first = ports_in_a_row(len(SERVICES))
    ports = list(range(first, first + len(SERVICES)))
    flags = ("--demo", f"--metrics-port={first}", f"--asr={machines_file(tmp_path)}")
    with Up(tmp_path / "data", *flags) as up, scraping(tmp_path, ports) as asked:
        facts = json.loads((tmp_path / "data" / "cluster.json").read_text())
        assert facts["metrics_ports"] == {name: [port] for name, port in zip(SERVICES, ports, strict=True)}
        until_sync(
            lambda: (
                sorted(each["metric"]["instance"] for each in asked.ask('up{job="clusterodm"} == 1'))
                == [f"127.0.0.1:{port}" for port in ports]
            ),
            timeout_s=40,
            what="all four to be scraped",
        )
        images = make_images(tmp_path / "images", 3)
        node = pyodm.Node("127.0.0.1", up.port)
        for number in range(2):
            task = node.create_task([str(path) for path in images], {}, f"task {number}")
            task.wait_for_completion(interval=0.2)
            task.download_zip(str(tmp_path / f"results {number}"))

        def unanswered() -> list[str]:
            return [query for query in queries() if not asked.ask(query)]

        until_sync(lambda: not unanswered(), timeout_s=40, step_s=1.0, what="every query to be answered")
        leaders = {each["metric"]["service"]: each["value"][1] for each in asked.ask("clusterodm:leader")}
        assert leaders == {"scheduler": "1", "autoscaler": "1"}
        ended = 'sum(clusterodm_tasks_ended_total{state="completed"})'
        until_sync(
            lambda: [each["value"][1] for each in asked.ask(ended)] == ["2"],
            timeout_s=40,
            step_s=1.0,
            what="both ends to be scraped",
        )
        firing = {each["metric"]["alertname"] for each in asked.ask('ALERTS{alertstate="firing"}')}
        assert not firing, "nothing is wrong with this cluster"
        for name, port in zip(SERVICES, ports, strict=True):
            page = get(f"http://127.0.0.1:{port}/metrics")
            assert f'service="{name}"'.encode() in page
            checked = subprocess.run([str(promtool), "check", "metrics"], input=page, capture_output=True, check=False)
            assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b""), name
            assert json.loads(get(f"http://127.0.0.1:{port}/readyz"))["ok"] is True
