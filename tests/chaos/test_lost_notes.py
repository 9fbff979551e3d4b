"""The power goes while a small task runs, and takes the store of NATS and what the proxy noted last: the task runs on, and no second time.

Of what is noted of a task's attempts the disk is waited for before its node may begin (decision 154). What was noted afterwards may be gone,
cut off, or be nonsense: then its node is asked.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset, Raw
from tests.chaos.storm import QUICK
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.recorded import recorded_task
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SETTINGS = QUICK | {"commit_settle_s": 1, "send_ahead_from_mb": 100}
TASK_S = 8.0
"""It still runs when everything is back."""


def the_last(notes: bytes) -> bytes:
    """It had not been written yet."""
    return notes[: notes.rindex(b"\n", 0, -1) + 1]


def half_of_the_last(notes: bytes) -> bytes:
    """Its block was written in part."""
    kept = len(the_last(notes))
    return notes[: kept + (len(notes) - kept) // 2]


def all_but_the_length_of_the_last(notes: bytes) -> bytes:
    """Its block was not written, and the file has grown all the same."""
    return the_last(notes).ljust(len(notes), b"\0")


@pytest.mark.parametrize(
    "lost", [the_last, half_of_the_last, all_but_the_length_of_the_last], ids=lambda lost: lost.__name__
)
async def test_a_small_task_whose_records_and_last_notes_are_lost_runs_once(
    tmp_path: Path, lost: Callable[[bytes], bytes]
):
    cluster = Cluster(tmp_path, services=("scheduler", "proxy"), **SETTINGS)
    data = Dataset(make_images(tmp_path / "images", 2, size_bytes=20_000))
    async with (
        NodeSimProcess(task_time_s=TASK_S) as node,
        cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=30) as http,
    ):
        await cluster.add_node(node)
        client, notes = Raw(cluster.url), cluster.spool / data.task / "submitted.mark"
        await client.commit(http, data)
        await until(lambda: notes.exists() and b'"committed"' in notes.read_bytes(), what="its start to be noted")
        await asyncio.to_thread(cluster.kill_all)
        notes.write_bytes(lost(notes.read_bytes()))
        shutil.rmtree(cluster.nats.store / "js")
        await cluster.revive()
        await cluster.add_node(node)

        async def completed() -> bool:
            return await client.poll(http, data) == 40

        await until(completed, timeout_s=60, step_s=0.2, what="the task to be completed")
        record = await recorded_task(cluster.bus, data.task)
        assert record is not None
        assert [attempt.node_task_id for attempt in record.attempts] == [data.task]
        assert [event["task"] for event in node.events("task_committed")] == [data.task]
        assert data.lies == []
