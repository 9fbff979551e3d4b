"""What happened, or could have: nodes that come and go, tasks that come. Pure; the JSON of a recorded trace is these Structs.

Work is in seconds on a node of speed 1. Times are seconds since the trace began. A node that is lost stays lost.
"""

import math
import random
from collections.abc import Callable
from typing import Final

import msgspec


class TraceNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node as the world has it; how fast it is, no scheduler is told."""

    name: str
    speed: float = 1.0
    slots: int = 1
    max_images: int | None = None
    from_s: float = 0.0
    until_s: float | None = None
    """When it is lost."""


class TraceTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task as it comes."""

    at_s: float
    work_s: float
    images: int = 1
    owner: str = ""


class Trace(msgspec.Struct, frozen=True):
    """One run."""

    name: str
    nodes: tuple[TraceNode, ...]
    tasks: tuple[TraceTask, ...]
    """In the order in which they come."""


def read(content: bytes) -> Trace:
    """Read a recorded trace. Raises msgspec.ValidationError, ValueError."""
    trace = msgspec.json.decode(content, type=Trace)
    if not trace.nodes or not trace.tasks:
        raise ValueError(f"{trace.name}: a trace needs nodes and tasks")
    if any(task.work_s <= 0 for task in trace.tasks) or any(node.speed <= 0 for node in trace.nodes):
        raise ValueError(f"{trace.name}: work and speed are larger than 0")
    return Trace(trace.name, trace.nodes, tuple(sorted(trace.tasks, key=lambda task: task.at_s)))


def written(trace: Trace) -> bytes:
    """Write a trace as JSON, a line per node and task."""
    return msgspec.json.format(msgspec.json.encode(trace), indent=1) + b"\n"


# --- synthetic -----------------------------------------------------------------------------------------------------

HOUR_S: Final = 3600.0
S_PER_IMAGE: Final = 12.0


def sized(chance: random.Random, at_s: float, owner: str = "", images: int | None = None) -> TraceTask:
    """Make a task: work grows with its images, with some luck."""
    count = images if images is not None else min(2_000, max(10, round(chance.lognormvariate(math.log(120), 0.9))))
    return TraceTask(at_s, count * S_PER_IMAGE * chance.lognormvariate(0, 0.25), count, owner)


def poisson(chance: random.Random, count: int, mean_gap_s: float) -> list[float]:
    """Make times of arrival."""
    at_s, times = 0.0, []
    for _ in range(count):
        at_s += chance.expovariate(1 / mean_gap_s)
        times.append(at_s)
    return times


def nodes_of(speeds: list[float], **more: int | None) -> tuple[TraceNode, ...]:
    """Make nodes from speeds."""
    return tuple(TraceNode(f"n{number}", speed, **more) for number, speed in enumerate(speeds))  # type: ignore[arg-type]


def ordered(name: str, nodes: tuple[TraceNode, ...], tasks: list[TraceTask]) -> Trace:
    """Put a trace together."""
    return Trace(name, nodes, tuple(sorted(tasks, key=lambda task: task.at_s)))


def alike(chance: random.Random) -> Trace:
    """Equal nodes, a batch of different sizes."""
    return ordered("batch, equal nodes", nodes_of([1.0] * 4), [sized(chance, 0) for _ in range(11)])


def uneven(chance: random.Random) -> Trace:
    """Put a slow node among fast ones, with a batch of equal tasks: the last one may go to the slow node."""
    slow = chance.uniform(0.2, 0.5)
    tasks = [TraceTask(0, 1800.0, 150) for _ in range(12)]
    return ordered("batch, one slow node", nodes_of([slow, 1.0, 1.0]), tasks)


def trickle(chance: random.Random) -> Trace:
    """Few nodes of different speed, tasks one after the other, small enough for an exact optimum."""
    speeds = [chance.uniform(0.4, 2.0) for _ in range(3)]
    mean_gap_s = 120 * S_PER_IMAGE * 1.5 / sum(speeds) / 0.9
    return ordered(
        "trickle, 3 uneven nodes", nodes_of(speeds), [sized(chance, at) for at in poisson(chance, 11, mean_gap_s)]
    )


def lost(chance: random.Random) -> Trace:
    """Lose a node in the middle of a batch."""
    nodes = nodes_of([1.0, 1.0, chance.uniform(0.5, 2.0)])
    gone = msgspec.structs.replace(nodes[1], until_s=chance.uniform(600, 3000))
    return ordered("batch, one node lost", (nodes[0], gone, nodes[2]), [sized(chance, 0) for _ in range(10)])


def steady(chance: random.Random) -> Trace:
    """Make a day of a busy cluster with slow and fast nodes."""
    speeds = [chance.lognormvariate(0, 0.5) for _ in range(12)]
    mean_gap_s = 180 * S_PER_IMAGE / sum(speeds) / 0.9
    tasks = [sized(chance, at, f"owner {number % 4}") for number, at in enumerate(poisson(chance, 300, mean_gap_s))]
    return ordered("steady day, 12 uneven nodes", nodes_of(speeds), tasks)


def bursts(chance: random.Random) -> Trace:
    """One owner sends forty at a time, two others one now and then."""
    speeds = [chance.choice([0.5, 1.0, 2.0]) for _ in range(10)]
    tasks = [sized(chance, burst * 2 * HOUR_S + number, "bulk") for burst in range(4) for number in range(40)]
    tasks += [sized(chance, at, f"single {number % 2}", 60) for number, at in enumerate(poisson(chance, 60, 480))]
    return ordered("bursts, 10 uneven nodes", nodes_of(speeds), tasks)


def limits(chance: random.Random) -> Trace:
    """Nodes with limits of images; small tasks must not fill the only large node."""
    nodes = tuple(
        TraceNode(f"n{number}", chance.uniform(0.7, 1.5), 1, limit)
        for number, limit in enumerate([100, 100, 100, 300, 300, 800, None])
    )
    tasks = [sized(chance, at) for at in poisson(chance, 120, 180 * S_PER_IMAGE / 7 / 0.8)]
    return ordered("limits of images, 7 nodes", nodes, tasks)


def storm(chance: random.Random) -> Trace:
    """Nodes are lost and others come, all day."""
    nodes = [
        TraceNode(
            f"n{number}",
            chance.uniform(0.5, 2),
            2,
            None,
            number * 900.0,
            number * 900.0 + chance.uniform(4, 12) * HOUR_S,
        )
        for number in range(14)
    ]
    stays = [TraceNode(f"stays{number}", 1.0, 2) for number in range(4)]
    tasks = [sized(chance, at) for at in poisson(chance, 250, 100)]
    return ordered("nodes come and are lost", (*nodes, *stays), tasks)


def large(chance: random.Random) -> Trace:
    """Send two thousand tasks at once to a hundred nodes."""
    speeds = [chance.choice([0.25, 0.5, 1.0, 1.0, 2.0]) for _ in range(100)]
    return ordered(
        "2,000 at once, 100 nodes", nodes_of(speeds), [sized(chance, number * 0.5) for number in range(2_000)]
    )


SYNTHETIC: Final[tuple[Callable[[random.Random], Trace], ...]] = (
    alike,
    uneven,
    trickle,
    lost,
    steady,
    bursts,
    limits,
    storm,
    large,
)
