"""Play traces with the scheduler's real core in simulated time: `make simulate`. The autoscaler's part follows at the end.

    python -m benchmarks.simulate [--seeds 10] [--only batch] [--write]
    python -m benchmarks.simulate record nats://127.0.0.1:4222 > benchmarks/traces/monday.json

Synthetic traces are made from seeds; recorded ones (benchmarks/traces/*.json) are what clusters had on record. Each is played with
the real core and, for comparison, with one that guesses how long tasks take on which node; both are held against the shortest
makespan that was possible. Whoever knows neither speeds nor sizes cannot always reach that; the table says how far it is away.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.__main__ import PAGE, PLOTS, say, write
from benchmarks.figures import Measured, Metric, replaced, table
from benchmarks.simulate_autoscaler import autoscaled
from benchmarks.simulate_use import used
from benchmarks.simulation.deciders import Core, Foresight
from benchmarks.simulation.estimating import EstimateErrors, ToldAndHappened, errors_of, estimated
from benchmarks.simulation.optimum import best
from benchmarks.simulation.outcome import Outcome, middle, outcome
from benchmarks.simulation.recorder import recorded
from benchmarks.simulation.trace import SYNTHETIC, Trace, read, written
from benchmarks.simulation.world import Decider, play
from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.messages.buckets import NODES, TASKS
from clusterodm.libs.common.messages.nodes import LIST_NODES, ListNodes

TRACES = Path(__file__).parent / "traces"
CORE, NEW, ORIGINAL = "core, 5 tasks per node on record", "core, nothing on record", "core, --placement original"
FORESIGHT, LONGEST = "one who knows all speeds", "the same, longest first"
DECIDERS: dict[str, Callable[[int], Decider]] = {
    CORE: lambda seed: Core(records_seed=seed),
    NEW: lambda _seed: Core(),
    ORIGINAL: lambda _seed: Core(foresees=False),
    FORESIGHT: Foresight,
    LONGEST: lambda seed: Foresight(seed, longest_first=True),
}
COLORS = {CORE: "#d9480f", NEW: "#f08c5a", ORIGINAL: "#fcc2a0", FORESIGHT: "#adb5bd", LONGEST: "#495057"}
ESTIMATED_SEEDS_COUNT = 3
"""Runs of each trace in which tasks are estimated: each run plays the queue ahead a thousand times."""
Outcomes = dict[str, dict[str, Outcome]]
"""Trace -> decider -> the median of its runs."""


def traces(seeds_count: int, only: str) -> Iterator[list[Trace]]:
    """Make all runs of one trace after the other."""
    for make in SYNTHETIC:
        runs = [make(random.Random(seed)) for seed in range(seeds_count)]
        if runs[0].name.startswith(only):
            yield runs
    for path in sorted(TRACES.glob("*.json")):
        if (trace := read(path.read_bytes())).name.startswith(only):
            yield [trace]


def simulated(seeds_count: int, only: str = "") -> tuple[Outcomes, dict[str, list[float]]]:
    """Play everything; the medians, and each run's makespan divided by the optimum or its bound."""
    told: Outcomes = {}
    ratios: dict[str, list[float]] = {name: [] for name in DECIDERS}
    for runs in traces(seeds_count, only):
        began_s = time.monotonic()
        played = {name: [play(trace, make(seed)) for seed, trace in enumerate(runs)] for name, make in DECIDERS.items()}
        shortest_s = [min(one.makespan_s for one in same) for same in zip(*played.values(), strict=True)]
        optima = [best(trace).but_not_above(found_s) for trace, found_s in zip(runs, shortest_s, strict=True)]
        for name, each in played.items():
            outcomes = [outcome(one, optimum) for one, optimum in zip(each, optima, strict=True)]
            told.setdefault(runs[0].name, {})[name] = middle(outcomes)
            ratios[name] += [one.to_bound for one in outcomes]
        say(f"{runs[0].name}: {len(runs)} runs, {time.monotonic() - began_s:.1f} s")
    return told, ratios


def rows(told: Outcomes) -> list[str]:
    """Write the table."""
    lines = []
    for name, deciders in told.items():
        for decider, one in deciders.items():
            ratio = f"{one.to_bound:.3f}" if one.exact else f"{one.to_found:.3f} – {one.to_bound:.3f}"
            lines.append(
                [
                    *(name if decider == CORE else "", decider, ratio, f"{one.flow_to_bound:.2f}"),
                    *(f"{one.wait_mean_s / 60:.1f}", f"{one.wait_p95_s / 60:.1f}"),
                    *(f"{one.by_owner:.2f}", f"{one.by_size:.2f}"),
                ]
            )
    heads = ["trace", "decided by", "makespan ÷ optimum", "mean time to result ÷ bound", "wait, mean [min]"]
    return table([*heads, "wait, p95 [min]", "worst owner ÷ all", "small ÷ large"], lines)


