"""deploy/docker-compose.ha.yml: HAProxy, two of each service and three nats-servers, some of which die."""

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyodm
import pytest

from tests.datasets import expected, make_images, processed
from tests.e2e.composition import Composition, composed, demo_node
from tests.polled import Polled, follow
from tests.waiting import until, until_sync

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS_PER_STEP_COUNT = 3
NATS_SERVERS = ("nats", "nats-2", "nats-3")
SEVERAL = {"haproxy", *NATS_SERVERS, "proxy", "proxy-2", "scheduler", "scheduler-2"}
TASK_TIME_S = 2.0
FOLLOWED_S = 10.0
"""For so long after a kill a proxy that did not notice it would tell what is no longer true."""


@pytest.fixture(scope="module")
def composition() -> Iterator[Composition]:
    with composed(
        "docker-compose.ha.yml", "docker-compose.demo.yml", build=("proxy", "haproxy"), task_time_s=TASK_TIME_S
    ) as composition:
        yield composition


@pytest.fixture
def node(composition: Composition) -> pyodm.Node:
    composition.run("start", *sorted(SEVERAL))  # what the test before has killed
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


async def test_no_poll_goes_back_when_a_nats_server_dies_before_the_commit(
    composition: Composition, node: pyodm.Node, tmp_path: Path
):
    server, images, polled = random.choice(NATS_SERVERS), make_images(tmp_path / "images", 2), Polled()
    url = f"http://127.0.0.1:{composition.port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        task = await uploaded(http, images)
        await asyncio.to_thread(composition.run, "kill", server)
        await until(lambda: committed(http, task), timeout_s=60, what="the commit")
    async with asyncio.TaskGroup() as clients:
        clients.create_task(asyncio.to_thread(downloaded, node.get_task(task), tmp_path / "results"))
        clients.create_task(follow([composition.port], task, polled, FOLLOWED_S, random.Random()))
    went_back = polled.went_back()
    print(f"{server}: {len(polled.codes)} polls, {polled.dropped_count} dropped, {len(went_back)} went back")  # noqa: T201 what it did
    assert went_back == []
    assert list((tmp_path / "results").iterdir()), "PyODM has downloaded it at once"


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


async def uploaded(http: httpx.AsyncClient, images: list[Path]) -> str:
    """Send a dataset without its commit."""
    task = str((await http.post("/task/new/init", data={"name": "polled"})).json()["uuid"])
    for path in images:
        files = {"images": (path.name, path.read_bytes())}
        assert (await http.post(f"/task/new/upload/{task}", files=files)).json() == {"success": True}
    return task


async def committed(http: httpx.AsyncClient, task: str) -> bool:
    """Commit it; False while nobody can take it."""
    try:
        return (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
    except (httpx.TransportError, ValueError):  # HAProxy closes where it would have to say 503
        return False


def downloaded(task: pyodm.api.Task, folder: Path) -> None:
    """Wait for a task as PyODM does, and download it."""
    task.wait_for_completion(interval=0.3, retry_timeout=1)
    task.download_assets(str(folder))
