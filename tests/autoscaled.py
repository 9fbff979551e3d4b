"""A whole cluster of real processes whose machines come from docker-machine: its stand-in, or the real one before stand-ins of clouds.

The real one runs where DOCKER_MACHINE names it (tests/real_docker_machine.py).
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.machinesim.testing import DockerMachineSim
from tests.asr_files import FILES
from tests.cluster import Cluster
from tests.real_docker_machine import RealDockerMachine, real_docker_machine
from tests.rented import machines_of
from tests.seaweed import Seaweed


def content_of(provider: str, seaweed: Seaweed) -> dict[str, Any]:
    """The original's file, with the bucket that is there."""
    content = FILES[provider]
    keys = {"accessKey": "S3ACCESSKEY", "secretKey": "s3-secret-key"}
    return content | {"s3": content["s3"] | keys | {"endpoint": seaweed.endpoint}}


PROGRAMS = ("stand-in", "real")
Program = DockerMachineSim | RealDockerMachine


@asynccontextmanager
async def autoscaled(
    folder: Path, content: dict[str, Any], program: str = "stand-in"
) -> AsyncIterator[tuple[Cluster, Program]]:
    """A cluster without any node of its own, and docker-machine; beside the real one the cloud's API is asked, as by default."""
    async with AsyncExitStack() as stack:
        machines: Program
        if program == "real":
            machines = await stack.enter_async_context(
                real_docker_machine(content["provider"], key_of(content), folder / "dm")
            )
        else:
            machines = stack.enter_context(DockerMachineSim(folder / "dm", network=10 + os.getpid() % 200))
        crossed = isinstance(machines, RealDockerMachine)
        place = {"endpoint": machines.endpoint} if isinstance(machines, RealDockerMachine) else {}
        file = folder / "asr.json"
        file.write_text(json.dumps({**content, **place}))
        machines.order(node={"task_time_s": 2.0})
        often = {"asr_every_s": 0.2, "asr_reconcile_s": 1, "asr_cross_check": str(crossed).lower()}
        cluster = Cluster(folder / "cluster", asr=file, **often)
        cluster._settings["public_address"] = cluster.url
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in machines.environment.items():
            patch.setenv(name, value)
        yield await stack.enter_async_context(cluster), machines


def key_of(content: dict[str, Any]) -> str:
    """The key with which a file's cloud is called."""
    return next((content[name] for name in ("accessToken", "apiToken", "secretToken") if name in content), "")


async def settled(cluster: Cluster, machines: Program) -> bool:
    """Whether all has gone that there was; not as long as nobody tells, since an autoscaler starts."""
    try:
        known = await machines_of(cluster)
    except BusFailed:
        return False
    return bool(known) and all(machine.state.ended for machine in known) and not machines.rented()
