"""Without a bucket: results can be fetched from the machine for as long as the file says, and go with it then."""

import asyncio
import json
import zipfile
from pathlib import Path

import pytest

from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.machinesim.cloud_api_testing import CloudApiProcess
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.rented import create, finish, machines_of
from tests.waiting import until

pytestmark = [pytest.mark.slow]


async def ended(cluster: Cluster) -> Machine | None:
    return next((each for each in await machines_of(cluster) if each.state.ended), None)


async def test_results_that_only_the_machine_has_can_be_fetched_until_it_goes(tmp_path: Path):
    with CloudApiProcess("docker", nodes=True, node={"task_time_s": 1.0}) as engine:
        content = {
            "provider": "docker",
            "host": engine.url,
            "network": "odm",
            "imageSizeMapping": [{"maxImages": 40, "slug": "any"}],
            "keepResults": 12,
        }
        file = tmp_path / "asr.json"
        file.write_text(json.dumps(content))
        async with Cluster(tmp_path / "cluster", asr=file, asr_every_s=0.2, asr_poll_s=0.2) as cluster:
            said = "results go with their machine, 12 s after its last task"
            await until(lambda: said in cluster.log("autoscaler"), what=said)
            task = await create(cluster, make_images(tmp_path / "images", 3))
            assert await finish(task) == "COMPLETED"
            fetched = await asyncio.to_thread(task.download_zip, str(tmp_path))
            assert await asyncio.to_thread(zipfile.is_zipfile, fetched)
            machine = await until(lambda: ended(cluster), timeout_s=60, what="the machine to go")
            assert machine is not None
            assert (machine.ended_at_ms or 0) - (machine.emptied_at_ms or 0) >= 12_000
            assert engine.here() == []
