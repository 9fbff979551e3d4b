"""Hundreds of tasks (CHAOS_TASKS=1000: a thousand) while keepers, loops, clocks and the store of NATS go: none is lost, none is done twice, no photo goes unsaid.

Once with the nats-server that `clusterodm up` keeps, and once with three, of which one is frozen at times: there the losses of the services are the same.
"""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset
from tests.chaos.clock import ShiftedClock
from tests.chaos.losses import Client, Losses, ReplicaLosses, committed_and_completed, kept
from tests.chaos.node_logs import overlaps
from tests.chaos.saying import say
from tests.datasets import make_images
from tests.e2e.up import Up
from tests.nats_cluster import nats_cluster
from tests.waiting import until

TASKS_COUNT = int(os.environ.get("CHAOS_TASKS", "200"))
REPLICATED_TASKS_COUNT = int(os.environ.get("CHAOS_TASKS", "100"))
CLIENTS_COUNT = 48
NODES_COUNT = 3
CALAMITY_S = 20.0
EACH_S = 0.5
"""Of two busy cores, for one task from its init to its end: its client, its node and the cluster share them."""
LONGEST_S = 200.0 + TASKS_COUNT * EACH_S
GIVE_UP_S = 3 * CALAMITY_S + CLIENTS_COUNT * EACH_S + 66.0
"""A task lives through all losses at worst (each begins with a kill, and the store's with a stop of everything), and then waits for the
others that are under way; a loop that hangs is noticed by then, if it is not one that a task waits for."""
EXPLAINED_S = 150.0
REASON = re.compile(r"inputs\.deleted .*?reason=(\S+)")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(LONGEST_S + EXPLAINED_S)]


@contextmanager
def losing(
    folder: Path, nodes: Sequence[NodeSimProcess], chance: random.Random, replicated: bool
) -> Iterator[tuple[Up, Losses]]:
    """Run the cluster, and what makes it lose things."""
    clock = ShiftedClock(folder / "clock")
    if replicated:
        with nats_cluster(folder / "nats") as servers, kept(folder, nodes, clock, servers) as up:
            yield up, ReplicaLosses(up, nodes, clock, chance, servers)
    else:
        with kept(folder, nodes, clock) as up:
            yield up, Losses(up, nodes, clock, chance)


@pytest.mark.parametrize(
    ("tasks_count", "replicated"),
    [
        pytest.param(TASKS_COUNT, False, id="one nats-server"),
        pytest.param(REPLICATED_TASKS_COUNT, True, id="three of which one is frozen"),
    ],
)
async def test_tasks_survive_every_loss_and_each_is_done_once(
    tmp_path: Path, chance: random.Random, tasks_count: int, replicated: bool
):
    datasets = [
        Dataset(make_images(tmp_path / f"set{number}", 1, size_bytes=2_000, seed=number))
        for number in range(tasks_count)
    ]
    nodes = [NodeSimProcess(task_time_s=0.1, parallel_tasks=6) for _ in range(NODES_COUNT)]
    for node in nodes:
        node.start()
    try:
        with losing(tmp_path, nodes, chance, replicated) as (up, losses):
            client = Client(f"http://127.0.0.1:{up.port}", losses, datasets, GIVE_UP_S)
            async with asyncio.timeout(LONGEST_S), asyncio.TaskGroup() as group:
                for number, loss in enumerate((losses.begin, losses.kill_the_keeper, losses.lose_the_store)):
                    part = datasets[number::3]
                    group.create_task(committed_and_completed(client, part, CLIENTS_COUNT))
                    await until(partly(part), timeout_s=GIVE_UP_S, what="tasks that are under way at the loss")
                    await loss()
                    await losses.go_on(CALAMITY_S)
                say("the losses are over")
            check(losses, datasets)
            attempts_counts = await losses.attempts_counts(datasets)
            once = [data for data in datasets if attempts_counts.get(data.task) == 1]
            assert once, "the records of what has ended since the loss are there"
            assert {data.task: data.codes for data in once if data.went_back} == {}
            spools = [up.data_dir / "spool", up.data_dir / "spool-2"]
            await until(
                lambda: not any(map(held, spools)), timeout_s=60, what="all photos to be given up, each for a reason"
            )
            assert set(REASON.findall(up.history)) == {"completed"}, "photos go because a record says so"
            say(
                f"{len(once)} tasks sent once; {dict(losses.counts)}; loops that raised: {up.history.count('made to fail')}"
            )
    finally:
        for node in nodes:
            node.close()


def check(losses: Losses, datasets: list[Dataset]) -> None:
    """Everything that was promised."""
    assert [data.task for data in datasets if not (data.committed and data.completed)] == []
    assert {data.task: data.lies for data in datasets if data.lies} == {}
    runs = losses.runs(datasets)
    counts = {data.task: len(runs[data.task]) for data in datasets}
    assert {task: runs[task] for task, count in counts.items() if count != 1} == {}, Counter(counts.values())
    for of_task in runs.values():
        assert overlaps(of_task, (), 0) == []


def partly(datasets: Sequence[Dataset]) -> Callable[[], bool]:
    """Say how to see that some of them are committed, while clients are at the others."""
    return lambda: sum(data.committed for data in datasets) >= len(datasets) // 4


def held(spool: Path) -> list[str]:
    """Tasks whose photos lie there."""
    return [path.name for path in spool.glob("*-*-*-*-*")]
