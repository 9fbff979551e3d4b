"""Several autoscalers over a real nats-server: one acts and answers, whatever the others are; and what happens when it goes.

Who has answered is told by the limit in its file, which is another for each.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound, ProviderFailed, Refused
from clusterodm.libs.common.messages.machines import FIND_RESULT, GET_AUTOSCALER_STATUS, FindResult, GetAutoscalerStatus
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.machinesim.cloud_api_testing import CloudApiProcess
from tests.asr_files import simulated_hetzner
from tests.cluster import Cluster
from tests.waiting import until

pytestmark = pytest.mark.slow

FIRST, SECOND, WITHOUT = "autoscaler", "autoscaler#2", "autoscaler#3"
LIMITS = {FIRST: 11, SECOND: 12}
TAKE_OVER_S = 60.0
"""Until somebody else leads: the lease and a start, on a busy computer."""


@pytest.fixture
def cloud() -> Iterator[CloudApiProcess]:
    with CloudApiProcess("hetzner") as api:
        yield api


def file_of(folder: Path, cloud: CloudApiProcess, limit_count: int) -> Path:
    file = folder / f"asr-{limit_count}.json"
    file.write_text(json.dumps(simulated_hetzner(cloud.token, cloud.url, machinesLimit=limit_count)))
    return file


@asynccontextmanager
async def three(folder: Path, cloud: CloudApiProcess) -> AsyncIterator[Cluster]:
    """The first leads, the second stands by, the third has no configuration."""
    cluster = Cluster(folder / "cluster", asr_check_storage="false")
    for name, limit_count in LIMITS.items():
        cluster.overrides[name] = {"CLUSTERODM_ASR": str(file_of(folder, cloud, limit_count))}
    async with cluster:
        await until(lambda: answered_by(cluster), timeout_s=60, what="the first to answer")
        cluster.start(SECOND)
        await until(lambda: "leadership.awaited" in cluster.log(SECOND), timeout_s=60, what="the second to stand by")
        cluster.start(WITHOUT)
        await until(lambda: "autoscaler.started" in cluster.log(WITHOUT), timeout_s=60, what="the third to serve")
        yield cluster


async def answered_by(cluster: Cluster, timeout_s: float = 0.5) -> int | None:
    """The limit of who answers; 0: who has no configuration; None: nobody has answered."""
    try:
        status = await cluster.bus.request(GET_AUTOSCALER_STATUS, GetAutoscalerStatus(), timeout_s=timeout_s)
    except BusFailed:
        return None
    return status.machines_limit_count if status.enabled else 0


async def answers_to(cluster: Cluster, count: int, timeout_s: float = 15.0) -> set[int | None]:
    """Who answers many questions that are asked at once."""
    return set(await asyncio.gather(*(answered_by(cluster, timeout_s) for _ in range(count))))


async def why_no_result(cluster: Cluster) -> str:
    asked = FindResult(node_task_id=NodeTaskId("t"), asset="all.zip")
    try:
        await cluster.bus.request(FIND_RESULT, asked, timeout_s=60)
    except (Refused, NotFound, ProviderFailed, BusFailed) as error:
        return type(error).__name__
    return "found"


async def test_only_the_leader_answers_and_the_next_when_it_goes(tmp_path: Path, cloud: CloudApiProcess):
    async with three(tmp_path, cloud) as cluster:
        assert await answers_to(cluster, 60) == {LIMITS[FIRST]}
        # This bucket is out of reach: that is what one knows who has the keys. One without says "kept nowhere".
        asked = await asyncio.gather(*(why_no_result(cluster) for _ in range(4)))
        assert set(asked) == {"ProviderFailed"}
        cluster.send(FIRST, signal.SIGSTOP)
        await until(lambda: answered_by(cluster), timeout_s=TAKE_OVER_S, what="the second to answer")
        assert await answers_to(cluster, 60) == {LIMITS[SECOND]}
        cluster.send(FIRST, signal.SIGCONT)
        await until(
            lambda: cluster.log(FIRST).count("leadership.awaited") == 2, timeout_s=60, what="the first to stand by"
        )
        assert await answers_to(cluster, 60) == {LIMITS[SECOND]}
        cluster.kill(SECOND)
        await until(lambda: answered_by(cluster), timeout_s=TAKE_OVER_S, what="the first to answer again")
        assert await answers_to(cluster, 60) == {LIMITS[FIRST]}
        assert cluster.stop(FIRST) == 0
        assert await answers_to(cluster, 6, timeout_s=0.5) == {None}


async def test_without_any_configuration_it_is_said_that_there_is_none(tmp_path: Path):
    async with Cluster(tmp_path / "cluster") as cluster:
        await until(lambda: "autoscaler.started" in cluster.log(FIRST), timeout_s=60, what="it to serve")
        assert await answers_to(cluster, 5) == {0}
        assert await why_no_result(cluster) == "Refused"
