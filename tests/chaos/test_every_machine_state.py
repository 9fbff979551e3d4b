"""Kill -9 at every step of a machine's life, of the autoscaler and of the scheduler, for every kind of provider.

One task, one machine, one whole cluster with a stand-in of the provider: at each step, as soon as its record is written, a
service is killed and started again. At the end the task is done and its result is in the client's hand, the provider has
nothing left, and the machine was created once. What is covered:

    digitalocean     two lives: the autoscaler at every step, and the scheduler at every step
    docker-machine   the scheduler at every step; the autoscaler is killed in integration/test_autoscaler_cluster.py
    hetzner          beside digitalocean in one file, both services at every step: test_two_providers.py
    the others       one life each, in which the two are killed by turns; which of them begins is in `LIVES`

A life that is cut at every step says more than one life per step, and costs a fifth: what a start repairs is what the starts
before it have left. `created` is no state of a record: the provider has the machine, its answer is still to come, so that
nobody has written down that there is one.
"""

import asyncio
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest

from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.process.loops import background
from tests.cluster import Cluster
from tests.datasets import expected, make_images, processed
from tests.machine_records import CREATED, STEPS, Records
from tests.recorded import recorded_task
from tests.rented import all_gone, create, finish, rental, renting
from tests.seaweed import Seaweed
from tests.waiting import until

pytestmark = pytest.mark.slow

AUTOSCALER, SCHEDULER = "autoscaler", "scheduler"
LIVES = [
    pytest.param("digitalocean", (AUTOSCALER,), id="digitalocean: the autoscaler"),
    pytest.param("digitalocean", (SCHEDULER,), id="digitalocean: the scheduler"),
    pytest.param("docker-machine", (SCHEDULER,), id="docker-machine: the scheduler"),
    pytest.param("scaleway", (SCHEDULER, AUTOSCALER), id="scaleway: both by turns"),
    pytest.param("aws", (AUTOSCALER, SCHEDULER), id="aws: both by turns"),
    pytest.param("docker", (SCHEDULER, AUTOSCALER), id="docker: both by turns"),
    pytest.param("command", (AUTOSCALER, SCHEDULER), id="command: both by turns"),
]


@pytest.mark.parametrize(("kind", "victims"), LIVES)
async def test_a_life_that_is_cut_at_every_step_leaves_nothing_behind(
    kind: str, victims: Sequence[str], tmp_path: Path, seaweed: Seaweed
):
    images = make_images(tmp_path / "images", 3)
    with rental(kind, tmp_path, seaweed) as machines:
        async with renting(tmp_path, machines) as cluster:
            records = Records()
            async with background(lambda: records.follow(cluster), "follow machines"):
                machines.hold()
                task = await create(cluster, images)
                for step, victim in zip(STEPS, cycle(victims), strict=False):
                    await records.reached(step, lambda: bool(machines.here()))
                    cluster.kill(victim)
                    if step == CREATED:
                        machines.release()
                    cluster.start(victim)
                assert await finish(task) == "COMPLETED"
                await until(lambda: all_gone(cluster, machines), timeout_s=40, step_s=0.2, what="the machine to go")
            assert len(machines.made()) == 1
            assert len(await attempts(cluster, task.uuid)) == 1
            zipped = await asyncio.to_thread(task.download_zip, str(tmp_path))
            assert processed(Path(zipped)) == expected(images)


async def attempts(cluster: Cluster, task: str) -> Sequence[object]:
    record = await recorded_task(cluster.bus, TaskId(task))
    return record.attempts if record else ()
