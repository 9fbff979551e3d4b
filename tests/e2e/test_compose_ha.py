"""deploy/docker-compose.ha.yml: HAProxy, two of each service and three nats-servers, some of which die."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pyodm
import pytest

from tests.datasets import expected, make_images, processed
from tests.e2e.composition import Composition, composed, demo_node
from tests.waiting import until_sync

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS_PER_STEP_COUNT = 3
SEVERAL = {"haproxy", "nats", "nats-2", "nats-3", "proxy", "proxy-2", "scheduler", "scheduler-2"}


@pytest.fixture(scope="module")
def composition() -> Iterator[Composition]:
    with composed("docker-compose.ha.yml", "docker-compose.demo.yml", build=("proxy", "haproxy")) as composition:
        yield composition


@pytest.fixture(scope="module")
def node(composition: Composition) -> pyodm.Node:
    until_sync(lambda: all_well(composition), timeout_s=90, step_s=1, what="every service to be healthy")
    return demo_node(composition)


def all_well(composition: Composition) -> bool:
    """Whether every service that has a health check passes it."""
    health = composition.health()
    return health.keys() >= SEVERAL and {state for state in health.values() if state} == {"healthy"}


def leading(composition: Composition) -> str:
    """Which scheduler began to lead last."""
    terms = [
        (line, name)
        for name in ("scheduler", "scheduler-2")
        for line in composition.run("logs", "--no-color", "--timestamps", "--no-log-prefix", name).splitlines()
        if "leadership.acquired" in line
    ]
    assert terms, "a scheduler leads"
    return max(terms)[1]


async def test_tasks_end_well_whatever_dies_in_between(composition: Composition, node: pyodm.Node, tmp_path: Path):
    killed: list[str] = []

    def kill(*services: str) -> Callable[[], None]:
        def act() -> None:
            killed.extend(services)
            composition.run("kill", *services)

        return act

    def kill_leader() -> None:
        kill(leading(composition))()

    def crash_proxy() -> None:
        kill("proxy")()
        composition.run("start", "proxy")  # as its restart policy does after a crash; it alone has what it received

    steps = {"a nats-server": kill("nats-2"), "the leading scheduler": kill_leader, "a proxy": crash_proxy}
    sent: list[tuple[pyodm.api.Task, Path]] = []
    async with asyncio.TaskGroup() as clients:
        for number, act in enumerate(steps.values()):
            for place in range(TASKS_PER_STEP_COUNT):
                folder = tmp_path / f"{number}-{place}"
                task = await asyncio.to_thread(create, node, folder)
                sent.append((task, folder))
                clients.create_task(asyncio.to_thread(task.wait_for_completion, interval=0.3, retry_timeout=1))
            await asyncio.to_thread(act)
    print(f"killed under load: {', '.join(killed)}")  # noqa: T201 what it did
    assert len(set(killed)) == len(steps)
    for task, folder in sent:
        result = await asyncio.to_thread(task.download_zip, str(folder))
        assert processed(Path(result)) == expected(sorted((folder / "images").iterdir()))


def create(node: pyodm.Node, folder: Path) -> pyodm.api.Task:
    """Send a dataset."""
    return node.create_task([str(path) for path in make_images(folder / "images", 4)], name=folder.name)
