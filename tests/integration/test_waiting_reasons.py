"""A task that the autoscaler cannot or may not serve now says so to its user."""

import asyncio
from pathlib import Path

import pyodm
import pytest

from clusterodm.libs.common.messages.machines import (
    PAUSE_AUTOSCALER,
    RESUME_AUTOSCALER,
    PauseAutoscaler,
    ResumeAutoscaler,
)
from clusterodm.libs.common.messages.tasks import LIST_TASKS, ListTasks
from tests.autoscaled import autoscaled, content_of
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.rented import create, finish, machines_of
from tests.seaweed import Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow]


async def console_says(task: pyodm.api.Task, words: str) -> str:
    """Wait for a line of the console, as a client reads it; the line."""

    async def found() -> str:
        lines = await asyncio.to_thread(task.output)
        return next((line for line in lines if words in line), "")

    return str(await until(found, timeout_s=30, what=words))


async def reason_of(cluster: Cluster, task: pyodm.api.Task) -> str:
    """What operators see."""
    return next(
        each.reason for each in (await cluster.bus.request(LIST_TASKS, ListTasks())).tasks if each.id == task.uuid
    )


async def test_a_task_over_budget_waits_and_says_so(tmp_path: Path, seaweed: Seaweed):
    content = content_of("digitalocean", seaweed) | {"maxHourlyCost": 0.5}
    content["imageSizeMapping"] = [{"maxImages": 40, "slug": "s-2vcpu-2gb", "pricePerHour": 0.75}]
    async with autoscaled(tmp_path, content) as (cluster, machines):
        task = await create(cluster, make_images(tmp_path / "images", 3))
        over = "over budget: a machine costs 0.75 per hour, the limit is 0.5"
        line = await console_says(task, over)
        assert line.startswith("Waiting for a node: no node is registered; no machine is started: ")
        info = await asyncio.to_thread(task.info, with_output=0)
        assert info.status.name == "QUEUED"
        assert any(over in each for each in info.output)
        assert over in await reason_of(cluster, task)
        assert machines.calls("create") == []


async def test_a_task_beyond_the_limit_of_machines_says_so_and_gets_its_turn(tmp_path: Path, seaweed: Seaweed):
    content = content_of("hetzner", seaweed) | {"machinesLimit": 1}
    async with autoscaled(tmp_path, content) as (cluster, machines):
        machines.order(create_s=8.0)
        images = make_images(tmp_path / "images", 3)
        first = await create(cluster, images)
        line = await console_says(first, "Machine ")
        second = await create(cluster, images)
        await console_says(second, "no machine is started: the limit of 1 machine is reached")
        own = next(machine for machine in await machines_of(cluster) if machine.for_task == first.uuid)
        assert line.startswith(f"Machine {own.id} (")
        assert ") is ordered: a task of 3 images waits" in line
        assert [await finish(task) for task in (first, second)] == ["COMPLETED", "COMPLETED"]


async def test_a_task_says_that_the_autoscaler_is_paused_and_goes_on_when_it_is_not(tmp_path: Path, seaweed: Seaweed):
    async with autoscaled(tmp_path, content_of("scaleway", seaweed)) as (cluster, _):
        await cluster.bus.request(PAUSE_AUTOSCALER, PauseAutoscaler(reason="maintenance"), timeout_s=30)
        task = await create(cluster, make_images(tmp_path / "images", 3))
        await console_says(task, "no machine is started: the autoscaler is paused: maintenance")
        await cluster.bus.request(RESUME_AUTOSCALER, ResumeAutoscaler())
        assert await finish(task) == "COMPLETED"


async def test_a_task_shows_what_the_provider_says_when_it_has_no_room(tmp_path: Path, seaweed: Seaweed):
    async with autoscaled(tmp_path, content_of("scaleway", seaweed)) as (cluster, machines):
        for _ in range(20):
            machines.fail("create", "GP1-XS is out of stock in this zone")
        task = await create(cluster, make_images(tmp_path / "images", 3))
        line = await console_says(task, "no machine is started: ")
        assert "out of stock" in line
