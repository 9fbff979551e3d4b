"""A store is lost: machines that were rented before are used again or destroyed, with real processes and a real nats-server."""

import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pyodm
import pytest

from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.machinesim.cloud_api_testing import CloudApiProcess
from clusterodm.services.autoscaler.identity.adapters import IdentityFile
from clusterodm.services.autoscaler.identity.core import Identities, Identity
from tests import machine_programs
from tests.asr_files import simulated_hetzner
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.recorded import recorded_task
from tests.rented import create, finish, machines_of
from tests.waiting import until

pytestmark = pytest.mark.slow

SIZE = {"maxImages": 40, "slug": "cx21"}
OTHER_SIZE = {"maxImages": 40, "slug": "cx22"}
LONG_TASK_S = 20.0
"""Until everything has been started again, the task runs."""
OFTEN: dict[str, Any] = {"asr_every_s": 0.2, "asr_reconcile_s": 0.5, "asr_poll_s": 0.1, "asr_check_storage": "false"}
WARM = [{"machines": 1, "maxImages": 40}]


@pytest.fixture
def cloud() -> Iterator[CloudApiProcess]:
    with CloudApiProcess("hetzner", nodes=True, node={"task_time_s": 0.1}) as api:
        yield api


def write_file(folder: Path, cloud: CloudApiProcess, **keys: Any) -> Path:
    file = folder / "asr.json"
    usual = {"imageSizeMapping": [SIZE], "idleTimeout": 3600}
    file.write_text(json.dumps(simulated_hetzner(cloud.token, cloud.url, **usual | keys)))
    return file


@asynccontextmanager
async def started(
    folder: Path, cloud: CloudApiProcess, node_grace_s: float = 120, **keys: Any
) -> AsyncIterator[Cluster]:
    """A cluster that compares often."""
    file = write_file(folder, cloud, **keys)
    async with Cluster(folder / "cluster", asr=file, **OFTEN, node_grace_s=node_grace_s) as cluster:
        await until(IdentityFile(cluster.folder / "data").read, timeout_s=45, what="the autoscaler's directory")
        yield cluster


async def online(cluster: Cluster) -> Machine | None:
    found = [each for each in await machines_of(cluster) if each.state is MachineState.ONLINE]
    return found[0] if found and found[0].node else None


async def the_one_machine(cluster: Cluster) -> Machine:
    return await until(lambda: online(cluster), timeout_s=30, what="a machine of the warm pool")


async def lose_the_store(cluster: Cluster, *more: Path) -> None:
    """Everything stops, and NATS begins anew; `more`: directories that are lost, too."""
    cluster.kill_all()
    for lost in (cluster.nats.store / "js", *more):
        shutil.rmtree(lost)
    cluster.nats.start()
    cluster.start_all()
    await cluster.ready()


def directory_of(cluster: Cluster) -> Identities:
    found = IdentityFile(cluster.folder / "data").read()
    assert found is not None
    return found


async def test_after_the_loss_of_the_nats_store_a_machine_is_used_again(tmp_path: Path, cloud: CloudApiProcess):
    async with started(tmp_path, cloud, warm=WARM) as cluster:
        before, known = await the_one_machine(cluster), directory_of(cluster)
        lost_ms = time.time_ns() // 1_000_000
        await lose_the_store(cluster)
        after = await the_one_machine(cluster)
        assert (after.id, after.ref) == (before.id, before.ref)
        assert after.called_at_ms == pytest.approx(before.called_at_ms, abs=10_000), "as the cloud tells it"
        assert after.called_at_ms < lost_ms
        assert [each["name"] for each in cloud.machines()] == [before.id], "no other was rented"
        assert [node.id for node in await cluster.nodes()] == [after.node]
        assert directory_of(cluster).known == known.known
        assert len(directory_of(cluster).incarnations) == 2


async def test_after_the_loss_of_the_nats_store_a_machine_is_used_again_though_its_size_is_in_the_file_no_more(
    tmp_path: Path, cloud: CloudApiProcess
):
    async with started(tmp_path, cloud, warm=WARM) as cluster:
        before = await the_one_machine(cluster)
        write_file(tmp_path, cloud, warm=WARM, imageSizeMapping=[OTHER_SIZE])
        await lose_the_store(cluster)
        after = await the_one_machine(cluster)
        assert (after.id, after.max_images) == (before.id, 40)
        assert [each["name"] for each in cloud.machines()] == [before.id], "no other was rented"


