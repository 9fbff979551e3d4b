"""What a case is: contenders that are measured in turn, round by round."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from benchmarks.figures import Metric, Numbers
from benchmarks.stages import Stage
from benchmarks.subjects import Subject

GB = 1e9
MB = 1024 * 1024
On = TypeVar("On", bound=Stage)


@dataclass(frozen=True)
class Contender:
    """One that is measured; the first of a case is ours."""

    name: str
    does: str
    """What it does in this case, in a few words: they do not all do the same work."""
    measure: Callable[[], Awaitable[Numbers]]
    """Run one round."""


class Case(ABC, Generic[On]):
    """One path."""

    name: ClassVar[str]
    sentence: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    """The first is what ratios compare: the less, the better."""
    stage: ClassVar[type[Stage]]
    rounds_limit_count: ClassVar[int] = 9
    """More rounds than this tell nothing new."""
    warms_up: ClassVar[bool] = True
    """The first round does not count."""

    def __init__(self, on: On) -> None:
        self.on = on

    @abstractmethod
    async def contenders(self) -> Sequence[Contender]:
        """Prepare what is not measured, and name who is measured."""


CPU_PER_GB = Metric("CPU", "s/GB", 3)
RATE_MB = Metric("rate", "MB/s", 0)
CPU_PER_REQUEST = Metric("CPU", "µs/request", 0)
RATE_REQUESTS = Metric("rate", "requests/s", 0)
PER_CPU_S = Metric("requests per CPU s", "", 0)
P50 = Metric("p50", "ms", 1)
P99 = Metric("p99", "ms", 1)


def per_gigabyte(cpu_s: float, moved: Numbers) -> dict[str, float]:
    """Relate CPU and wall time to what was moved."""
    return {"CPU": cpu_s / (moved["bytes"] / GB), "rate": moved["bytes"] / MB / moved["seconds"]}


async def moving(subject: Subject, load: Awaitable[Numbers]) -> dict[str, float]:
    """Let a load run and say what it cost the subject per gigabyte."""
    before_s = subject.cpu_s()
    moved = await load
    return per_gigabyte(subject.cpu_s() - before_s, moved)
