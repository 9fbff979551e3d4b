"""Compositions of deploy/ on a real Docker engine, each a project of its own on free ports, gone at the end."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyodm
import pytest
from testcontainers.compose import DockerCompose

from tests.cluster import answers
from tests.ports import free_port
from tests.waiting import until_sync

DEPLOY = Path(__file__).parents[2] / "deploy"


class Composition:
    """One project of docker compose on free ports; its volumes are its own."""

    def __init__(self, folder: Path, *files: str, task_time_s: float) -> None:
        self.port = free_port()
        settings = {
            "COMPOSE_PROJECT_NAME": f"clusterodm-test-{uuid.uuid4().hex[:8]}",
            "CLUSTERODM_IMAGE": "clusterodm:test",
            "CLUSTERODM_HAPROXY_IMAGE": "clusterodm-haproxy:test",
            "CLUSTERODM_PORT": self.port,
            "CLUSTERODM_ADMIN_CLI_PORT": free_port(),
            "CLUSTERODM_ADMIN_WEB_PORT": free_port(),
            "NODESIM_TASK_TIME_S": task_time_s,
        }
        environment = folder / "compose.env"
        environment.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.docker = DockerCompose(
            DEPLOY, ["docker-compose.yml", *files], env_file=str(environment), wait=False, keep_volumes=False
        )

    def run(self, *words: str, timeout_s: float = 300) -> str:
        """Run a docker compose command; what it prints."""
        ran = subprocess.run(
            [*self.docker.docker_compose_command(), *words],
            cwd=DEPLOY,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def is_gone(self) -> bool:
        """Take everything away; whether that worked. An engine may count a container as an end of its network for a moment after it has removed it."""
        try:
            self.docker.stop()
        except subprocess.CalledProcessError:
            return False
        return True

    def health(self) -> dict[str, str]:
        """Say what the health check of each service says."""
        return {str(each.Service): str(each.Health) for each in self.docker.get_containers()}


def docker_trouble() -> str:
    """Say why there is no usable Docker engine; empty when there is one."""
    if not shutil.which("docker"):
        return "docker is not installed"
    for words in (["docker", "info"], ["docker", "compose", "version"]):
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        if ran.returncode:
            return f"{' '.join(words)}: {(ran.stderr or ran.stdout).strip().splitlines()[-1]}"
    return ""


@contextmanager
def composed(*files: str, build: Sequence[str] = ("proxy",), task_time_s: float = 0.5) -> Iterator[Composition]:
    """Build the images of some services and run everything; skip where there is no Docker engine, but not in CI."""
    if trouble := docker_trouble():
        if os.environ.get("CI"):
            pytest.fail(f"compose tests must run in CI: {trouble}")
        pytest.skip(f"no Docker engine ({trouble}); start one, or set DOCKER_HOST")
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("CLUSTERODM_")]:
            environment.delenv(name)  # it would be stronger than what the test sets
        composition = Composition(Path(folder), *files, task_time_s=task_time_s)
        composition.run("build", "--quiet", *build, timeout_s=500)
        try:
            composition.docker.start()
            yield composition
        finally:
            until_sync(composition.is_gone, timeout_s=30, step_s=1, what="the engine to let go of everything")


def demo_node(composition: Composition) -> pyodm.Node:
    """Reach a composition with two simulated nodes as a client does, as soon as both are online."""
    until_sync(
        lambda: answers(f"http://127.0.0.1:{composition.port}/healthz"), timeout_s=60, what="the cluster to answer"
    )
    node = pyodm.Node("127.0.0.1", composition.port)
    until_sync(lambda: slots(node) == 2, timeout_s=60, what="both nodes to be registered and online")
    return node


def slots(node: pyodm.Node) -> int:
    """Count the slots that a client sees; 0 while nobody answers."""
    try:
        return int(node.info().max_parallel_tasks)
    except pyodm.exceptions.NodeConnectionError:
        return 0
