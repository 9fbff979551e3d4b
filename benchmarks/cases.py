"""The paths that are measured; each says in one sentence what its figure means."""

import asyncio
import json
import re
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx

from benchmarks.subjects import Subject, program
from tests.datasets import make_images

GB = 1e9
MB = 1024 * 1024


@dataclass(frozen=True)
class Round:
    """One measured round of one subject."""

    cost: float
    """CPU per unit: microseconds per request, or seconds per gigabyte."""
    rate: float
    """Requests, or megabytes, per second of wall time."""
    p99_ms: float | None = None


class Case(ABC):
    """One path."""

    name: ClassVar[str]
    sentence: ClassVar[str]
    cost_unit: ClassVar[str]
    rate_unit: ClassVar[str]
    of_running_task: ClassVar[bool] = False

    async def prepare(self, subject: Subject, task: str, folder: Path) -> None:  # noqa: B027 most have nothing to prepare
        """Do what is not measured."""

    @abstractmethod
    async def measure(self, subject: Subject, task: str) -> Round:
        """Run one round."""


class SmallGet(Case):
    """A GET with a small answer, by wrk."""

    cost_unit = "µs CPU per request"
    rate_unit = "requests/s"
    connections: ClassVar[int] = 64
    seconds: ClassVar[int] = 4

    @abstractmethod
    def path(self, task: str) -> str:
        """Say what is asked for."""

    async def measure(self, subject: Subject, task: str) -> Round:
        """Load it for some seconds."""
        before_s = subject.cpu_s()
        command = [
            program("wrk"),
            "-t1",
            f"-c{self.connections}",
            f"-d{self.seconds}s",
            "--latency",
            subject.url + self.path(task),
        ]
        text = await output_of(command)
        requests = int(found(r"(\d+) requests in", text))
        if "Non-2xx" in text:
            raise SystemExit(f"{subject.name}: {text}")
        cost = (subject.cpu_s() - before_s) / requests * 1e6
        return Round(cost, requests / self.seconds, milliseconds(found(r"99%\s+([\d.]+\w+)", text)))


class Info(SmallGet):
    """What every client asks first."""

    name = "info"
    sentence = "GET /info, 64 kept connections: ours answers from memory, nginx relays to the node."

    def path(self, task: str) -> str:
        """Ask the cluster."""
        del task
        return "/info"


class TaskInfo(SmallGet):
    """What every client asks again and again."""

    name = "task-info"
    sentence = "GET /task/<id>/info of a running task, 64 kept connections: both relay to the node."
    of_running_task = True

    def path(self, task: str) -> str:
        """Ask for a finished task."""
        return f"/task/{task}/info"


class Downloads(Case):
    """Results to clients."""

    name = "downloads"
    sentence = "GET all.zip (256 MB) by 4 clients at once, streamed from the node."
    cost_unit = "CPU s per GB"
    rate_unit = "MB/s"
    clients: ClassVar[int] = 4

    async def measure(self, subject: Subject, task: str) -> Round:
        """Download at once."""
        began_s, before_s = time.monotonic(), subject.cpu_s()
        url = f"{subject.url}/task/{task}/download/all.zip"
        command = [program("curl"), "-sf", "--noproxy", "*", "-o", "/dev/null", "-w", "%{size_download}", url]
        sizes = [int(text) for text in await asyncio.gather(*(output_of(command) for _ in range(self.clients)))]
        return per_gigabyte(sum(sizes), subject.cpu_s() - before_s, time.monotonic() - began_s)


class Uploads(Case):
    """Images from clients."""

    name = "uploads"
    sentence = (
        "64 images of 4 MB, 8 uploads at once: ours parses and stores them, nginx buffers and relays them to the node."
    )
    cost_unit = "CPU s per GB"
    rate_unit = "MB/s"
    at_once: ClassVar[int] = 8
    count: ClassVar[int] = 64
    size_bytes: ClassVar[int] = 4 * MB

    def __init__(self) -> None:
        self._images: list[Path] = []

    async def prepare(self, subject: Subject, task: str, folder: Path) -> None:
        """Write the images."""
        del subject, task
        self._images = make_images(folder / "images", self.count, size_bytes=self.size_bytes)

    async def measure(self, subject: Subject, task: str) -> Round:
        """Upload one dataset, not committed."""
        del task
        async with httpx.AsyncClient(base_url=subject.url, trust_env=False) as http:
            upload = (await http.post("/task/new/init", data={"name": "bench"})).json()["uuid"]
        began_s, before_s = time.monotonic(), subject.cpu_s()
        room = asyncio.Semaphore(self.at_once)

        async def send(path: Path) -> None:
            async with room:
                url = f"{subject.url}/task/new/upload/{upload}"
                answer = await output_of(
                    [program("curl"), "-sf", "--noproxy", "*", "-H", "Expect:", "-F", f"images=@{path}", url]
                )
                if json.loads(answer) != {"success": True}:
                    raise SystemExit(f"{subject.name}: {answer}")

        await asyncio.gather(*map(send, self._images))
        return per_gigabyte(self.count * self.size_bytes, subject.cpu_s() - before_s, time.monotonic() - began_s)


CASES: tuple[type[Case], ...] = (Info, TaskInfo, Downloads, Uploads)


def per_gigabyte(size_bytes: int, used_s: float, took_s: float) -> Round:
    """Relate CPU and wall time to what was moved."""
    return Round(used_s / (size_bytes / GB), size_bytes / MB / took_s)


async def output_of(command: list[str]) -> str:
    """Run a program; its standard output. SystemExit when it fails."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    told, trouble = await asyncio.wait_for(process.communicate(), timeout=120)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}: {trouble.decode(errors='replace')}")
    return told.decode()


def found(pattern: str, text: str) -> str:
    """Read one figure out of a program's output."""
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"no {pattern} in: {text}")
    return match[1]


def milliseconds(text: str) -> float:
    """Read wrk's way of writing a duration."""
    factors = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * factors[unit]
