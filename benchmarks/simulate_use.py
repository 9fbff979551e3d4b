"""Small tasks in bursts and in a trickle, by how machines are billed and used: the second table of docs/autoscaler.md.

    python -m benchmarks.simulate_use [--write]

Each situation is played with three seeds; told are the means. *Best* is what nobody could fall below who knows everything beforehand and
lets tasks wait as long as he likes: all work on the cheapest size that takes it, one start where machines are used again and one per
task where not, and, where units are billed, no unit that is not full. So it says nothing of waiting, which stands beside it.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean
from typing import Any, Final

from benchmarks.__main__ import REPOSITORY, say
from benchmarks.figures import percentile, replaced, table
from benchmarks.simulation.fleet import BOOT_S, DESTROY_S, SIZES, Job, Simulation, Situation, trace
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.autoscaler.config.core.configuration import ProviderLimits
from clusterodm.services.autoscaler.machine_life.history import HOUR_MS
from clusterodm.services.autoscaler.orders import Size

PAGE: Final = REPOSITORY / "docs" / "autoscaler.md"
MARKER: Final = "autoscaler use"
SEEDS: Final = (1, 2, 3)
HOURLY: Final = tuple(replace(size, billed_unit_s=3600) for size in SIZES)


def priced(part: float, **changes: Any) -> tuple[Size, ...]:
    """Make the sizes at a part of their price."""
    return tuple(replace(size, price_per_hour=(size.price_per_hour or 0) * part, **changes) for size in SIZES)


SPOT: Final = priced(0.3)
FALLBACK: Final = (*priced(0.3, spot=True, interruptions_limit_count=1), *SIZES)
FIRST, SECOND_CLOUD = "first", "second"
CLOUDS: Final = (*priced(1.0, provider=FIRST), *priced(1.5, provider=SECOND_CLOUD))
CLOUDS_BY_HOUR: Final = (*priced(1.0, provider=FIRST, billed_unit_s=3600), *priced(1.5, provider=SECOND_CLOUD))
SPOT_CLOUDS: Final = (
    *priced(0.3, provider=FIRST, spot=True, interruptions_limit_count=1),
    *priced(1.0, provider=SECOND_CLOUD),
)
TWO: Final = tuple(ProviderLimits(name=name, regions=(name,)) for name in (FIRST, SECOND_CLOUD))
Limits = dict[str, Any]
ONE_EACH: Final[Limits] = {"tasks_per_machine_count": 1}


def again(target_wait_s: int = 0, idle_timeout_s: int = 0, **more: Any) -> Limits:
    """Say that machines are used again."""
    return {
        "tasks_per_machine_count": 0,
        "target_wait_s": target_wait_s,
        "idle_timeout_s": idle_timeout_s,
        "create_rate_count": 20 if target_wait_s else None,
        **more,
    }


def burst(seed: int) -> list[Job]:
    """Make three hundred tasks of a minute that come at once."""
    return small(random.Random(seed), 300, lambda _number: 0)


def trickle(seed: int) -> list[Job]:
    """Make two hundred tasks of a minute, one every two minutes in the mean."""
    chance = random.Random(seed)
    times, at_ms = [], 0.0
    for _ in range(200):
        at_ms += chance.expovariate(1 / 120_000)
        times.append(round(at_ms))
    return small(chance, 200, times.__getitem__)


def mixed(seed: int) -> list[Job]:
    """Make two hundred tasks of all sizes that come at once."""
    return trace(200, seed)


def small(chance: random.Random, count: int, after_ms: Callable[[int], int]) -> list[Job]:
    """Make tasks of about a minute."""
    return [
        Job(
            WaitingTask(task=TaskId(f"t{number:04}"), images_count=chance.randrange(5, 16), waiting_since_ms=number),
            round(60_000 * chance.uniform(0.7, 1.3)),
            after_ms(number),
        )
        for number in range(count)
    ]


@dataclass(frozen=True)
class Use:
    """One row: which tasks, how billed, how used."""

    tasks: str
    jobs: Callable[[int], list[Job]]
    billing: str
    used: str
    limits: Limits
    sizes: tuple[Size, ...] = SIZES
    lost_part: float = 0.0
    quotas: dict[str, int] | None = None

    def situation(self) -> Situation:
        """Say what the provider is like, and what the file says."""
        limits = {"sizes": tuple(sorted(self.sizes, key=lambda size: size.max_images)), **self.limits}
        return Situation(name=f"{self.tasks}, {self.used}", limits=limits, lost_part=self.lost_part, quotas=self.quotas)


BURST, TRICKLE, MIXED = "300 of a minute at once", "200 of a minute, one every 2 min", "200 of all sizes at once"
SECOND, HOUR = "second", "hour"
BOTH: Final[Limits] = {"providers": TWO}
EACH, WAIT = "a machine for each", "`targetWait`"
USES: Final = (
    Use(BURST, burst, SECOND, EACH, ONE_EACH),
    Use(BURST, burst, SECOND, f"{WAIT} 600", again(600)),
    Use(BURST, burst, HOUR, EACH, ONE_EACH, HOURLY),
    Use(BURST, burst, HOUR, f"{WAIT} 600", again(600), HOURLY),
    Use(BURST, burst, HOUR, f"{WAIT} 1800", again(1800), HOURLY),
    Use(TRICKLE, trickle, SECOND, EACH, ONE_EACH),
    Use(TRICKLE, trickle, SECOND, "`idleTimeout` 300", again(0, 300)),
    Use(TRICKLE, trickle, SECOND, f"{WAIT} 600, `idleTimeout` 60", again(600, 60)),
    Use(TRICKLE, trickle, HOUR, EACH, ONE_EACH, HOURLY),
    Use(TRICKLE, trickle, HOUR, "used again", again(), HOURLY),
    Use(TRICKLE, trickle, HOUR, f"{WAIT} 600", again(600), HOURLY),
    Use(MIXED, mixed, SECOND, EACH, ONE_EACH),
    Use(MIXED, mixed, SECOND, f"{WAIT} 1800", again(1800)),
    Use(MIXED, mixed, SECOND, "spot at 30 %, a tenth interrupted", ONE_EACH, SPOT, lost_part=0.1),
    Use(MIXED, mixed, SECOND, "spot, a tenth interrupted, then on demand", ONE_EACH, FALLBACK, lost_part=0.1),
    Use(MIXED, mixed, SECOND, "two regions, the first has 20", ONE_EACH, quotas={"north": 20}),
    Use(MIXED, mixed, SECOND, "two clouds, the cheaper has 20", {**ONE_EACH, **BOTH}, CLOUDS, quotas={FIRST: 20}),
    Use(
        MIXED,
        mixed,
        SECOND,
        "two clouds, the cheaper has 20, by price, `targetWait` 1800",
        again(1800, **BOTH, by_price=True),
        CLOUDS,
        quotas={FIRST: 20},
    ),
    Use(
        MIXED,
        mixed,
        SECOND,
        "spot at one cloud, which has 60, a fifth interrupted; on demand at another",
        {**ONE_EACH, **BOTH},
        SPOT_CLOUDS,
        lost_part=0.2,
        quotas={FIRST: 60},
    ),
    Use(
        BURST,
        burst,
        f"{HOUR} at one of two clouds",
        f"{WAIT} 600",
        again(600, **BOTH),
        CLOUDS_BY_HOUR,
        quotas={FIRST: 20},
    ),
)


@dataclass(frozen=True)
class Row:
    """What came of a row, mean of all seeds."""

    use: Use
    done: Sequence[Simulation]
    best: float

    @property
    def cost(self) -> float:
        """What the provider bills for all machines."""
        return fmean(each.caused for each in self.done)

    @property
    def cells(self) -> list[str]:
        """The row of the table."""
        waits_s = [wait for each in self.done for wait in each.waits_s]
        machines = fmean(sum(machine.created_at_ms is not None for machine in each.ended) for each in self.done)
        return [
            *(self.use.tasks, self.use.billing, self.use.used),
            *(f"{self.cost:.2f}", f"{self.best:.2f}", f"{self.cost / self.best:.2f}", f"{machines:.0f}"),
            *(f"{fmean(waits_s) / 60:.1f}", f"{percentile(waits_s, 95) / 60:.1f}"),
        ]


HEADS: Final = [
    "tasks",
    "billed by the",
    "used",
    "cost",
    "best",
    "÷",
    "machines",
    "wait, mean [min]",
    "wait, p95 [min]",
]


def least_cost(jobs: Sequence[Job], use: Use) -> float:
    """Work out what nobody could fall below."""
    once_ms = BOOT_S[0] * 1000 + DESTROY_S[0] * 1000
    each = use.limits["tasks_per_machine_count"] == 1
    if use.sizes is HOURLY:
        price = use.sizes[0].price_per_hour or 0.0
        if each:
            return sum(price * ceil((job.run_ms + once_ms) / HOUR_MS) for job in jobs)
        return price * ceil((sum(job.run_ms for job in jobs) + once_ms) / HOUR_MS)
    work = sum(price_for(job, use.sizes) * (job.run_ms + (once_ms if each else 0)) for job in jobs)
    return (work + (0 if each else (use.sizes[0].price_per_hour or 0.0) * once_ms)) / HOUR_MS


def price_for(job: Job, sizes: Sequence[Size]) -> float:
    """Find the price of the cheapest size that takes a task."""
    return min(size.price_per_hour or 0.0 for size in sizes if size.max_images >= (job.task.images_count or 0))


def play(use: Use, seeds: Sequence[int] = SEEDS) -> Row:
    """Play a row with all seeds."""
    jobs = {seed: use.jobs(seed) for seed in seeds}
    done = [Simulation(use.situation(), jobs[seed], seed).run() for seed in seeds]
    return Row(use, done, fmean(least_cost(each, use) for each in jobs.values()))


def used(*, write: bool = False) -> None:
    """Play all rows, print the table, and write it where asked."""
    rows = []
    for use in USES:
        rows.append(play(use))
        say(f"{use.tasks}, {use.billing}, {use.used}")
    lines = table(HEADS, [row.cells for row in rows])
    print("\n".join(lines))
    if write:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), MARKER, lines), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run this part alone."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="simulate_use", description="Simulate how machines are billed and used."
    )
    parser.add_argument("--write", action="store_true", help="replace the table in docs/")
    used(write=parser.parse_args(arguments).write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
