"""A whole cluster with an autoscaler: a task that no node can take gets a machine, runs there, and the machine goes."""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from clusterodm.libs.common.messages.machines import VIEW_COMMAND, ViewCommand
from tests.asr_files import FILES, SECRETS
from tests.autoscaled import PROGRAMS, autoscaled, content_of, settled
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.rented import create, finish, machines_of
from tests.seaweed import Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow]


STEP_S = {"stand-in": 30, "real": 120}
"""How long a step may take: the real program waits as it does for a cloud."""


def command_lines() -> str:
    """The command lines of all processes that this test has started, and of theirs; not of those on machines."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    lines = []
    for pid in ours - {os.getpid()}:
        with suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(
        line for line in lines if "clusterodm.libs.machinesim.docker run" not in line and "machine-bin" not in line
    )


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("provider", FILES)
async def test_a_file_of_the_original_brings_a_task_to_its_end(
    provider: str, program: str, tmp_path: Path, seaweed: Seaweed
):
    async with autoscaled(tmp_path, content_of(provider, seaweed), program) as (cluster, machines):
        machines.order(create_s=0.5, ssh_s=0.5)
        shown = (await cluster.bus.request(VIEW_COMMAND, ViewCommand(images_count=3), timeout_s=30)).command
        assert "Can write to S3" in cluster.log("autoscaler")
        task = await create(cluster, make_images(tmp_path / "images", 3))
        seen = ""
        while not await auto_spawned(cluster):
            seen += command_lines()
            await asyncio.sleep(0.05)
        assert await finish(task) == "COMPLETED"
        await until(lambda: settled(cluster, machines), timeout_s=45, what="the machine to go")
        assert machines.listed() == []
        assert len(machines.calls("create")) == 1
        await until(lambda: no_nodes(cluster), what="its node to go")
        keys = [
            each["Key"] for each in seaweed.client().list_objects_v2(Bucket="results", Prefix=task.uuid)["Contents"]
        ]
        assert f"{task.uuid}/all.zip" in keys
        logs = "".join(cluster.log(service) for service in ("autoscaler", "scheduler", "proxy", "admin"))
        told = shown + logs + seen + json.dumps(machines.calls()) + repr(await machines_of(cluster))
        assert f"{machines.program} create" in seen
        assert f"{machines.program} ssh" in seen
        assert [secret for secret in SECRETS[provider] if secret in told] == []


async def auto_spawned(cluster: Cluster) -> bool:
    return any(view.auto_spawned for view in await cluster.nodes())


async def no_nodes(cluster: Cluster) -> bool:
    return not await cluster.nodes()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("at", ["creating", "setting-up", "online", "busy", "draining", "destroying"])
async def test_killed_at_a_step_the_next_autoscaler_goes_on(at: str, program: str, tmp_path: Path, seaweed: Seaweed):
    async with autoscaled(tmp_path, content_of("digitalocean", seaweed), program) as (cluster, machines):
        machines.order(create_s=1, ssh_s=0.5, rm_s=0.5)
        task = await create(cluster, make_images(tmp_path / "images", 3))

        async def reached() -> bool:
            return any(at in moment.text for machine in await machines_of(cluster) for moment in machine.timeline)

        await until(reached, timeout_s=STEP_S[program], what=at)
        cluster.kill("autoscaler")
        await asyncio.sleep(0)
        cluster.start("autoscaler")
        assert await finish(task) == "COMPLETED"
        await until(lambda: settled(cluster, machines), timeout_s=40, what="the machine to go")
        assert len(machines.calls("create")) == 1
        assert machines.listed() == []
