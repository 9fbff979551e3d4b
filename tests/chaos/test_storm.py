"""60 tasks in flight while everything around them is killed, frozen and cut off: nothing is lost, nothing is doubled."""

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.model.tasks import Cleanup, Task, TaskState
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset, Raw, run_pyodm
from tests.chaos.node_logs import files_received, overlaps, runs_by_task, runs_of
from tests.chaos.saying import say
from tests.chaos.storm import GRACE_S, Storm, Town, spooled, town
from tests.cluster import SERVICES
from tests.datasets import make_images, processed
from tests.recorded import recorded_tasks
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TASKS_COUNT = 60
NODES_COUNT = 5
STORM_S = 18.0
"""Twice: before and after everything is killed at once. PyODM asks six times over 75 s and then gives up: the storm is shorter, so
whoever gave up has met a cluster that did not come back."""
LONGEST_S = 170.0
ARRIVALS_S = 36.0
"""Clients come one after the other over so long."""


async def test_sixty_tasks_survive_a_storm_and_each_is_done_once(tmp_path: Path, chance: random.Random):
    datasets = [
        Dataset(make_images(tmp_path / f"set{number}", chance.randint(1, 5), size_bytes=40_000, seed=number))
        for number in range(TASKS_COUNT)
    ]
    services = (*SERVICES, "scheduler#2") if chance.random() < 0.5 else SERVICES
    say(f"services: {', '.join(services)}")
    async with town(tmp_path, NODES_COUNT, services, task_time_s=2.5, parallel_tasks=2) as place:
        storm = Storm(place, chance)
        async with asyncio.timeout(LONGEST_S), asyncio.TaskGroup() as group:
            group.create_task(all_clients(place, datasets), name="clients")
            await storm.blow(STORM_S)
            await storm.all_at_once(nodes=chance.random() < 0.5)
            await storm.blow(STORM_S)
            storm.say("the storm is over")
        storm.say("all clients are content")
        await check(place, datasets)
        say_figures(storm, place, datasets)


async def all_clients(place: Town, datasets: list[Dataset]) -> None:
    """Half of them PyODM in threads, half of them raw."""
    loop, stopped, raw = asyncio.get_running_loop(), threading.Event(), Raw(place.cluster.url)

    async def one(number: int, data: Dataset) -> None:
        await asyncio.sleep(number * ARRIVALS_S / TASKS_COUNT)
        if number % 2:
            await raw.run(data)
        else:
            await loop.run_in_executor(threads, run_pyodm, place.cluster.port, data, stopped)

    with ThreadPoolExecutor(TASKS_COUNT) as threads:
        try:
            async with asyncio.TaskGroup() as group:
                for number, data in enumerate(datasets):
                    group.create_task(one(number, data), name=f"client {number}")
        finally:
            stopped.set()


async def check(place: Town, datasets: list[Dataset]) -> None:
    """Everything that was promised."""
    assert [data.task for data in datasets if not (data.committed and data.completed)] == []
    assert {data.task: data.lies for data in datasets if data.lies} == {}
    tasks = await settled_tasks(place)
    assert set(tasks) == {data.task for data in datasets}
    check_runs(place, tasks)
    for data in datasets:
        check_files(place, tasks[data.task], data)
    await check_results(place, tasks, datasets)
    await nothing_is_left(place)


async def settled_tasks(place: Town) -> dict[str, Task]:
    """All records, once every node has been told what it had to be told."""

    async def settled() -> dict[str, Task] | None:
        tasks = await recorded_tasks(place.cluster.bus)
        waits = any(attempt.cleanup is not Cleanup.NONE for task in tasks.values() for attempt in task.attempts)
        return None if waits else tasks

    tasks = await until(settled, timeout_s=30, step_s=0.3, what="all nodes to be told of what was given up")
    assert {key: str(task.state) for key, task in tasks.items() if task.state is not TaskState.COMPLETED} == {}
    return tasks


def check_runs(place: Town, tasks: dict[str, Task]) -> None:
    """No task was on two nodes at the same time, as the nodes tell it."""
    runs = [run for node in place.nodes for run in runs_of(node, place.outages)]
    for task, of_task in runs_by_task(runs, tasks.values()).items():
        assert overlaps(of_task, place.outages, GRACE_S) == [], (task, tasks.get(task), of_task)


def check_files(place: Town, task: Task, data: Dataset) -> None:
    """The node that completed a task got each of its files exactly once."""
    received = files_received(node_of(place, task), task.attempts[-1].node_task_id)
    assert received == Counter((name, digest, True) for name, digest in data.digests.items()), task.id


def node_of(place: Town, task: Task) -> NodeSimProcess:
    """Find the node behind the relay that a task's last attempt went to."""
    ports = {relay.port: node for relay, node in zip(place.to_nodes, place.nodes, strict=True)}
    return ports[int(task.attempts[-1].node.rpartition("-")[2])]


async def check_results(place: Town, tasks: dict[str, Task], datasets: list[Dataset]) -> None:
    """Every result that its node still has is the result of these files."""
    async with httpx.AsyncClient(base_url=place.cluster.url, trust_env=False, timeout=30) as http:
        for data in datasets:
            task = tasks[data.task]
            node = node_of(place, task)
            if any(out.killed and out.node == node.port and out.ended_ms > ended_ms(task) for out in place.outages):
                continue
            answer = await http.get(f"/task/{task.id}/download/all.zip")
            assert answer.status_code == 200, (task, answer.text[:200])
            path = place.cluster.folder / f"{task.id}.zip"
            path.write_bytes(answer.content)
            assert processed(path) == data.digests


def ended_ms(task: Task) -> int:
    """When the scheduler saw its end, less what it may have taken to see it."""
    return (task.ended_at_ms or 0) - 10_000


async def nothing_is_left(place: Town) -> None:
    """No directory or temporary file in the spool, no notice about an upload."""
    uploads = await place.cluster.bus.bucket(UPLOADS)
    await until(lambda: spooled(place.cluster) == [], timeout_s=30, what="the spool to be empty")

    async def none() -> bool:
        return not await uploads.load()

    await until(none, timeout_s=30, what="all notices to be taken down")


def say_figures(storm: Storm, place: Town, datasets: list[Dataset]) -> None:
    """Print what it was like."""
    runs = [run for node in place.nodes for run in runs_of(node, place.outages)]
    say(
        f"{storm.count} incidents, {len(runs)} runs of {len(datasets)} tasks,"
        f" {sum(data.broken_count for data in datasets)} broken connections,"
        f" {sum(data.refused_count for data in datasets)} refusals"
    )
