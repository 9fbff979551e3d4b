"""A store is lost: machines that were rented before are used again or destroyed, with real processes and a real nats-server."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from libs.common.messages import LIST_MACHINES, ListMachines
from libs.common.model import Machine, MachineState
from libs.machinesim.cloud_api_testing import CloudApiProcess
from services.autoscaler.adapters.identity_file import IdentityFile
from services.autoscaler.core.identities import Identities, Identity
from tests.cluster import Cluster
from tests.waiting import until

pytestmark = pytest.mark.slow

SIZE = {"maxImages": 40, "slug": "cx21"}
OTHER_SIZE = {"maxImages": 40, "slug": "cx22"}
WARM = [{"machines": 1, "maxImages": 40}]


@pytest.fixture
def cloud() -> Iterator[CloudApiProcess]:
    with CloudApiProcess("hetzner", nodes=True, node={"task_time_s": 0.1}) as api:
        yield api


def write_file(folder: Path, cloud: CloudApiProcess, **keys: Any) -> Path:
    file = folder / "asr.json"
    content = {
        "provider": "hetzner",
        "mode": "api",
        "apiToken": cloud.token,
        "endpoint": cloud.url,
        "location": "fsn1",
        "image": "ubuntu-22.04",
        "s3": {"accessKey": "a", "secretKey": "b", "endpoint": "http://127.0.0.1:1", "bucket": "results"},
        "imageSizeMapping": [SIZE],
        "idleTimeout": 3600,
    }
    file.write_text(json.dumps(content | keys))
    return file


@asynccontextmanager
async def started(folder: Path, cloud: CloudApiProcess, **keys: Any) -> AsyncIterator[Cluster]:
    """A cluster that compares often."""
    often = {"asr_every_s": 0.2, "asr_reconcile_s": 0.5, "asr_poll_s": 0.1, "asr_check_storage": "false"}
    file = write_file(folder, cloud, **keys)
    async with Cluster(folder / "cluster", asr=file, **often) as cluster:
        await until(IdentityFile(cluster.folder / "data").read, timeout_s=20, what="the autoscaler's directory")
        yield cluster


async def machines_of(cluster: Cluster) -> list[Machine]:
    asked = ListMachines(ended=True)
    return [view.machine for view in (await cluster.bus.ask(LIST_MACHINES, asked, timeout_s=15)).machines]


async def online(cluster: Cluster) -> Machine | None:
    found = [each for each in await machines_of(cluster) if each.state is MachineState.ONLINE]
    return found[0] if found and found[0].node else None


async def the_one_machine(cluster: Cluster) -> Machine:
    return await until(lambda: online(cluster), timeout_s=30, what="a machine of the warm pool")


async def lose_the_store(cluster: Cluster) -> None:
    """Everything stops, and NATS begins anew."""
    cluster.kill_all()
    shutil.rmtree(cluster.nats.store / "js")
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
        await lose_the_store(cluster)
        after = await the_one_machine(cluster)
        assert (after.id, after.ref, after.called_at_ms) == (
            before.id,
            before.ref,
            pytest.approx(before.called_at_ms, abs=2_000),
        )
        assert [each["name"] for each in cloud.machines()] == [before.id], "no other was rented"
        assert [node.id for node in await cluster.nodes()] == [after.node]
        assert directory_of(cluster).known == known.known
        assert len(directory_of(cluster).incarnations) == 2


async def test_after_the_loss_of_the_nats_store_a_machine_that_is_of_no_use_is_destroyed(
    tmp_path: Path, cloud: CloudApiProcess
):
    async with started(tmp_path, cloud, warm=WARM) as cluster:
        before = await the_one_machine(cluster)
        write_file(tmp_path, cloud, imageSizeMapping=[OTHER_SIZE])
        await lose_the_store(cluster)
        await until(lambda: not cloud.here(), timeout_s=30, what="the machine to be destroyed")
        await until(lambda: ended(cluster, before), timeout_s=10, what="its record to end")


async def ended(cluster: Cluster, machine: Machine) -> bool:
    return any(each.id == machine.id and each.state.ended for each in await machines_of(cluster))


async def test_the_autoscalers_directory_is_written_anew_when_it_is_lost(tmp_path: Path, cloud: CloudApiProcess):
    async with started(tmp_path, cloud, warm=WARM) as cluster:
        before, known = await the_one_machine(cluster), directory_of(cluster)
        assert cluster.stop("autoscaler") == 0
        shutil.rmtree(cluster.folder / "data" / "autoscaler")
        cluster.start("autoscaler")
        await until(lambda: IdentityFile(cluster.folder / "data").read(), timeout_s=20, what="the directory")
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
        await until(lambda: directory_of(cluster).cluster_ids == ours, timeout_s=20, what="the leader to learn")
        await until(lambda: (second.read() or older).cluster_ids == ours, timeout_s=20, what="the standby to learn")
        await until(lambda: not cloud.here(), timeout_s=20, what="the machine of the older id to be destroyed")
