"""PyODM fetches results that lie in a real S3 server: private, public, streamed, and when there is nothing to fetch."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pyodm
import pytest
from pyodm.exceptions import NodeConnectionError, NodeServerError

from clusterodm.libs.common.messages.machines import FIND_RESULT
from clusterodm.libs.common.model.tasks import Attempt, AttemptState
from clusterodm.libs.common.model.values import MachineId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import Configuration, NodeSettings, ScalingLimits
from clusterodm.services.autoscaler.orders import S3Target
from clusterodm.services.autoscaler.results.adapters import S3Storage
from clusterodm.services.autoscaler.results.handlers import ResultFinder
from tests.ports import free_port
from tests.proxies import ProxyUnderTest, running_proxy, tried_task
from tests.seaweed import ACCESS_KEY, PUBLIC_BUCKET, SECRET_KEY, Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow]

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
ZIP = os.urandom(20 * 1024 * 1024 + 77)
ORTHOPHOTO = os.urandom(1000)


@pytest.fixture(scope="module")
def seaweed(seaweed: Seaweed) -> Seaweed:
    for bucket in ("results", PUBLIC_BUCKET):
        seaweed.client().put_object(Bucket=bucket, Key=f"{ON_NODE}/all.zip", Body=ZIP)
        key = f"{ON_NODE}/odm_orthophoto/odm_orthophoto.tif"
        seaweed.client().put_object(Bucket=bucket, Key=key, Body=ORTHOPHOTO)
    return seaweed


class Site:
    """A proxy, and an autoscaler that knows a bucket."""

    def __init__(self, proxy: ProxyUnderTest, stack: AsyncExitStack) -> None:
        self.proxy = proxy
        self._stack = stack

    async def keep_results(self, endpoint: str, bucket: str, *, acl: str = "", downloads: str = "redirect") -> None:
        """Have the results of the task's machine in a bucket."""
        target = S3Target(
            endpoint=endpoint, bucket=bucket, access_key=Secret(ACCESS_KEY), secret_key=Secret(SECRET_KEY), acl=acl
        )
        configuration = Configuration(
            provider="docker",
            mode="api",
            limits=ScalingLimits(sizes=()),
            node=NodeSettings(s3=target),
            downloads=downloads,
        )
        results = ResultFinder(configuration.downloads, [(target, S3Storage(target))])
        await self._stack.enter_async_context(self.proxy.bus.serve("autoscaler-results", {FIND_RESULT: results.find}))

    async def task(self, node_task_id: NodeTaskId = ON_NODE) -> pyodm.api.Task:
        """Put a task there that has run on a machine, which is gone."""
        attempt = Attempt(
            number=1,
            node=NodeId("gone"),
            node_task_id=node_task_id,
            state=AttemptState.ENDED,
            running_at_ms=5,
            machine=MachineId("m"),
        )
        await self.proxy.scheduler.put(tried_task(TASK, attempt))
        await until(lambda: self.proxy.cluster.task(TASK))
        return pyodm.Node("127.0.0.1", self.proxy.port).get_task(TASK)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_proxy(tmp_path / "spool") as proxy, AsyncExitStack() as stack:
        yield Site(proxy, stack)


async def fetched(task: pyodm.api.Task, folder: Path) -> bytes:
    """Download with 16 ranges at once, as PyODM does."""
    return await asyncio.to_thread(lambda: Path(task.download_zip(str(folder), None, 16, 1)).read_bytes())


def zips(folder: Path) -> list[Path]:
    """What was saved as a result."""
    return list(folder.glob("*.zip"))


@pytest.mark.parametrize(
    ("bucket", "acl", "downloads"),
    [
        pytest.param("results", "", "redirect", id="private, by signed addresses"),
        pytest.param("results", "none", "redirect", id="private by its acl"),
        pytest.param(PUBLIC_BUCKET, "", "redirect", id="public, by its plain address"),
        pytest.param("results", "none", "stream", id="private, through the proxy"),
        pytest.param(PUBLIC_BUCKET, "", "stream", id="public, through the proxy"),
    ],
)
async def test_pyodm_fetches_a_result_in_16_ranges(
    site: Site, seaweed: Seaweed, tmp_path: Path, bucket: str, acl: str, downloads: str
):
    await site.keep_results(seaweed.endpoint, bucket, acl=acl, downloads=downloads)
    assert await fetched(await site.task(), tmp_path) == ZIP


@pytest.mark.parametrize(
    ("bucket", "signed"), [pytest.param("results", True, id="private"), pytest.param(PUBLIC_BUCKET, False, id="public")]
)
async def test_only_an_address_in_a_private_bucket_is_signed(site: Site, seaweed: Seaweed, bucket: str, signed: bool):
    await site.keep_results(seaweed.endpoint, bucket)
    await site.task()
    for method in ("GET", "HEAD"):
        status, headers, _ = await site.proxy.ask(method, f"/task/{TASK}/download/all.zip")
        assert (status, "Signature=" in headers["location"]) == (302, signed)
        assert SECRET_KEY not in headers["location"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("downloads", ["redirect", "stream"])
async def test_the_orthophoto_has_its_short_name_and_its_length(
    site: Site, seaweed: Seaweed, method: str, downloads: str
):
    await site.keep_results(seaweed.endpoint, "results", acl="none", downloads=downloads)
    await site.task()
    status, headers, body = await site.proxy.ask(method, f"/task/{TASK}/download/orthophoto.tif")
    if downloads == "redirect":
        assert status == 302
        parts = headers["location"].removeprefix(seaweed.endpoint)
        status, headers, body = await asked(seaweed.port, method, parts)
    assert (status, headers["content-length"]) == (200, str(len(ORTHOPHOTO)))
    assert body == (ORTHOPHOTO if method == "GET" else b"")


async def asked(port: int, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
    """Follow an address."""
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.request(method, f"http://127.0.0.1:{port}{target}")
        return answer.status_code, dict(answer.headers), answer.content


@pytest.mark.parametrize("downloads", ["redirect", "stream"])
@pytest.mark.parametrize("bucket", ["results", PUBLIC_BUCKET])
async def test_what_is_not_there_is_never_saved_as_a_result(
    site: Site, seaweed: Seaweed, tmp_path: Path, downloads: str, bucket: str
):
    await site.keep_results(seaweed.endpoint, bucket, downloads=downloads)
    task = await site.task(NodeTaskId("cccccccc-2222-4222-8222-222222222222"))
    with pytest.raises(NodeServerError):
        await fetched(task, tmp_path)
    assert zips(tmp_path) == []
    status, said = await site.proxy.json("GET", f"/task/{TASK}/download/all.zip")
    assert (status, list(said)) == (404, ["error"])


@pytest.mark.parametrize("acl", ["", "none"])
async def test_while_the_storage_is_away_nothing_looks_like_a_result(site: Site, tmp_path: Path, acl: str):
    await site.keep_results(f"http://127.0.0.1:{free_port()}", "results", acl=acl)
    task = await site.task()
    with pytest.raises((NodeServerError, NodeConnectionError)):
        await fetched(task, tmp_path)
    status, said = await site.proxy.json("GET", f"/task/{TASK}/download/all.zip")
    assert (status, list(said)) == (502, ["error"])
    assert "127.0.0.1" not in said["error"]