@contextmanager
def programs(folder: Path) -> Iterator[dict[str, Any]]:
    """Keys of a file with three programs of an operator's own; their list tells neither sizes nor ages, and there is no bucket."""
    place = folder / "programs"
    place.mkdir()
    words = {
        verb: [sys.executable, "-m", "tests.machine_programs", str(place), verb]
        for verb in ("create", "list", "destroy")
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NODE_SETTINGS", json.dumps({"task_time_s": LONG_TASK_S}))
            patch.setenv("PYTHONPATH", str(machine_programs.REPOSITORY))
            yield {"provider": "command", **words, "imageSizeMapping": [{"maxImages": 40, "slug": "any"}]}
    finally:
        for file in place.glob("*.json"):
            machine_programs.end(file)


async def running(cluster: Cluster, task: pyodm.api.Task) -> str:
    """Give the machine on which a task runs, and is not still being sent to; empty: on none."""
    record = await recorded_task(cluster.bus, TaskId(task.uuid))
    found = [each.id for each in await machines_of(cluster) if task.uuid in each.tasks]
    return found[0] if found and record and record.state is TaskState.RUNNING else ""


async def test_after_the_loss_of_the_nats_store_a_task_goes_on_where_it_ran_though_the_list_tells_no_size(
    tmp_path: Path,
):
    with programs(tmp_path) as keys:
        file = tmp_path / "asr.json"
        file.write_text(json.dumps({**keys, "keepResults": 60, "maxTasksPerMachine": 0}))
        async with Cluster(tmp_path / "cluster", asr=file, **OFTEN) as cluster:
            task = await create(cluster, make_images(tmp_path / "images", 3))
            before = await until(lambda: running(cluster, task), timeout_s=30, what="the task to run")
            await lose_the_store(cluster)
            assert await until(lambda: running(cluster, task), timeout_s=30, what="the task to run again") == before
            assert await finish(task) == "COMPLETED"
            (machine,) = await machines_of(cluster)
            assert (machine.id, machine.size, machine.max_images) == (before, "", 40)
            assert (tmp_path / "programs" / "made").read_text().split() == [before], (
                "nothing was destroyed, or rented anew"
            )


async def test_after_the_loss_of_store_and_directory_a_task_waits_for_no_young_machine_whose_key_is_lost(
    tmp_path: Path,
):
    with CloudApiProcess("hetzner", nodes=True, node={"task_time_s": LONG_TASK_S}) as cloud:
        async with started(tmp_path, cloud, node_grace_s=5) as cluster:
            task = await create(cluster, make_images(tmp_path / "images", 3))
            before = await until(lambda: running(cluster, task), timeout_s=30, what="the task to run")
            await lose_the_store(cluster, cluster.folder / "data" / "autoscaler")
            after = await until(lambda: running(cluster, task), timeout_s=60, what="the task to run elsewhere")
            assert sorted(cloud.here()) == sorted([before, after]), (
                "it may be at work for others, as far as anybody knows"
            )
            left = next(each for each in await machines_of(cluster) if each.id == before)
            assert (left.state, left.silent, left.failure) == (MachineState.SETTING_UP, True, "")


async def test_the_autoscalers_directory_is_written_anew_when_it_is_lost(tmp_path: Path, cloud: CloudApiProcess):
    async with started(tmp_path, cloud, warm=WARM) as cluster:
        before, known = await the_one_machine(cluster), directory_of(cluster)
        assert cluster.stop("autoscaler") == 0
        shutil.rmtree(cluster.folder / "data" / "autoscaler")
        cluster.start("autoscaler")
        await until(lambda: IdentityFile(cluster.folder / "data").read(), timeout_s=45, what="the directory")
        assert directory_of(cluster) == known
        assert (await the_one_machine(cluster)).id == before.id
        assert cloud.here() == [before.id]


async def test_a_standbys_directory_learns_what_the_leaders_knows(tmp_path: Path, cloud: CloudApiProcess):
    older = Identities(known=(Identity(cluster_id="older1", key="k"),))
    async with started(tmp_path, cloud) as cluster:
        known = directory_of(cluster)
        cluster.overrides["autoscaler#2"] = {"CLUSTERODM_DATA_DIR": str(tmp_path / "second")}
        second = IdentityFile(tmp_path / "second")
        second.write(older)
        cloud.rent("clusterodm-older1-40-left")
        cluster.start("autoscaler#2")
        ours = (known.current.cluster_id, "older1")
        await until(lambda: directory_of(cluster).cluster_ids == ours, timeout_s=45, what="the leader to learn")
        await until(lambda: (second.read() or older).cluster_ids == ours, timeout_s=45, what="the standby to learn")
        machine = await until(
            lambda: online(cluster), timeout_s=20, what="the machine of the older id to be used again"
        )
        assert machine.id == "clusterodm-older1-40-left"
