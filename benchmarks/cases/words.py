"""What words of the command line cost: a program of a moment is mostly what it loads."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.cases.case import Case, Contender, Metric
from benchmarks.stages import Bare
from tests.cluster import Cluster

PROGRAM = Path(sys.executable).with_name("clusterodm")
WORDS = {
    "--help": ("--help",),
    "a mistake": ("task", "lst"),
    "completion": ("completion", "values", "task"),
    "node list": ("node", "list"),
    "task list": ("task", "list"),
    "node lock": ("node", "lock", "1"),
}
TIMES_COUNT = 9


class Words(Case[Bare]):
    """Words of the command line against a running cluster."""

    name = "words"
    sentence = (
        f"The CPU time of words of the command line against a running cluster (the middle of {TIMES_COUNT}), and how long `node list` takes "
        "from beginning to end. `node lock` is an act: it is put on record before it ends. Beside them what Python alone takes."
    )
    metrics = (*(Metric(word, "ms", 0) for word in WORDS), Metric("until node list ends", "ms", 0))
    stage = Bare
    rounds_limit_count = 3

    async def contenders(self) -> Sequence[Contender]:
        """Name the program, and the language that it is written in."""
        return [
            Contender("clusterodm", "finds the cluster, asks it, prints", self.ours),
            Contender("Python", "`-c pass`", partial(asyncio.to_thread, python_alone)),
        ]

    async def ours(self) -> dict[str, float]:
        """Start a cluster with a node, and run each word some times."""
        async with a_cluster(self.on.folder / "words") as cluster:
            environment = {**os.environ, "CLUSTERODM_NATS_URL": cluster.nats.url}
            return await asyncio.to_thread(each_word, environment)


@asynccontextmanager
async def a_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Start a cluster with one node, and end it."""
    async with Cluster(folder, services=("scheduler", "proxy")) as cluster, cluster.node():
        yield cluster


def each_word(environment: dict[str, str]) -> dict[str, float]:
    """Run all words."""
    ran = {word: several([str(PROGRAM), *words], environment) for word, words in WORDS.items()}
    figures = {word: median(cpu_ms for cpu_ms, _ in times) for word, times in ran.items()}
    return {**figures, "until node list ends": median(wall_ms for _, wall_ms in ran["node list"])}


def python_alone() -> dict[str, float]:
    """Run nothing, in Python."""
    times = several([sys.executable, "-c", "pass"], dict(os.environ))
    cpu_ms = median(each for each, _ in times)
    return {**dict.fromkeys(WORDS, cpu_ms), "until node list ends": median(wall_ms for _, wall_ms in times)}


def several(words: list[str], environment: dict[str, str]) -> list[tuple[float, float]]:
    """Run a program some times: CPU and wall time of each, in ms."""
    return [once(words, environment) for _ in range(TIMES_COUNT)]


def once(words: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program to its end, whatever it says."""
    began_s = time.monotonic()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (used.ru_utime + used.ru_stime) * 1000, (time.monotonic() - began_s) * 1000
