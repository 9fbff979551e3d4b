"""Told to stop, the autoscaler ends within its time, whatever it is waiting for; and the next one goes on.

One task, one machine, for each way to speak to a provider: plain REST, boto3 (which blocks, in threads), docker-machine (a
program that has to survive us), and an operator's own program (which must not). While the provider has the machine and has
not said so, the call under way would last far longer than a stop may take.
"""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.process.loops import background
from tests.asr_files import S3
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.machine_records import CREATED, STEPS, Records
from tests.nats import LEAVES_UNCLOSED
from tests.rented import all_gone, create, finish, rental, renting
from tests.seaweed import Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow, LEAVES_UNCLOSED]

STOP_S = 15.0
"""Less than --stop-timeout-s, after which it would be ended by force."""
FOR_EVER_S = 100.0


async def stopped(cluster: Cluster, service: str = "autoscaler") -> None:
    """Tell it to stop, and see that it does."""
    began_s = time.monotonic()
    code = await asyncio.to_thread(cluster.stop, service)
    assert (code, cluster.log(service).count("Traceback")) == (0, 0), cluster.log(service)
    assert time.monotonic() - began_s < STOP_S


@pytest.mark.parametrize("kind", ["hetzner", "aws", "docker-machine", "command"])
async def test_it_ends_in_time_at_every_step(kind: str, tmp_path: Path, seaweed: Seaweed):
    with rental(kind, tmp_path, seaweed, held_s=FOR_EVER_S) as machines:
        async with renting(tmp_path, machines) as cluster:
            records = Records()
            async with background(lambda: records.follow(cluster), "follow machines"):
                machines.hold()
                task = await create(cluster, make_images(tmp_path / "images", 3))
                spoken = 0
                for step in STEPS:
                    await until(lambda spoken=spoken: at_work(cluster, spoken), timeout_s=45, what="it to begin")
                    await records.reached(step, lambda: bool(machines.here()))
                    await stopped(cluster)
                    if step == CREATED:
                        machines.release()
                    spoken = len(cluster.log("autoscaler"))
                    cluster.start("autoscaler")
                assert await finish(task) == "COMPLETED"
                await until(lambda: all_gone(cluster, machines), timeout_s=40, step_s=0.2, what="the machine to go")


def at_work(cluster: Cluster, spoken: int) -> bool:
    """Whether it has begun since it had said so much: before that a signal ends it as it ends any program."""
    return "] leadership.acquired" in cluster.log("autoscaler")[spoken:]


@asynccontextmanager
async def asked_in_vain() -> AsyncIterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_it_ends_in_time_while_a_storage_does_not_answer(tmp_path: Path, seaweed: Seaweed):
    async with asked_in_vain() as url:
        with rental("hetzner", tmp_path, seaweed) as machines:
            content: dict[str, Any] = {**S3, "endpoint": url}
            machines.content["s3"] = content
            async with renting(tmp_path, machines) as cluster:
                await until(lambda: established(url), timeout_s=30, what="it to ask for the bucket")
                await stopped(cluster)


def established(url: str) -> bool:
    """Whether somebody has a connection to this address (proc_net_tcp(5): state 01)."""
    port = f"{int(url.rpartition(':')[2]):04X}"
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(words[2].endswith(f":{port}") and words[3] == "01" for words in lines)


def unread(port: int) -> bool:
    """Whether a server on this port has something to read that it has not read (proc_net_tcp(5): `rx_queue`)."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(words[1].endswith(f":{port:04X}") and int(words[4].partition(":")[2], 16) for words in lines)


@pytest.mark.parametrize("configured", [True, False], ids=["with a file", "without a file"])
async def test_it_ends_in_time_while_nats_is_away(configured: bool, tmp_path: Path, seaweed: Seaweed):
    with rental("hetzner", tmp_path, seaweed) as machines:
        async with renting(tmp_path, machines, **({} if configured else {"asr": ""})) as cluster:
            await until(lambda: "autoscaler.started" in cluster.log("autoscaler"), timeout_s=30, what="it to serve")
            cluster.nats.send(signal.SIGSTOP)
            try:
                await until(
                    lambda: unread(cluster.nats.port), timeout_s=30, what="something to be under way, unanswered"
                )
                began_s = time.monotonic()
                assert await asyncio.to_thread(cluster.stop, "autoscaler") == 0
                assert time.monotonic() - began_s < 20.0
            finally:
                cluster.nats.send(signal.SIGCONT)
