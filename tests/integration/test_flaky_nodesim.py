"""Forwarding to a simulated NodeODM that drops what it is sent, by a seed: how many attempts it takes, and what lies there in the end."""

import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from clusterodm.services.proxy.forwarding.adapters.sender import open_sender
from tests.forwarding import TASK, World
from tests.waiting import until

SEEDS = (8, 12, 20)
"""With these the first 20 uploads that are stored lie among more than 20 that are not, of which no more than five follow on each other: no file fails so often that it is given up."""


def photos(number: int) -> dict[str, bytes]:
    return {f"IMG_{index:04}.JPG": hashlib.sha256(str(index).encode()).digest() * 8 for index in range(number)}


@asynccontextmanager
async def forwarded(
    folder: Path, files: Mapping[str, bytes], longest_s: float = 60.0, **knobs: object
) -> AsyncIterator[tuple[World, NodeSimProcess]]:
    """Let a task of these files go to a node that does what it is told, and wait until it runs there."""
    world = World(folder / "spool")
    world.files = files
    async with (
        NodeSimProcess(task_time_s=60.0, **knobs) as node,
        open_sender(4) as world.sender,
        world.bus.serve("scheduler", world.scheduler.handlers),
    ):
        world.scheduler.places_on = Node(id=NodeId("sim"), hostname=node.hostname, port=node.port)
        world.scheduler.nodes[world.scheduler.places_on.id] = world.scheduler.places_on
        world.scheduler.attempt_id = lambda task, number: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task}{number}"))
        async with world.proxy() as forwarder:
            await world.commit()
            world.scheduler.submit(images_count=len(files))
            await forwarder.adopt(TASK)
            await until(
                lambda: world.scheduler.tasks[TASK].state is TaskState.RUNNING, timeout_s=longest_s, what="it runs"
            )
            yield world, node


def dataset(node: NodeSimProcess, task: NodeTaskId) -> dict[str, bytes]:
    folder = node.data_dir / "data" / task / "images"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def runs_as(world: World) -> NodeTaskId:
    return world.scheduler.tasks[TASK].attempts[-1].node_task_id


@pytest.mark.parametrize("seed", SEEDS)
async def test_with_every_other_upload_answered_500_a_task_completes_in_one_attempt(tmp_path: Path, seed: int) -> None:
    files = photos(20)
    async with forwarded(tmp_path, files, drop_upload_part=0.5, drop_how="status", drop_seed=seed) as (world, node):
        assert len(world.scheduler.tasks[TASK].attempts) == 1
        await until(lambda: dataset(node, runs_as(world)) == files, what="each image is there once")
        stored = Counter(event["file"] for event in node.events("file_stored"))
        assert stored == Counter(list(files))
        assert node.events("upload_dropped")


async def test_a_thousand_files_with_few_errors_complete_in_one_attempt(tmp_path: Path) -> None:
    files = photos(1000)
    async with forwarded(tmp_path, files, drop_upload_part=0.005, drop_how="status", drop_seed=5) as (world, node):
        assert len(world.scheduler.tasks[TASK].attempts) == 1
        await until(lambda: dataset(node, runs_as(world)) == files, what="each image is there once")
        assert node.events("upload_dropped")


@pytest.mark.parametrize("how", ["status-after", "reset-before", "reset-midway", "reset-after"])
async def test_whatever_a_node_does_to_some_files_no_image_is_doubled_or_lost(tmp_path: Path, how: str) -> None:
    files = photos(20)
    async with forwarded(tmp_path, files, drop_upload_part=0.05, drop_how=how, drop_seed=11) as (world, node):
        await until(lambda: dataset(node, runs_as(world)) == files, what="each image is there once")
        assert node.events("upload_dropped")
        committed = [event["task"] for event in node.events("task_committed")]
        assert committed[-1] == runs_as(world)
        others = [folder.name for folder in (node.data_dir / "data").iterdir() if folder.is_dir()]
        await until(lambda: not list((node.data_dir / "tmp").iterdir()), what="no upload is left there")
        assert others == [runs_as(world)]
