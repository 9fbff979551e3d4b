"""Compositions of deploy/ on a real Docker engine, each a project of its own on free ports, gone at the end."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyodm
import pytest

from tests.cluster import answers
from tests.ports import free_port
from tests.waiting import until_sync

REPOSITORY = Path(__file__).parents[2]


class Composition:
    """One project of docker compose on free ports; its volumes are its own."""

    def __init__(self, *files: str) -> None:
        self._files = ("docker-compose.yml", *files)
        self.project = f"clusterodm-test-{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLUSTERODM_")},
            "CLUSTERODM_IMAGE": "clusterodm:test",
            "CLUSTERODM_HAPROXY_IMAGE": "clusterodm-haproxy:test",
            "CLUSTERODM_PORT": str(self.port),
            "CLUSTERODM_ADMIN_CLI_PORT": str(free_port()),
            "CLUSTERODM_ADMIN_WEB_PORT": str(free_port()),
            "NODESIM_TASK_TIME_S": "0.5",
        }

    def run(self, *words: str, timeout_s: float = 300) -> str:
        """Run a docker compose command; what it prints."""
        files = [word for file in self._files for word in ("-f", str(REPOSITORY / "deploy" / file))]
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


@contextmanager
def composed(*files: str, build: Sequence[str] = ("proxy",)) -> Iterator[Composition]:
    """Build the images of some services and run everything; skip where there is no Docker engine, but not in CI."""
    if trouble := docker_trouble():
        if os.environ.get("CI"):
            pytest.fail(f"compose tests must run in CI: {trouble}")
        pytest.skip(f"no Docker engine ({trouble}); start one, or set DOCKER_HOST")
    composition = Composition(*files)
    try:
        composition.run("build", "--quiet", *build, timeout_s=500)
        composition.run("up", "--detach", "--no-build")
        yield composition
    finally:
        composition.run("down", "--volumes", "--remove-orphans", "--timeout", "10")


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
