"""What a run was worth: makespan and waiting against what was possible, and how evenly waiting was shared. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.figures import percentile
from benchmarks.simulation.optimum import Best, mean_flow_bound
from benchmarks.simulation.world import Played


@dataclass(frozen=True)
class Outcome:
    """Figures of one run of one trace."""

    name: str
    exact: bool
    """The optimum is known; else the ratio to the bound is too bad, and that to the best schedule found too good."""
    to_bound: float
    """Makespan divided by what nobody can fall below."""
    to_found: float
    """Makespan divided by that of the best schedule that was found by one who knows everything."""
    flow_to_bound: float
    """Mean time from coming to ending, divided by a bound."""
    wait_mean_s: float
    wait_p95_s: float
    by_owner: float
    """Mean wait of the owner that waited longest divided by that of all; 1: all alike."""
    by_size: float
    """Mean wait of the smaller half of the tasks divided by that of the larger half."""


def outcome(played: Played, optimum: Best) -> Outcome:
    """Work the figures out."""
    waits_s, tasks = played.waits_s, played.trace.tasks
    mean_s = statistics.fmean(waits_s)
    middle = statistics.median(task.work_s for task in tasks)
    sizes = grouped((task.work_s > middle for task in tasks), waits_s)
    owners = grouped((task.owner for task in tasks), waits_s)
    return Outcome(
        name=played.trace.name,
        exact=optimum.exact,
        to_bound=played.makespan_s / optimum.bound_s,
        to_found=played.makespan_s / optimum.found_s,
        flow_to_bound=statistics.fmean(played.flows_s) / mean_flow_bound(played.trace),
        wait_mean_s=mean_s,
        wait_p95_s=percentile(waits_s, 95),
        by_owner=max(owners.values()) / mean_s if mean_s else 1.0,
        by_size=sizes[False] / sizes[True] if sizes.get(True) and False in sizes else 1.0,
    )


def grouped(keys: Iterable[object], waits_s: Sequence[float]) -> dict[object, float]:
    """Average waits by a key."""
    groups: defaultdict[object, list[float]] = defaultdict(list)
    for key, wait_s in zip(keys, waits_s, strict=True):
        groups[key].append(wait_s)
    return {key: statistics.fmean(group) for key, group in groups.items()}


def middle(outcomes: Sequence[Outcome]) -> Outcome:
    """Take the median of each figure over several seeds."""

    def of(name: str) -> float:
        return statistics.median(getattr(one, name) for one in outcomes)

    return Outcome(
        name=outcomes[0].name,
        exact=all(one.exact for one in outcomes),
        to_bound=of("to_bound"),
        to_found=of("to_found"),
        flow_to_bound=of("flow_to_bound"),
        wait_mean_s=of("wait_mean_s"),
        wait_p95_s=of("wait_p95_s"),
        by_owner=of("by_owner"),
        by_size=of("by_size"),
    )
