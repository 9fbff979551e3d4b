"""A whole cluster of real processes whose machines come from docker-machine's stand-in."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.machinesim.testing import DockerMachineSim
from tests.asr_files import FILES
from tests.cluster import Cluster
from tests.rented import machines_of
from tests.seaweed import Seaweed


def content_of(provider: str, seaweed: Seaweed) -> dict[str, Any]:
    """The original's file, with the bucket that is there."""
    content = FILES[provider]
    keys = {"accessKey": "S3ACCESSKEY", "secretKey": "s3-secret-key"}
    return content | {"s3": content["s3"] | keys | {"endpoint": seaweed.endpoint}}


@asynccontextmanager
async def autoscaled(folder: Path, content: dict[str, Any]) -> AsyncIterator[tuple[Cluster, DockerMachineSim]]:
    """A cluster without any node of its own, and docker-machine."""
    file = folder / "asr.json"
    file.write_text(json.dumps(content))
    with DockerMachineSim(folder / "dm", network=10 + os.getpid() % 200) as machines:
        machines.order(node={"task_time_s": 2.0})
        cluster = Cluster(folder / "cluster", asr=file, asr_every_s=0.2, asr_reconcile_s=1, asr_cross_check="false")
        cluster._settings["public_address"] = cluster.url
        with pytest.MonkeyPatch.context() as patch:
            for name, value in machines.environment.items():
                patch.setenv(name, value)
            async with cluster:
                yield cluster, machines


async def settled(cluster: Cluster, machines: DockerMachineSim) -> bool:
    known = await machines_of(cluster)
    return bool(known) and all(machine.state.ended for machine in known) and not machines.rented()
