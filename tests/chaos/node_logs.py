"""What the nodes themselves say: where tasks ran, when, and with which files. Read from their event logs.

A task has attempts, each with an id of its own on its node; `Run` is one attempt being processed there. It lasts from
`task_started` to its end on that node: finished, canceled, removed, or the end of the node's process, because a killed
node works on nothing and a stopped one goes on with a new `task_started`.

Somebody who cannot reach a node must at some time take its tasks for lost. `Outage` is a time in which the test kept a
node from being reached; a run counts as over for the others once an outage has lasted for the whole grace.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.nodesim.testing import NodeSimProcess

HEARD_BEFORE_S = 1.25
"""A node that is asked about twice a second gave its last sign of life up to so long before it was cut off."""
ENDS = ("task_finished", "task_canceled", "task_removed", "task_restarted", "tasks_forgotten")


@dataclass(frozen=True)
class Run:
    """One attempt, while its node worked on it."""

    task: str
    """The id on the node."""
    node: int
    """The port that the node really listens on."""
    began_ms: int
    ended_ms: float

    def __repr__(self) -> str:
        """Show it in one line."""
        return f"{self.task[:8]} on :{self.node} {self.began_ms % 10**7}..{self.ended_ms % 10**7:.0f}"


@dataclass(frozen=True)
class Outage:
    """A time in which a node could not be reached, or was dead."""

    node: int
    began_ms: int
    ended_ms: int
    killed: bool = False


def runs_of(node: NodeSimProcess, outages: Iterable[Outage]) -> list[Run]:
    """All runs of a node."""
    kills_ms = [outage.began_ms for outage in outages if outage.killed and outage.node == node.port]
    events = node.events()
    return [
        Run(event["task"], node.port, event["at_ms"], _end_ms(event, events[number + 1 :], kills_ms))
        for number, event in enumerate(events)
        if event["event"] == "task_started"
    ]


def _end_ms(started: dict[str, object], later: Sequence[dict[str, object]], kills_ms: Sequence[int]) -> float:
    began_ms = started["at_ms"]
    assert isinstance(began_ms, int)
    ends_ms = [kill_ms for kill_ms in kills_ms if kill_ms >= began_ms]
    for event in later:
        at_ms = event["at_ms"]
        assert isinstance(at_ms, int)
        same = event.get("task") in {None, started["task"]}
        if event["pid"] != started["pid"] or (same and event["event"] in ENDS):
            ends_ms.append(at_ms)
            break
    return float(min(ends_ms, default=float("inf")))


def given_up_ms(run: Run, outages: Iterable[Outage], grace_s: float) -> float:
    """When somebody who could not reach its node was right to take the run for lost: so long after its last sign of life."""
    return min(
        (
            max(outage.began_ms + (grace_s - HEARD_BEFORE_S) * 1000, run.began_ms)
            for outage in outages
            if outage.node == run.node
            and outage.began_ms < run.ended_ms
            and outage.ended_ms > run.began_ms
            and outage.ended_ms - outage.began_ms >= grace_s * 1000
        ),
        default=float("inf"),
    )


def overlaps(runs: Iterable[Run], outages: Sequence[Outage], grace_s: float) -> list[tuple[Run, Run]]:
    """Pairs of runs of one task that went on at the same time, though nobody had a reason to take the first for lost."""
    seen = [replace(run, ended_ms=min(run.ended_ms, given_up_ms(run, outages, grace_s))) for run in runs]
    ordered = sorted(seen, key=lambda run: run.began_ms)
    return [
        (first, second)
        for number, first in enumerate(ordered)
        for second in ordered[number + 1 :]
        if second.began_ms < first.ended_ms
    ]


def runs_by_task(runs: Iterable[Run], tasks: Iterable[Task]) -> dict[str, list[Run]]:
    """Gather the runs of all attempts of each task."""
    public = {attempt.node_task_id: task.id for task in tasks for attempt in task.attempts}
    gathered: dict[str, list[Run]] = {}
    for run in runs:
        gathered.setdefault(public.get(run.task, run.task), []).append(run)  # type: ignore[call-overload]
    return gathered


def files_received(node: NodeSimProcess, node_task: str) -> Counter[tuple[str, str, bool]]:
    """Every file that a node stored for an attempt: name, digest, complete; each as often as it came."""
    return Counter(
        (event["file"], event["sha256"], event["complete"]) for event in node.events("file_stored", task=node_task)
    )
