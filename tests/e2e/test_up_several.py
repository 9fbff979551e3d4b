"""`clusterodm up` with several of each service, some of which are killed."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pyodm
import pytest

from tests.cluster import answers
from tests.datasets import expected, make_images, processed
from tests.e2e.up import Up
from tests.waiting import until, until_sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TASKS_COUNT = 5


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    flags = ("--demo", "--proxies=2", "--schedulers=2", "--autoscalers=2", "--demo-task-time-s=2")
    with Up(tmp_path / "data", *flags) as several:
        yield several


def proxies(up: Up) -> list[str]:
    """Where each proxy is reached alone."""
    told: list[str] = json.loads((up.data_dir / "cluster.json").read_text())["proxies"]
    return told


def terms(up: Up) -> list[str]:
    """Which scheduler began to lead, one after the other."""
    return re.findall(r"^(scheduler(?:-2)?) +\| .*leadership\.acquired.*lease=scheduler", up.output, re.MULTILINE)


async def test_tasks_survive_the_death_of_a_proxy_and_of_the_leading_scheduler(up: Up, tmp_path: Path):
    assert "2 proxies, 2 schedulers, 2 autoscalers" in up.output
    assert len(proxies(up)) == 2
    node = pyodm.Node("127.0.0.1", up.port)
    images = [make_images(tmp_path / str(place), 4) for place in range(TASKS_COUNT)]

    def create(place: int) -> pyodm.api.Task:
        return node.create_task([str(path) for path in images[place]], name=f"task {place}")

    def finish(place: int, task: pyodm.api.Task) -> None:
        task.wait_for_completion(interval=0.2, retry_timeout=1)
        assert processed(Path(task.download_zip(str(tmp_path / f"result {place}")))) == expected(images[place])

    tasks = [await asyncio.to_thread(create, place) for place in range(TASKS_COUNT - 1)]
    async with asyncio.TaskGroup() as clients:
        for place, task in enumerate(tasks):
            clients.create_task(asyncio.to_thread(finish, place, task))
        proxy = up.service("proxy")
        os.kill(proxy, signal.SIGKILL)
        # until its end the kernel gives it a share of new connections, and resets them
        await until(lambda: not Path(f"/proc/{proxy}").exists(), what="the end of the killed proxy")
        before = await until(lambda: terms(up), what="the line of who leads")
        os.kill(up.service(before[-1]), signal.SIGKILL)
        last = await asyncio.to_thread(create, TASKS_COUNT - 1)
        clients.create_task(asyncio.to_thread(finish, TASKS_COUNT - 1, last))
    # the other scheduler, or the one that was started again; the line passes through `up`
    await until(lambda: len(terms(up)) > len(before), what="somebody else to have taken over")
    until_sync(lambda: all(answers(f"{url}/healthz") for url in proxies(up)), timeout_s=45, what="both proxies")
    assert up.stop() == 0
    assert up.processes() == []


def test_a_single_proxy_goes_on_with_what_the_first_of_two_had(up: Up, tmp_path: Path):
    node = pyodm.Node("127.0.0.1", up.port)
    task = node.create_task([str(path) for path in make_images(tmp_path / "images", 2)])
    assert (up.data_dir / "spool").is_dir()
    assert (up.data_dir / "spool-2").is_dir()
    task.wait_for_completion(interval=0.2)
    up.stop()
    with Up(up.data_dir) as alone:
        assert pyodm.Node("127.0.0.1", alone.port).get_task(task.uuid).info().images_count == 2
