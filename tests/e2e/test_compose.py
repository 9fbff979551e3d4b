"""deploy/docker-compose.yml with simulated nodes, on a real Docker engine, through the real PyODM."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pyodm
import pytest

from tests.cluster import answers
from tests.datasets import expected, make_images, processed
from tests.e2e.composition import Composition, composed, demo_node
from tests.waiting import until_sync

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(600)]

SERVICES = ("admin", "autoscaler", "proxy", "scheduler", "nats")


@pytest.fixture(scope="module")
def composition() -> Iterator[Composition]:
    with composed("docker-compose.demo.yml") as composition:
        yield composition


@pytest.fixture
def node(composition: Composition) -> pyodm.Node:
    return demo_node(composition)


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
    listed, _, _ = composition.docker.exec_in_container(["clusterodm", "node", "list"], "admin")
    assert [line.split()[1] for line in listed.splitlines()[1:]] == ["nodeodm-1:3000", "nodeodm-2:3000"]
