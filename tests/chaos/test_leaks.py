"""500 uploads, 500 downloads and 500 telnet sessions that break off: no descriptor, no asyncio task, no memory stays behind."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset, Raw
from tests.chaos.saying import say
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

WARM_UP_COUNT = 150
COUNT = 500
AT_ONCE = 12
MORE_DESCRIPTORS = 3
MORE_TASKS = 3
MORE_BLOCKS = 1_500
"""Three for each that broke off: less than a forgotten connection has."""
MORE_RESIDENT_KB = 6_000
"""12 KB for each: less than a forgotten buffer has."""
INSIDE = Path(__file__).parent / "inside"
SERVICES = ("scheduler", "proxy", "admin")


@dataclass(frozen=True)
class Figures:
    """What one process has."""

    descriptors: int
    threads: int
    tasks: int
    blocks: int
    """Of memory, as Python counts them."""
    resident_kb: int

    def __str__(self) -> str:
        """Write a line of it."""
        counts = f"{self.descriptors:3} descriptors {self.threads:3} threads {self.tasks:3} tasks"
        return f"{counts} {self.blocks:7} blocks {self.resident_kb:7} KB resident"


@dataclass
class Stage:
    """A cluster with one task that has a large result, and one open upload."""

    cluster: Cluster
    done: str
    open: str

    async def figures(self, service: str) -> Figures:
        """Look into a process."""
        pid, answer = self.cluster.pid(service), self.cluster.folder / f"{service}.inside"
        answer.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR1)
        await until(answer.exists, what=f"{service} to count")
        return looked_at(Path(f"/proc/{pid}"), answer.read_text().split())


def looked_at(process: Path, counted: list[str]) -> Figures:
    """Read what the kernel knows of a process."""
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Figures(
        descriptors=sum(1 for _ in (process / "fd").iterdir()),
        threads=int(status["Threads"]),
        tasks=int(counted[0]),
        blocks=int(counted[1]),
        resident_kb=int(status["VmRSS"].split()[0]),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder, services=SERVICES, log_level="warn")
    for service in SERVICES:
        inside = {"PYTHONPATH": str(INSIDE), "CHAOS_INSIDE": str(folder / f"{service}.inside")}
        cluster.overrides[service] = inside
    images = make_images(folder / "images", 2)
    async with NodeSimProcess(task_time_s=0.1, result_size_mb=8) as node, cluster:
        await cluster.add_node(node)
        done, begun, raw = Dataset(images), Dataset(images), Raw(cluster.url)
        await raw.run(done)
        async with raw._http() as http:
            await raw.upload(http, begun)
        yield Stage(cluster, done.task, begun.task)


async def break_off(port: int, request: bytes, chance: random.Random, *, read_bytes: int = 0) -> None:
    """Connect, send, read that much, and leave: politely, or with a reset."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            async with asyncio.timeout(5):
                await writer.drain()
                await reader.readexactly(read_bytes)
        finally:
            if chance.random() < 0.5:
                link: socket.socket = writer.get_extra_info("socket")
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


async def many(count: int, one: Callable[[], Awaitable[None]]) -> None:
    """So many, some at a time."""
    left = iter(range(count))

    async def lane() -> None:
        for _ in left:
            await one()

    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(lane(), name=f"lane {number}")


async def check(stage: Stage, what: str, service: str, one: Callable[[], Awaitable[None]]) -> None:
    """Do it often; afterwards the process is as it was after the first few."""
    await many(WARM_UP_COUNT, one)
    idle = await settled(stage, service, None)
    await many(COUNT, one)
    after = await settled(stage, service, idle)
    say(f"{what}\n  {service} after {WARM_UP_COUNT:3}: {idle}\n  {service} after {COUNT} more: {after}")
    assert grown(idle, after) == []


def grown(idle: Figures, after: Figures) -> list[str]:
    """What has become more than it may."""
    limits = {
        "descriptors": MORE_DESCRIPTORS,
        "threads": 16,
        "tasks": MORE_TASKS,
        "blocks": MORE_BLOCKS,
        "resident_kb": MORE_RESIDENT_KB,
    }
    return [name for name, limit in limits.items() if getattr(after, name) - getattr(idle, name) > limit]


async def settled(stage: Stage, service: str, idle: Figures | None) -> Figures:
    """The figures, once they do not change any more or are as before."""
    last = await stage.figures(service)
    for _ in range(40):
        await asyncio.sleep(0.25)
        now = await stage.figures(service)
        settled = (now.descriptors, now.tasks) == (last.descriptors, last.tasks)
        if settled and (idle is None or not grown(idle, now)):
            return now
        last = now
    return last


async def test_uploads_that_break_off_leave_nothing(stage: Stage, chance: random.Random):
    async def one() -> None:
        name = f"half-{chance.randrange(10**9)}.JPG"
        part = f'--b\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode()
        head = f"POST /task/new/upload/{stage.open} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n"
        request = f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + part
        cut = chance.choice((chance.randrange(len(request)), len(request) + chance.randrange(300_000)))
        await break_off(stage.cluster.port, (request + b"x" * 300_000)[:cut], chance)

    await check(stage, f"{COUNT} uploads that break off", "proxy", one)
    folder = stage.cluster.spool / stage.open
    await until(lambda: not list((folder / "parts").iterdir()), what="unfinished files to go")
    assert len(list((folder / "files").iterdir())) == 2


async def test_downloads_that_break_off_leave_nothing(stage: Stage, chance: random.Random):
    request = f"GET /task/{stage.done}/download/all.zip HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    async def one() -> None:
        await break_off(stage.cluster.port, request, chance, read_bytes=chance.randrange(1_000_000))

    await check(stage, f"{COUNT} downloads that break off", "proxy", one)


async def test_polls_that_break_off_leave_nothing(stage: Stage, chance: random.Random):
    request = f"GET /task/{stage.done}/info?with_output=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    async def one() -> None:
        cut = chance.choice((len(request), chance.randrange(len(request))))
        await break_off(
            stage.cluster.port, request[:cut], chance, read_bytes=chance.randrange(2) * (cut == len(request))
        )

    await check(stage, f"{COUNT} polls that break off", "proxy", one)


async def test_telnet_sessions_that_break_off_leave_nothing(stage: Stage, chance: random.Random):
    words = (b"NODE LIST\r\n", b"TASK LIST\r\n", b"NODE INFO 1\r\nNODE LI", b"HELP\r\n", b"\xff\xfb\x01QUI", b"")

    async def one() -> None:
        await break_off(stage.cluster.telnet_port, chance.choice(words), chance, read_bytes=chance.randrange(60))

    await check(stage, f"{COUNT} telnet sessions that break off", "admin", one)
