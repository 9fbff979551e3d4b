"""Two schedulers, each made to believe for a while that it leads: nothing is placed twice, the stale one is refused.

The leader is taken out for longer than its lease, in turns: frozen with SIGSTOP, so that it goes on later in the middle of
whatever it was doing; and with its network to NATS frozen, so that it runs on, and what it had sent arrives late. The other takes over
in less than ten seconds, the first comes back as a standby. All the time tasks come in, are placed, run, end.
"""

import asyncio
import random
import re
import signal
import time
from pathlib import Path

import pytest

from clusterodm.libs.common.model.tasks import TaskState
from tests.chaos.clients import Dataset, Raw
from tests.chaos.node_logs import overlaps, runs_by_task, runs_of
from tests.chaos.saying import say
from tests.chaos.storm import GRACE_S, Town, town
from tests.datasets import make_images
from tests.recorded import recorded_tasks
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

SCHEDULERS = ("scheduler", "scheduler#2")
TASKS_COUNT = 36
LEASE_S = 3
TAKE_OVER_S = 10.0
ROUNDS = 4


async def test_a_leader_that_was_away_for_longer_than_its_lease_places_nothing_twice(
    tmp_path: Path, chance: random.Random
):
    images = make_images(tmp_path / "images", 2)
    datasets = [Dataset(images) for _ in range(TASKS_COUNT)]
    async with town(tmp_path, 3, (*SCHEDULERS, "proxy"), task_time_s=0.7, parallel_tasks=2) as place:
        epochs = [epoch_of(place, await leader(place))]
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for number, data in enumerate(datasets):
                group.create_task(client(place, data, number * ROUNDS * 7.0 / TASKS_COUNT), name=f"client {number}")
            for number in range(ROUNDS):
                await asyncio.sleep(chance.uniform(0.5, 2))
                epochs.append(await depose(place, chance, by_network=bool(number % 2)))
        assert epochs == sorted(set(epochs)), "each term has a higher epoch"
        await check(place, datasets)


async def client(place: Town, data: Dataset, after_s: float) -> None:
    """Come after a while; commit and wait."""
    await asyncio.sleep(after_s)
    await Raw(place.cluster.url).run(data)


async def depose(place: Town, chance: random.Random, *, by_network: bool) -> int:
    """Take the leader out until the other leads, let it come back; the new epoch."""
    old = await leader(place)
    new = SCHEDULERS[1 - SCHEDULERS.index(old)]
    began_s, spoken = time.monotonic(), len(place.cluster.log(old))
    if by_network:
        place.to_nats[old].freeze()
    else:
        place.cluster.send(old, signal.SIGSTOP)
    before = epoch_of(place, old)
    await until(lambda: epoch_of(place, new) > before, timeout_s=20, what=f"{new} to take over")
    took_s = time.monotonic() - began_s
    await asyncio.sleep(chance.uniform(0, 2))
    if by_network:
        place.to_nats[old].thaw()
    else:
        place.cluster.send(old, signal.SIGCONT)
    how = "network frozen" if by_network else "SIGSTOP"
    await until(
        lambda: "leadership.ended" in place.cluster.log(old)[spoken:], timeout_s=15, what=f"{old} to stand down"
    )
    say(f"{old}: {how}; {new} led after {took_s:.1f} s with epoch {epoch_of(place, new)}")
    assert took_s < TAKE_OVER_S
    return epoch_of(place, new)


async def leader(place: Town) -> str:
    """Who began to lead last."""
    return await until(lambda: max(SCHEDULERS, key=lambda name: epoch_of(place, name)), what="a leader")


def epoch_of(place: Town, name: str) -> int:
    """The last epoch in which this one led; -1 for none."""
    terms = re.findall(r"scheduler\.started +epoch=(\d+)", place.cluster.log(name))
    return int(terms[-1]) if terms else -1


async def check(place: Town, datasets: list[Dataset]) -> None:
    """Everything ended well and ran once."""
    assert {data.task: data.lies for data in datasets if data.lies} == {}
    tasks = list((await recorded_tasks(place.cluster.bus)).values())
    assert {task.id for task in tasks if task.state is TaskState.COMPLETED} == {data.task for data in datasets}
    runs = [run for node in place.nodes for run in runs_of(node, ())]
    by_task = runs_by_task(runs, tasks)
    attempts = sum(len(task.attempts) for task in tasks)
    say(f"{len(tasks)} tasks, {attempts} attempts, {len(runs)} runs")
    assert [pair for own in by_task.values() for pair in overlaps(own, (), GRACE_S)] == []
    assert {task: own for task, own in by_task.items() if len(own) > 1} == {}
