"""A thousand waiting tasks against a provider with limits and failures, in simulated time: part of `make simulate`.

    python -m benchmarks.simulate_autoscaler [--only 50] [--write]

The real core decides; provider, scheduler and clock are played (benchmarks/simulation/fleet.py). Each row of the table is one
situation. Cost and makespan stand beside what nobody could fall below: every task on the cheapest size that takes it, machines
that come and go as fast as any ever does, no failure, and the limit used to the full at every moment. Every situation is played with
three seeds; told are the means, and of `most at once` and `turns` the most. `turns` counts how often
the number of machines turned round (up, then down again, or the other way): one is a single hill, which is what one burst of
tasks should make. `asked for` counts requests, refused ones too; `unused` are machines that came and went without a task.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.__main__ import PLOTS, REPOSITORY, say
from benchmarks.figures import replaced, table
from benchmarks.simulation.fleet import BOOT_S, DESTROY_S, SIZES, Job, Point, Simulation, Situation, trace
from clusterodm.services.autoscaler.machine_life.history import HOUR_MS
from clusterodm.services.autoscaler.orders import Size

PAGE: Final = REPOSITORY / "docs" / "autoscaler.md"
TASKS_COUNT: Final = 1000
SEEDS: Final = (1, 2, 3)
MARKER: Final = "autoscaler simulation"
POINTS_COUNT: Final = 200
NOISE_COUNT: Final = 3
NOISE_PART: Final = 0.15
"""A change of direction by fewer machines than both is none."""
SITUATIONS: Final = (
    Situation(name="no limit, no failure"),
    Situation(name="50 machines", limits={"machines_count": 50}),
    Situation(
        name="50, used again", limits={"machines_count": 50, "tasks_per_machine_count": 0, "idle_timeout_s": 120}
    ),
    Situation(name="50, 10 % fail", limits={"machines_count": 50}, failing_part=0.1),
    Situation(name="50, 30 % fail, 2 % vanish", limits={"machines_count": 50}, failing_part=0.3, lost_part=0.02),
    Situation(name="provider's quota of 40", quota=40),
    Situation(name="5 per hour to spend", limits={"max_hourly_cost": 5.0}),
    Situation(name="60 per day to spend", limits={"max_daily_cost": 60.0}),
)


@dataclass(frozen=True)
class Bound:
    """What nobody could fall below."""

    cost: float
    hours: float


@dataclass(frozen=True)
class Row:
    """One situation and what came of it."""

    situation: Situation
    done: Simulation
    bound: Bound

    @property
    def hours(self) -> float:
        """From the beginning to the end of the last task."""
        return (self.done.ended_ms - self.done.begun_ms) / HOUR_MS

    @property
    def most_count(self) -> int:
        """The most machines at a time."""
        return max(point.machines_count for point in self.done.curve)

    @property
    def turns_count(self) -> int:
        """How often the number of machines turned round."""
        noise = max(NOISE_COUNT, round(self.most_count * NOISE_PART))
        return turns([point.machines_count for point in self.done.curve], noise)


def cells(rows: Sequence[Row]) -> list[str]:
    """Make a line of the table of the runs of one situation."""
    cost, best_cost = fmean(row.done.cost for row in rows), fmean(row.bound.cost for row in rows)
    hours, best_hours = fmean(row.hours for row in rows), fmean(row.bound.hours for row in rows)
    counts = (fmean(row.done.asked_count for row in rows), fmean(row.done.unused_count for row in rows))
    return [
        *(rows[0].situation.name, f"{cost:.2f}", f"{best_cost:.2f}", f"{cost / best_cost:.2f}"),
        *(f"{hours:.2f}", f"{best_hours:.2f}", f"{hours / best_hours:.2f}"),
        *(f"{count:.0f}" for count in counts),
        *(str(max(row.most_count for row in rows)), str(max(row.turns_count for row in rows))),
    ]


HEADS: Final = ["", "cost", "best", "÷", "hours", "best", "÷", "asked for", "unused", "most at once", "turns"]


def cheapest(job: Job) -> Size:
    """Find the cheapest size that takes a task."""
    return next(size for size in SIZES if size.max_images >= job.task.images_count)


def best_possible(jobs: Sequence[Job], situation: Situation) -> Bound:
    """Work out what nobody could fall below."""
    limits = situation.limits
    boot_ms, leave_ms = BOOT_S[0] * 1000, DESTROY_S[0] * 1000
    once_ms = boot_ms + leave_ms if limits.get("tasks_per_machine_count", 1) else 0.0
    cost = sum((cheapest(job).price_per_hour or 0) * (job.run_ms + once_ms) / HOUR_MS for job in jobs)
    work_hours = sum(job.run_ms + once_ms for job in jobs) / HOUR_MS
    hours = [(max(job.run_ms for job in jobs) + boot_ms) / HOUR_MS]
    if most := limits.get("machines_count", situation.quota):
        hours.append(work_hours / most)
    if per_hour := limits.get("max_hourly_cost"):
        hours.append(cost / per_hour)
    if per_day := limits.get("max_daily_cost"):
        hours.append((cost / per_day - 1) * 24)
    return Bound(cost, max(hours))


def turns(counts: Sequence[int], noise: int) -> int:
    """Count how often a curve turned round by more than the noise."""
    found, direction, extreme = 0, 1, counts[0]
    for count in counts:
        if (count - extreme) * direction >= 0:
            extreme = count
        elif abs(count - extreme) > noise:
            found, direction, extreme = found + 1, -direction, count
    return found


def simulated(count: int, seeds: Sequence[int] = SEEDS, only: str = "") -> list[list[Row]]:
    """Play every situation, once with each seed."""
    jobs = {seed: trace(count, seed) for seed in seeds}
    found = []
    for situation in SITUATIONS:
        if situation.name.startswith(only):
            began_s = time.monotonic()
            done = {seed: Simulation(situation, jobs[seed], seed).run() for seed in seeds}
            found.append([Row(situation, each, best_possible(jobs[seed], situation)) for seed, each in done.items()])
            plans = sum(len(each.curve) for each in done.values())
            say(f"{situation.name}: {plans} plans, {time.monotonic() - began_s:.1f} s")
    return found


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw both curves of every situation, of one run."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "clusterodm", "font.size": 8}
    import matplotlib.pyplot as plt

    lines = -(-len(rows) // 2)
    figure, panels = plt.subplots(lines, 2, figsize=(8, 1.7 * lines), squeeze=False)
    for panel in panels.flat[len(rows) :]:
        panel.set_visible(False)
    for panel, row in zip(panels.flat, rows, strict=False):
        points = thinned(row.done.curve)
        hours = [(point.at_ms - row.done.begun_ms) / HOUR_MS for point in points]
        panel.plot(hours, [point.machines_count for point in points], color="#d9480f", lw=0.9, label="machines")
        other = panel.twinx()
        other.plot(hours, [point.waiting_count for point in points], color="#868e96", lw=0.9, label="waiting tasks")
        panel.axvline(row.bound.hours, color="#495057", lw=0.7, ls=":")
        panel.set_title(row.situation.name, loc="left", fontsize=8)
        panel.set_ylim(bottom=0)
        other.set_ylim(bottom=0)
        panel.spines["top"].set_visible(False)
        other.spines["top"].set_visible(False)
    figure.supxlabel("hours (dotted: shortest possible); left, red: machines; right, grey: waiting tasks", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def thinned(curve: Sequence[Point]) -> list[Point]:
    """Take as many points as a drawing shows."""
    step = -(-len(curve) // POINTS_COUNT)
    return [*curve[::step], curve[-1]]


def autoscaled(only: str = "", *, write: bool = False) -> None:
    """Run situations, print the table, and write it and the plot where asked."""
    played = simulated(TASKS_COUNT, only=only)
    lines = table(HEADS, [cells(rows) for rows in played])
    if played:
        print("\n".join(lines))
    if played and write:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), MARKER, lines), encoding="utf-8")
        draw([rows[0] for rows in played], PLOTS / "autoscaler.svg")


def main(arguments: Sequence[str]) -> int:
    """Run this part alone."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="simulate_autoscaler", description="Simulate the autoscaler's decisions."
    )
    parser.add_argument("--only", default="", help="situations whose names begin so")
    parser.add_argument("--write", action="store_true", help="replace table and plot in docs/")
    asked = parser.parse_args(arguments)
    autoscaled(asked.only, write=asked.write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
