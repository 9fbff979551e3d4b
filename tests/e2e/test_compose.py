"""deploy/docker-compose.yml with simulated nodes, on a real Docker engine, through the real PyODM."""

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyodm
import pytest

from tests.cluster import answers
from tests.datasets import expected, make_images, processed
from tests.nats import free_port
from tests.waiting import until_sync

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
FILES = ("deploy/docker-compose.yml", "deploy/docker-compose.demo.yml")
SERVICES = ("admin", "autoscaler", "proxy", "scheduler", "nats")


class Composition:
    """One project of docker compose on free ports; its image and volumes are its own."""

    def __init__(self) -> None:
        self.project = f"clusterodm-test-{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLUSTERODM_")},
            "CLUSTERODM_IMAGE": "clusterodm:test",
            "CLUSTERODM_PORT": str(self.port),
            "CLUSTERODM_ADMIN_CLI_PORT": str(free_port()),
            "CLUSTERODM_ADMIN_WEB_PORT": str(free_port()),
            "NODESIM_TASK_TIME_S": "0.5",
        }

    def run(self, *words: str, timeout_s: float = 300) -> str:
        """Run a docker compose command; what it prints."""
        files = [word for file in FILES for word in ("-f", str(REPOSITORY / file))]
        ran = subprocess.run(
            ["docker", "compose", "-p", self.project, *files, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def health(self) -> dict[str, str]:
        """Say what the health check of each service says."""
        lines = self.run("ps", "--format", "json").splitlines()
        return {service["Service"]: service["Health"] for service in map(json.loads, lines)}


def docker_trouble() -> str:
    """Say why there is no usable Docker engine; empty when there is one."""
    if not shutil.which("docker"):
        return "docker is not installed"
    for words in (["docker", "info"], ["docker", "compose", "version"]):
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        if ran.returncode:
            return f"{' '.join(words)}: {(ran.stderr or ran.stdout).strip().splitlines()[-1]}"
    return ""


@pytest.fixture(scope="module")
def composition() -> Iterator[Composition]:
    if trouble := docker_trouble():
        if os.environ.get("CI"):
            pytest.fail(f"compose tests must run in CI: {trouble}")
        pytest.skip(f"no Docker engine ({trouble}); start one, or set DOCKER_HOST")
    composition = Composition()
    try:
        composition.run("build", "--quiet", "proxy", timeout_s=500)
        composition.run("up", "--detach")
        yield composition
    finally:
        composition.run("down", "--volumes", "--remove-orphans", "--timeout", "10")


@pytest.fixture
def node(composition: Composition) -> pyodm.Node:
    until_sync(lambda: answers(f"http://127.0.0.1:{composition.port}/healthz"), timeout_s=60)
    node = pyodm.Node("127.0.0.1", composition.port)
    until_sync(lambda: node.info().max_parallel_tasks == 2, timeout_s=60, what="both nodes to be registered and online")
    return node


def test_every_service_becomes_healthy(composition: Composition):
    until_sync(
        lambda: [composition.health()[service] for service in SERVICES] == ["healthy"] * len(SERVICES),
        timeout_s=90,
        step_s=1,
        what="all services to be healthy",
    )


async def test_a_dataset_goes_in_and_its_result_comes_out(node: pyodm.Node, tmp_path: Path):
    images = make_images(tmp_path / "images", 6)

    def work() -> str:
        task = node.create_task([str(path) for path in images], name="compose")
        task.wait_for_completion(interval=0.2)
        return str(task.download_zip(str(tmp_path)))

    assert processed(Path(await asyncio.to_thread(work))) == expected(images)


def test_tasks_and_nodes_survive_a_restart_of_everything(node: pyodm.Node, composition: Composition, tmp_path: Path):
    task = node.create_task([str(path) for path in make_images(tmp_path / "images", 2)], name="kept")
    composition.run("restart", "--timeout", "15", "nats", "scheduler", "proxy", "admin", "autoscaler")
    until_sync(lambda: answers(f"http://127.0.0.1:{composition.port}/healthz"), timeout_s=60)
    task.wait_for_completion(interval=0.2)
    assert task.info().name == "kept"


def test_the_operators_words_work_inside_the_container(node: pyodm.Node, composition: Composition):
    listed = composition.run("exec", "-T", "admin", "clusterodm", "node", "list")
    assert [line.split()[1] for line in listed.splitlines()[1:]] == ["nodeodm-1:3000", "nodeodm-2:3000"]