def summary(told: Outcomes, ratios: dict[str, list[float]], seeds_count: int) -> Measured:
    """Make the case that stands among the benchmarks."""
    name = "makespan ÷ optimum"
    return Measured(
        "makespan",
        "Makespan of simulated traces divided by the offline optimum, or by its lower bound where that is not known.",
        (Metric(name, "mean", 3), Metric("worst trace", "", 3)),
        {
            CORE: "the scheduler's core in a cluster that has worked before",
            NEW: "the same in a new cluster",
            ORIGINAL: "the original's order alone",
            FORESIGHT: "knows all speeds, guesses sizes",
            LONGEST: "the same, queue by size",
        },
        {
            decider: {name: statistics.fmean(each), "worst trace": max(told[trace][decider].to_bound for trace in told)}
            for decider, each in ratios.items()
        },
        seeds_count,
    )


def draw(told: Outcomes, path: Path) -> None:
    """Draw the ratios of all traces."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "clusterodm", "font.size": 8}
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(7, 0.5 + 0.6 * len(told)))
    for number, (decider, color) in enumerate(COLORS.items()):
        places = [at + 0.17 * number for at in range(len(told))]
        ratios = [deciders[decider].to_bound for deciders in told.values()]
        drawn = panel.barh(places, [ratio - 1 for ratio in ratios], height=0.16, left=1, color=color, label=decider)
        panel.bar_label(drawn, [f"{ratio:.2f}" for ratio in ratios], padding=2, fontsize=5)
    panel.set_yticks([at + 0.34 for at in range(len(told))], list(told))
    panel.invert_yaxis()
    panel.axvline(1.05, color="#495057", linewidth=0.7, linestyle=":")
    panel.set_xlabel("makespan ÷ optimum or its bound (dotted: 1.05)")
    panel.legend(frameon=False, loc="lower right")
    panel.margins(x=0.12)
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


async def record(nats_url: str, name: str) -> Trace:
    """Read what a running cluster has on record."""
    async with connect(nats_url, "bench") as bus:
        tasks = [entry.value for entry in (await (await bus.bucket(TASKS)).load()).values()]
        nodes = [entry.value for entry in (await (await bus.bucket(NODES)).load()).values()]
        seen = (await bus.request(LIST_NODES, ListNodes())).nodes
    slots = {view.id: view.info.max_parallel_tasks for view in seen if view.info}
    return recorded(name, tasks, nodes, slots)


def estimate_rows(seeds_count: int, only: str = "") -> list[str]:
    """Play all traces once more, and write how far off estimates of starts and ends were."""

    def cells(errors: EstimateErrors | None) -> list[str]:
        if errors is None:
            return ["–"] * 4
        minutes = (errors.actual_s / 60, errors.median_s / 60, errors.p90_s / 60)
        return [*(f"{each:.1f}" for each in minutes), f"{errors.coverage:.0%}"]

    def line(name: str, found: ToldAndHappened) -> list[str]:
        starts, ends = errors_of(found.starts), errors_of(found.ends)
        return [name, *cells(starts), *cells(ends), f"{1 - found.told_count / max(1, found.tasks_count):.0%}"]

    lines, every = [], ToldAndHappened()
    for runs in traces(seeds_count, only):
        found = estimated(runs)
        every.add(found)
        lines.append(line(runs[0].name, found))
        say(f"{runs[0].name}: estimated")
    lines.append(line("all", every))
    kinds = [
        f"{what} {figure}"
        for what in ("start:", "end:")
        for figure in ("actual [min]", "off, median [min]", "off, 90 % [min]", "within its interval")
    ]
    return table(["trace", *kinds, "not known"], lines)


def keep(told: Outcomes, measured: Measured) -> None:
    """Write table and plot into docs."""
    write({measured.name: measured})
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "simulation", rows(told)), encoding="utf-8")
    draw(told, PLOTS / "simulation.svg")


def main(arguments: Sequence[str]) -> int:
    """Simulate, or record."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="make simulate", description="Play traces with the scheduler's core."
    )
    parser.add_argument("what", nargs="*", help="record NATS_URL [NAME]: print a cluster's trace instead")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each synthetic trace")
    parser.add_argument("--only", default="", help="traces and situations whose names begin so")
    parser.add_argument(
        "--estimates", action="store_true", help="only say how far off estimates of starts and ends are"
    )
    parser.add_argument("--write", action="store_true", help="replace table and plot in docs/")
    asked = parser.parse_args(arguments)
    if asked.what:
        if asked.what[0] != "record" or len(asked.what) not in {2, 3}:
            parser.error("expected: record NATS_URL [NAME]")
        sys.stdout.buffer.write(written(asyncio.run(record(asked.what[1], (*asked.what, "recorded")[2]))))
        return 0
    estimates = estimate_rows(min(asked.seeds, ESTIMATED_SEEDS_COUNT), asked.only)
    print("\n".join(estimates))
    if asked.write:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "estimates", estimates), encoding="utf-8")
    if asked.estimates:
        return 0
    told, ratios = simulated(asked.seeds, asked.only)
    if told:
        measured = summary(told, ratios, asked.seeds)
        print("\n".join(rows(told)))
        print(msgspec.json.encode(measured.medians).decode())
        if asked.write:
            keep(told, measured)
    autoscaled(asked.only, write=asked.write)
    if not asked.only:
        used(write=asked.write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
