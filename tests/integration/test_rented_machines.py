"""A task that no node can take, with every kind of provider: what is left of its machine, and what is told of it.

its result      lies in the bucket, and clients are sent there
its console     is served whole, although it was longer than what a task's record holds
its secrets     are in no log, no event, no value that lies in NATS, no command line
"""

import asyncio
from pathlib import Path

import httpx
import pyodm
import pytest

from clusterodm.libs.common.messages.machines import VIEW_COMMAND, ViewCommand
from clusterodm.services.scheduler.tasks.core.observation import TAIL_COUNT
from tests.cluster import Cluster
from tests.datasets import expected, make_images, processed
from tests.rented import KINDS, Rental, all_gone, create, finish, machines_of, rental, renting
from tests.seaweed import Seaweed
from tests.told import command_lines, everything_in_nats, logs, secrets_of_machines
from tests.waiting import until

pytestmark = pytest.mark.slow

IMAGES_COUNT = 30
"""So many stages make more lines than a record holds."""


@pytest.mark.parametrize("kind", KINDS)
async def test_of_a_machine_only_result_and_console_are_left(kind: str, tmp_path: Path, seaweed: Seaweed):
    images = make_images(tmp_path / "images", IMAGES_COUNT, size_bytes=2000)
    with rental(kind, tmp_path, seaweed) as machines, command_lines() as lines:
        async with renting(tmp_path, machines) as cluster:
            shown = (await cluster.bus.request(VIEW_COMMAND, ViewCommand(images_count=3), timeout_s=30)).command
            task = await create(cluster, images)
            assert await finish(task) == "COMPLETED"
            await until(lambda: all_gone(cluster, machines), timeout_s=40, step_s=0.2, what="the machine to go")
            await the_result_is_in_the_bucket(cluster, task, images, tmp_path)
            await the_whole_console_is_served(cluster, task, tmp_path)
            await no_secret_is_told(cluster, machines, shown, lines)


async def the_result_is_in_the_bucket(cluster: Cluster, task: pyodm.api.Task, images: list[Path], folder: Path) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.get(f"{cluster.url}/task/{task.uuid}/download/all.zip")
    assert (answer.status_code, f"/results/{task.uuid}/all.zip?" in answer.headers["location"]) == (302, True)
    zipped = await asyncio.to_thread(task.download_zip, str(folder))
    assert processed(Path(zipped)) == expected(images)


async def the_whole_console_is_served(cluster: Cluster, task: pyodm.api.Task, folder: Path) -> None:
    """What the node has written into its result is what is served, behind the cluster's own lines."""
    extracted = await asyncio.to_thread(task.download_assets, str(folder / "assets"))
    written = lines_of((Path(extracted) / "task_output.txt").read_text())
    assert len(written) > TAIL_COUNT
    served = lines_of("\n".join(await asyncio.to_thread(task.output, 0)))
    begun = served.index(written[0])
    assert served[begun : begun + len(written)] == written
    assert cluster.log("scheduler").count("console.kept") == 1


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


async def no_secret_is_told(cluster: Cluster, machines: Rental, shown: str, lines: set[str]) -> None:
    names = [str(machine.id) for machine in await machines_of(cluster)]
    told = {
        "log": logs(cluster),
        "nats": await everything_in_nats(cluster),
        "command line": "\n".join(lines),
        "shown command": shown,
        "list": repr(await machines_of(cluster)),
    }
    secrets = [*machines.secrets, *await secrets_of_machines(cluster, names), "X-Amz-Signature="]
    assert all(names[0] in told[place] for place in ("log", "nats", "list"))
    assert "clusterodm.deploy.cli autoscaler" in told["command line"]
    assert [(place, secret) for place, text in told.items() for secret in secrets if secret in text] == []


async def test_tasks_share_a_machine_whose_size_says_so(tmp_path: Path, seaweed: Seaweed):
    with rental("hetzner", tmp_path, seaweed) as machines:
        (size,) = machines.content["imageSizeMapping"]
        machines.content |= {"imageSizeMapping": [{**size, "tasksPerMachine": 2}], "targetWait": 60}
        async with renting(tmp_path, machines) as cluster:
            tasks = [await create(cluster, make_images(tmp_path / f"images {number}", 3)) for number in range(2)]
            together = await until(lambda: shared(cluster), timeout_s=60, what="both tasks to run on one machine")
            assert sorted(together) == sorted(task.uuid for task in tasks)
            assert [await finish(task) for task in tasks] == ["COMPLETED", "COMPLETED"]
            await until(lambda: all_gone(cluster, machines), timeout_s=60, step_s=0.2, what="the machine to go")
        assert len(machines.made()) == 1


async def shared(cluster: Cluster) -> tuple[str, ...]:
    """The tasks of a machine that has two."""
    return next((each.tasks for each in await machines_of(cluster) if len(each.tasks) > 1), ())
