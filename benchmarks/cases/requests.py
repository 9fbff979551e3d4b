"""Small answers: `/info` and polls, by wrk."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from benchmarks.cases.case import CPU_PER_REQUEST, P50, P99, PER_CPU_S, RATE_REQUESTS, Case, Contender
from benchmarks.programs import Broken, found, milliseconds, output_of, program
from benchmarks.stages import Doors
from benchmarks.subjects import Subject

RELAYS = "relays to the node over kept connections"


class SmallGet(Case[Doors]):
    """A GET with a small answer."""

    metrics = (CPU_PER_REQUEST, PER_CPU_S, RATE_REQUESTS, P50, P99)
    stage = Doors
    connections_count: ClassVar[int] = 64
    seconds: ClassVar[int] = 3
    header: ClassVar[str] = ""

    @property
    @abstractmethod
    def path(self) -> str:
        """What is asked for."""

    def options(self) -> list[str]:
        """Say what wrk is told besides."""
        return []

    @abstractmethod
    def does(self) -> dict[str, str]:
        """Say what each does."""

    async def contenders(self) -> Sequence[Contender]:
        """Name all doors."""
        wrk = program("wrk")
        does = self.does()
        return [
            Contender(subject.name, does[subject.name], partial(self.load, wrk, subject))
            for subject in (self.on.ours, *self.on.peers)
        ]

    async def load(self, wrk: str, subject: Subject) -> dict[str, float]:
        """Load one for some seconds."""
        before_s = subject.cpu_s()
        more = [*(["-H", self.header] if self.header else []), *self.options()]
        options = ["-t1", f"-c{self.connections_count}", f"-d{self.seconds}s", "--latency", *more]
        text = await output_of(wrk, *options, subject.url(self.path))
        used_s = subject.cpu_s() - before_s
        if "Non-2xx" in text:
            raise Broken(f"{subject.name} {self.path}: {text}")
        requests = int(found(r"(\d+) requests in", text))
        return {
            "CPU": used_s / requests * 1e6,
            "requests per CPU s": requests / used_s,
            "rate": requests / self.seconds,
            "p50": milliseconds(found(r"50%\s+([\d.]+\w+)", text)),
            "p99": milliseconds(found(r"99%\s+([\d.]+\w+)", text)),
        }


class Info(SmallGet):
    """What every client asks first."""

    name = "info"
    sentence = "What one GET /info costs, 64 kept connections."

    @property
    def path(self) -> str:
        """The cluster's own."""
        return "/info"

    def does(self) -> dict[str, str]:
        """Say what each does."""
        memory = "answers from memory"
        return {"clusterodm": memory, "nginx": RELAYS, "HAProxy": RELAYS, "Node.js": f"{memory} (http module alone)"}


class TaskInfo(SmallGet):
    """What every client asks again and again."""

    name = "task-info"
    sentence = "What one GET /task/<id>/info of a running task costs, 64 kept connections."

    @property
    def path(self) -> str:
        """The task that runs."""
        return f"/task/{self.on.task}/info"

    def does(self) -> dict[str, str]:
        """Say what each does."""
        return {
            "clusterodm": "asks the node twice a second, translates the answer; has it confirmed for who asks meanwhile",
            "nginx": RELAYS,
            "HAProxy": RELAYS,
            "Node.js": "relays with http-proxy, a new connection per request",
        }


class TaskInfos(TaskInfo):
    """What many clients ask."""

    name = "task-info-64-tasks"
    sentence = "The same poll, of 64 different tasks in turn: hardly any two ask the same at the same moment."
    SCRIPT = """
local paths, at = {%s}, 0
request = function()
  at = at %% #paths + 1
  return wrk.format("GET", paths[at])
end
"""

    def options(self) -> list[str]:
        """Let a script choose what is asked for."""
        script = self.on.folder / "tasks.lua"
        script.write_text(self.SCRIPT % ", ".join(f'"/task/{task}/info"' for task in self.on.tasks))
        return ["-s", str(script)]


class TaskInfoNewConnections(TaskInfo):
    """The same, as PyODM and WebODM do it."""

    name = "task-info-new-connections"
    sentence = "The same poll by clients that open a connection for each request, as PyODM does; 64 at once."
    header = "Connection: close"
