"""A spot instance that Amazon is about to take away: its task begins again on demand while there is still time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.machinesim.cloud_api_ec2 import Ec2Api
from clusterodm.libs.machinesim.cloud_api_machines import Machines
from tests.asr_files import AWS
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.rented import create, finish, machines_of
from tests.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow]
LEFT = {MachineState.DESTROYING, MachineState.GONE}


@contextmanager
def ec2(task_time_s: float) -> Iterator[tuple[Ec2Api, str]]:
    """EC2 with nodes, and an image that it has."""
    with Ec2Api(Machines(nodes={"task_time_s": task_time_s}, boot_s=0.3)) as api:
        client = boto3.session.Session().client(
            "ec2", "us-west-2", endpoint_url=api.url, aws_access_key_id="other", aws_secret_access_key="other"
        )
        yield api, client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]


def content_of(api: Ec2Api, image: str, seaweed: Seaweed) -> dict[str, Any]:
    """The file, by the API."""
    bucket = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, "endpoint": seaweed.endpoint, "bucket": "results"}
    spot = {"maxImages": 40, "slug": "t2.medium", "spotPrice": 0.1, "storage": 60}
    sizes = [{**spot, "spot": False}, spot]
    place = {"mode": "api", "endpoint": api.url, "ami": image, "securityGroup": "default", "imageSizeMapping": sizes}
    return {**AWS, **place, "spot": True, "s3": {**bucket, "acl": "none"}}


async def task_of(cluster: Cluster, task: str) -> Task:
    return (await cluster.bus.request(GET_TASK, TaskRef(task=TaskId(task)))).task


async def told(cluster: Cluster, task: str) -> str:
    """What its console says that the cluster did."""
    return "\n".join(moment.text for moment in (await task_of(cluster, task)).timeline)


async def running(cluster: Cluster) -> Machine | None:
    """The machine with its task on it, which is its last."""
    return next((each for each in await machines_of(cluster) if each.state is MachineState.DRAINING), None)


async def leaves(cluster: Cluster, machine: Machine) -> bool:
    """Whether the notice was seen."""
    return any(each.id == machine.id and each.state in LEFT for each in await machines_of(cluster))


@pytest.mark.parametrize("victim", ["", "autoscaler", "scheduler"], ids=["", "autoscaler killed", "scheduler killed"])
async def test_a_task_on_a_spot_instance_that_is_taken_away_begins_again_on_one_that_stays(
    victim: str, tmp_path: Path, seaweed: Seaweed
):
    with ec2(task_time_s=15.0) as (api, image):
        file = tmp_path / "asr.json"
        file.write_text(json.dumps(content_of(api, image, seaweed)))
        often = {"asr_every_s": 0.2, "asr_reconcile_s": 1, "asr_poll_s": 0.2}
        cluster = Cluster(tmp_path / "cluster", asr=file, **often)
        cluster._settings["public_address"] = cluster.url
        async with cluster:
            task = await create(cluster, make_images(tmp_path / "images", 3))
            first = await until(lambda: running(cluster), timeout_s=60, what="the task to run")
            assert first is not None
            api.interrupted[first.ref.partition("/")[2]] = "marked-for-termination"
            if victim:
                await until(lambda: leaves(cluster, first), what="the notice to be seen")
                cluster.kill(victim)
                cluster.start(victim)
            assert await finish(task) == "COMPLETED"
            before, after = (await task_of(cluster, task.uuid)).attempts
            assert (before.machine, before.outcome) == (first.id, "was lost")
            assert "spot interruption" in before.reason
            assert after.machine not in {None, first.id}
            second = next(each for each in await machines_of(cluster) if each.id == after.machine)
            assert (first.spot, second.spot) == (True, False)
            assert "; on demand, since its machine was taken away" in (await told(cluster, task.uuid))
            await until(lambda: not list(api.machines.here()), timeout_s=30, what="both instances to go")
            assert len(api.machines.book) == 2
            assert "machine.lost" in cluster.log("autoscaler")
