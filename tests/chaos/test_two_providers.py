"""Kill -9 of autoscaler and scheduler at every step of machines' lives, with two clouds in one file.

Two tasks at once in one cluster: the first cloud takes one machine, so the other task's comes from the second. At each step, as soon
as a record of it is written, both services are killed and started again: at every other step together, so that neither knows anything of
the other, else one after the other, so that each meets the other in its middle. At the end both results are in the client's hand, each
cloud has made one machine and has none, and no task was begun twice.
"""

import asyncio
from itertools import cycle
from pathlib import Path

import pytest

from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.process.loops import background
from tests.datasets import expected, make_images, processed
from tests.machine_records import STEPS, Records
from tests.recorded import recorded_task
from tests.rented import all_gone, create, finish, machines_of, renting, two_rentals
from tests.seaweed import Seaweed
from tests.waiting import until

pytestmark = pytest.mark.slow

FIRST, SECOND = "hetzner", "digitalocean"
AUTOSCALER, SCHEDULER = "autoscaler", "scheduler"
VICTIMS = (
    ((AUTOSCALER, SCHEDULER),),
    ((SCHEDULER,), (AUTOSCALER,)),
    ((SCHEDULER, AUTOSCALER),),
    ((AUTOSCALER,), (SCHEDULER,)),
)
"""What is killed at a step, by turns: those of one place together, one place after the other."""


async def test_lives_at_two_clouds_that_are_cut_at_every_step_leave_nothing_behind(tmp_path: Path, seaweed: Seaweed):
    images = [make_images(tmp_path / f"images {number}", 3) for number in range(2)]
    with two_rentals(FIRST, SECOND, seaweed) as clouds:
        async with renting(tmp_path, clouds) as cluster:
            records = Records()
            async with background(lambda: records.follow(cluster), "follow machines"):
                clouds.hold()
                tasks = [await create(cluster, each) for each in images]
                for step, victims in zip(STEPS, cycle(VICTIMS), strict=False):
                    await records.reached(step, lambda: len(clouds.here()) == len(tasks))
                    for together in victims:
                        for victim in together:
                            cluster.kill(victim)
                        for victim in together:
                            cluster.start(victim)
                assert [await finish(task) for task in tasks] == ["COMPLETED", "COMPLETED"]
                await until(lambda: all_gone(cluster, clouds), timeout_s=40, step_s=0.2, what="both machines to go")
            assert sorted(machine.provider for machine in await machines_of(cluster)) == sorted((FIRST, SECOND))
            assert len(clouds.made()) == len(set(clouds.made())) == len(tasks)
            for task, sent in zip(tasks, images, strict=True):
                record = await recorded_task(cluster.bus, TaskId(task.uuid))
                assert record is not None
                assert len(record.attempts) == 1
                zipped = await asyncio.to_thread(task.download_zip, str(tmp_path))
                assert processed(Path(zipped)) == expected(sent)
