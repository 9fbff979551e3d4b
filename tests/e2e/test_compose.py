"""deploy/docker-compose.yml with simulated nodes, on a real Docker engine, through the real PyODM."""

import asyncio
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyodm
import pytest
from testcontainers.core.docker_client import DockerClient

from tests.cluster import answers
from tests.datasets import expected, make_images, processed
from tests.e2e.composition import DEPLOY, Composition, composed, demo_node
from tests.waiting import until_sync

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(600)]

SERVICES = ("admin", "autoscaler", "proxy", "scheduler", "nats")
WITH_PROGRAM = "clusterodm-docker-machine:test"
PROGRAM = "#!/bin/sh\necho docker-machine version 0.16.2, stand-in\n"


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


def image_with(
    composition: Composition, folder: Path, *, docker_machine: str, sums: str
) -> subprocess.CompletedProcess[str]:
    """Build deploy/Dockerfile.docker-machine upon the image of the composition, a program in the place of ssh in it."""
    del composition  # it has built the image
    base = folder / "base"
    base.mkdir(parents=True)
    (base / "Dockerfile").write_text("FROM clusterodm:test\nCOPY ssh /usr/bin/ssh\n")
    (base / "ssh").touch(0o755)
    docker("build", "--quiet", "--tag", "clusterodm-with-ssh:test", str(base))
    programs = folder / "programs"
    programs.mkdir()
    (programs / "docker-machine").write_text(docker_machine)
    (programs / "SHA256SUMS").write_text(f"{sums}  docker-machine\n")
    words = ["docker", "build", "--file", str(DEPLOY / "Dockerfile.docker-machine"), "--tag", WITH_PROGRAM]
    words += ["--build-arg", "BASE_IMAGE=clusterodm-with-ssh:test", str(programs)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=True).stdout


def said_confined(image: str, asked: str) -> str:
    """Run a line of a shell in a container that may do nothing: what it says."""
    confined = {"read_only": True, "cap_drop": ["ALL"], "network": "none", "entrypoint": "sh"}
    engine = DockerClient()
    try:
        said = engine.run(image, ["-c", asked], remove=True, **confined)
    finally:
        engine.client.close()
    assert isinstance(said, bytes)
    return said.decode()


def test_the_image_with_docker_machine_has_what_its_checksum_is_right_of(composition: Composition, tmp_path: Path):
    right = hashlib.sha256(PROGRAM.encode()).hexdigest()
    asked = "docker-machine --version; id -u; echo $MACHINE_STORAGE_PATH; test ! -e /programs"
    try:
        wrong = image_with(composition, tmp_path / "wrong", docker_machine=f"{PROGRAM} # changed", sums=right)
        assert wrong.returncode != 0
        assert "docker-machine has the checksum" in wrong.stdout + wrong.stderr
        built = image_with(composition, tmp_path / "right", docker_machine=PROGRAM, sums=right)
        assert built.returncode == 0, built.stdout + built.stderr
        shown = said_confined(WITH_PROGRAM, asked)
    finally:
        docker("rmi", "--force", WITH_PROGRAM, "clusterodm-with-ssh:test")
    assert shown.splitlines() == ["docker-machine version 0.16.2, stand-in", "10001", "/data/docker-machine"]
