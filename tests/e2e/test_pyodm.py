"""The real PyODM through a real cluster with two simulated nodes."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pyodm
import pytest
import pytest_asyncio
from pyodm.exceptions import NodeResponseError, TaskFailedError
from pyodm.types import TaskStatus

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster, answers
from tests.datasets import expected, make_images, processed
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

UNKNOWN = "11111111-2222-4333-8444-555555555555"
TASK_S = 0.3


@pytest.fixture(params=["", "s3cret"], ids=["without token", "with token"], scope="module")
def token(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(token: str) -> AsyncIterator[tuple[NodeSimProcess, ...]]:
    del token  # each cluster has its own
    async with (
        NodeSimProcess(task_time_s=TASK_S, parallel_tasks=2) as first,
        NodeSimProcess(task_time_s=TASK_S, parallel_tasks=2, token="nodetoken") as second,
    ):
        yield first, second


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    token: str, nodes: tuple[NodeSimProcess, ...], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster"), token=token, keep_failed_inputs_h=0) as cluster:
        for each in nodes:
            await cluster.add_node(each)
        await until(lambda: answers(f"{cluster.url}/options?token={cluster.token}", b"dsm"), what="the options")
        yield cluster


@pytest.fixture
def node(cluster: Cluster) -> pyodm.Node:
    return pyodm.Node("127.0.0.1", cluster.port, cluster.token)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return make_images(tmp_path / "images", 7)


async def run(node: pyodm.Node, images: list[Path], **settings: object) -> pyodm.api.Task:
    """Create a task and wait for its end, off the loop that the fixtures live on."""

    def work() -> pyodm.api.Task:
        task = node.create_task([str(path) for path in images], **settings)
        task.wait_for_completion(interval=0.2)
        return task

    return await asyncio.to_thread(work)


async def test_a_token_that_pyodm_sends_by_mistake_does_no_harm(node: pyodm.Node, images: list[Path]):
    pyodm.Node("127.0.0.1", 1, "of another node").url("/task/new/init")  # stays in the default argument
    task = await run(node, images)
    assert task.info().status is TaskStatus.COMPLETED
    assert await asyncio.to_thread(task.remove)


async def test_info_is_honest_about_the_cluster(node: pyodm.Node):
    async def counted() -> bool:
        return bool((await asyncio.to_thread(node.info)).max_parallel_tasks == 4)

    await until(counted, what="both nodes to count")
    info = await asyncio.to_thread(node.info)
    assert info.max_images is None
    assert info.total_memory == 2 * 16384 * 1024 * 1024
    assert info.engine == "odm"
    assert await asyncio.to_thread(node.version_greater_or_equal_than, "1.4.0")


async def test_options_are_listed(node: pyodm.Node):
    assert "dsm" in {option.name for option in await asyncio.to_thread(node.options)}


async def test_a_dataset_goes_in_and_its_result_comes_out(node: pyodm.Node, images: list[Path], tmp_path: Path):
    progress: list[float] = []
    task = await run(
        node,
        images,
        options={"dsm": True, "orthophoto-resolution": 4},
        name="field 7",
        progress_callback=progress.append,
    )
    info = await asyncio.to_thread(task.info, True)
    assert info.status == TaskStatus.COMPLETED
    assert info.name == "field 7"
    assert info.images_count == 7
    assert info.progress == 100
    assert {"name": "dsm", "value": True} in info.options
    assert len(info.output) > 2
    assert max(progress) == 100
    archive = await asyncio.to_thread(task.download_zip, str(tmp_path / "out"))
    assert processed(Path(archive)) == expected(images)


async def test_assets_are_unpacked(node: pyodm.Node, images: list[Path], tmp_path: Path):
    task = await run(node, images)
    await asyncio.to_thread(task.download_assets, str(tmp_path / "out"))
    assert (tmp_path / "out" / "odm_orthophoto" / "odm_orthophoto.tif").stat().st_size > 0


async def test_a_task_may_bring_its_own_uuid(node: pyodm.Node, images: list[Path]):
    chosen = str(uuid.uuid4())
    task = await run(node, images, task_uuid=chosen)
    assert task.uuid == chosen
    assert (await asyncio.to_thread(task.info)).uuid == chosen


async def test_only_the_outputs_that_were_asked_for_are_in_the_archive(
    node: pyodm.Node, images: list[Path], tmp_path: Path
):
    task = await run(node, images, outputs=["odm_orthophoto"])
    await asyncio.to_thread(task.download_assets, str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["odm_orthophoto"]


async def test_the_console_can_be_read_from_any_line(node: pyodm.Node, images: list[Path]):
    task = await run(node, images)

    async def whole_console() -> list[str]:
        lines: list[str] = await asyncio.to_thread(task.output)
        return lines if lines[-1].startswith("Completed on") else []

    everything = await until(whole_console, what="the cluster's own last line")
    assert len(everything) > 3
    assert await asyncio.to_thread(task.output, 2) == everything[2:]
    assert await asyncio.to_thread(task.output, -1) == everything[-1:]
    assert await asyncio.to_thread(task.output, len(everything) + 5) == []


async def test_a_finished_task_is_restarted_with_other_options(
    node: pyodm.Node, nodes: tuple[NodeSimProcess, ...], images: list[Path], tmp_path: Path
):
    task = await run(node, images, options={"dsm": False})
    for each in nodes:
        each.set(task_time_s=5)
    assert await asyncio.to_thread(task.restart, {"dsm": True})
    assert (await asyncio.to_thread(task.info)).status in (TaskStatus.QUEUED, TaskStatus.RUNNING)
    for each in nodes:
        each.set(task_time_s=TASK_S)
    await asyncio.to_thread(lambda: task.wait_for_completion(interval=0.2))
    assert {"name": "dsm", "value": True} in (await asyncio.to_thread(task.info)).options
    archive = await asyncio.to_thread(task.download_zip, str(tmp_path / "out"))
    assert processed(Path(archive)) == expected(images)


async def test_a_running_task_is_canceled(cluster: Cluster, node: pyodm.Node, images: list[Path]):
    async with cluster.node(task_time_s=60, max_images=10) as slow:
        task = await asyncio.to_thread(node.create_task, [str(path) for path in images])
        await until(lambda: slow.events("task_started"), what="the task to run")
        assert await asyncio.to_thread(task.cancel)
        assert (await asyncio.to_thread(task.info)).status == TaskStatus.CANCELED
        with pytest.raises(TaskFailedError):
            await asyncio.to_thread(task.wait_for_completion)
        await until(lambda: slow.events("task_canceled"))


async def test_a_removed_task_is_gone_everywhere(cluster: Cluster, node: pyodm.Node, images: list[Path]):
    task = await run(node, images)
    assert await asyncio.to_thread(task.remove)
    with pytest.raises(NodeResponseError):
        await asyncio.to_thread(task.info)
    await until(lambda: not (cluster.spool / task.uuid).exists(), what="the inputs to be deleted")


async def test_inputs_are_deleted_when_the_task_has_finished(cluster: Cluster, node: pyodm.Node, images: list[Path]):
    task = await run(node, images)
    await until(lambda: not (cluster.spool / task.uuid).exists(), what="the inputs to be deleted")


async def test_a_task_that_fails_says_why(cluster: Cluster, node: pyodm.Node, images: list[Path]):
    async with cluster.node(task_time_s=0.1, max_images=10, fail_all=True):
        with pytest.raises(TaskFailedError):
            await run(node, images)


async def test_a_bad_option_is_refused_with_the_reason(node: pyodm.Node, images: list[Path]):
    with pytest.raises(NodeResponseError, match="orthophoto-resolution"):
        await asyncio.to_thread(node.create_task, [str(path) for path in images], {"orthophoto-resolution": "abc"})


async def test_a_task_without_images_is_refused(node: pyodm.Node):
    with pytest.raises(NodeResponseError):
        await asyncio.to_thread(node.create_task, [])


async def test_an_unknown_task_is_refused(node: pyodm.Node):
    for call in (pyodm.api.Task(node, UNKNOWN).info, pyodm.api.Task(node, UNKNOWN).cancel):
        with pytest.raises(NodeResponseError):
            await asyncio.to_thread(call)


async def test_a_wrong_token_is_refused(cluster: Cluster):
    if not cluster.token:
        pytest.skip("this cluster takes everybody")
    with pytest.raises(NodeResponseError):
        await asyncio.to_thread(pyodm.Node("127.0.0.1", cluster.port, "wrong").info)


async def test_eight_tasks_at_once_spread_over_the_nodes(cluster: Cluster, node: pyodm.Node, tmp_path: Path):
    datasets = [make_images(tmp_path / f"set{number}", 3, seed=number) for number in range(8)]
    tasks = await asyncio.gather(*(run(node, images) for images in datasets))
    for number, (task, images) in enumerate(zip(tasks, datasets, strict=True)):
        archive = await asyncio.to_thread(task.download_zip, str(tmp_path / f"out{number}"))
        assert processed(Path(archive)) == expected(images)
    listed = await asyncio.to_thread(node.get, "/task/list")
    assert {task.uuid for task in tasks} <= {entry["uuid"] for entry in listed}


async def test_nothing_is_left_in_the_spool_when_everything_has_ended(cluster: Cluster):
    def left() -> list[str]:
        return [path.name for path in cluster.spool.iterdir() if path.is_dir()]

    await until(lambda: not left(), what="the spool to be empty")


async def test_no_service_logs_a_token(cluster: Cluster, node: pyodm.Node, images: list[Path]):
    await run(node, images)
    for service in ("proxy", "scheduler", "admin", "autoscaler"):
        assert "nodetoken" not in cluster.log(service)
        assert "s3cret" not in cluster.log(service)
