"""Run the benchmarks: `python -m benchmarks [NAME] [--rounds N] [--minutes M] [--write]`.

Contenders are measured in turn, round by round, and each round begins with another of them; the median counts. NAME may be the beginning of a name: `downloads`. With
`--write` the figures are kept in docs/plots/figures.json, from where the tables and plots of docs/performance.md are made: a run
of some cases replaces only theirs. A run that would take longer than `--minutes` measures fewer rounds, and leaves out what
does not fit with a line.
"""

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cases import CASES, Case, named
from benchmarks.cases.case import Contender
from benchmarks.figures import Measured, Numbers, medians, replaced, section
from benchmarks.programs import Broken, MissingProgram
from benchmarks.stages import Stage
from benchmarks.targets import targets_table
from tests.forked import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
PLOTS = REPOSITORY / "docs" / "plots"
KEPT = PLOTS / "figures.json"
SHARE = 1.6
"""A case may take so many times its share of the time that is left: others need less than theirs."""


class Budget:
    """Divides the time that there is among the cases that are left."""

    def __init__(self, minutes: float, cases_count: int) -> None:
        self._ends_s = time.monotonic() + minutes * 60
        self._left_count = cases_count

    def next_deadline_s(self) -> float | None:
        """Say until when the next case may begin rounds; None when there is no time for it."""
        left_s = self._ends_s - time.monotonic()
        share_s = left_s / max(self._left_count, 1) * SHARE
        self._left_count -= 1
        return None if left_s <= 0 else time.monotonic() + min(share_s, left_s)


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


async def measure(case: Case[Any], rounds_count: int, deadline_s: float) -> Measured:
    """Measure all contenders in turn until there are enough rounds, or the time is up."""
    contenders = await case.contenders()
    rounds: dict[str, list[Numbers]] = {contender.name: [] for contender in contenders}
    enough = min(rounds_count, case.rounds_limit_count)
    for number in range(enough + case.warms_up):
        counted = number >= case.warms_up
        if time.monotonic() > deadline_s and all(rounds.values()):
            break
        for contender in turned(contenders, number):
            numbers = await contender.measure()
            if counted:
                rounds[contender.name].append(numbers)
    return Measured(
        case.name,
        case.sentence,
        case.metrics,
        {contender.name: contender.does for contender in contenders},
        {name: medians(each) for name, each in rounds.items()},
        min(map(len, rounds.values())),
    )


def turned(contenders: Sequence[Contender], number: int) -> Sequence[Contender]:
    """Order contenders for a round: each begins one, as what the one before has left behind helps or hinders."""
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


async def run(chosen: Sequence[type[Case[Any]]], rounds_count: int, minutes: float) -> dict[str, Measured]:
    """Open each stage when it is needed and measure on it."""
    results: dict[str, Measured] = {}
    budget = Budget(minutes, len(chosen))
    if this := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)  # so that all processes end too
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as root:
        for number, (stage, cases) in enumerate(groupby(chosen, key=lambda case: case.stage)):
            async with AsyncExitStack() as stack:
                on = await stack.enter_async_context(stage(Path(root) / str(number)))
                for line in on.missing:
                    say(f"left out: {line}")
                for case in cases:
                    await one(case, on, budget, rounds_count, results)
    return results


async def one(
    case: type[Case[Any]], on: Stage, budget: Budget, rounds_count: int, results: dict[str, Measured]
) -> None:
    """Measure one case, say what came out."""
    deadline_s, began_s = budget.next_deadline_s(), time.monotonic()
    if deadline_s is None:
        say(f"left out: {case.name}, the time is up")
        return
    try:
        results[case.name] = await measure(case(on), rounds_count, deadline_s)
    except (MissingProgram, Broken, AssertionError) as error:  # one that broke must not cost the figures of the others
        say(f"left out: {case.name}: {error}")
        return
    print("\n".join(section(results[case.name])), flush=True)
    say(f"  ({time.monotonic() - began_s:.0f} s)")


def kept() -> dict[str, Measured]:
    """Read the figures of earlier runs."""
    return msgspec.json.decode(KEPT.read_bytes(), type=dict[str, Measured]) if KEPT.exists() else {}


def machine() -> str:
    """Describe what was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"


def write(results: Mapping[str, Measured], page: Path = PAGE) -> None:
    """Keep the figures; make the tables and plots anew from all that are kept."""
    everything = {**kept(), **results}
    order = [case.name for case in CASES]
    everything = {name: everything[name] for name in (*order, *(everything.keys() - set(order))) if name in everything}
    PLOTS.mkdir(parents=True, exist_ok=True)
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(everything), indent=1) + b"\n")
    from benchmarks.plots import draw

    drawn = draw(everything, PLOTS)
    shown = [f"![{path.stem}](plots/{path.name})" for path in drawn]
    shown += ["", *(line for name, one in everything.items() if name in order for line in section(one))]
    text = replaced(page.read_text(encoding="utf-8"), "targets", targets_table(everything))
    said = f"Last measured on {date.today().isoformat()}: {machine()}."  # noqa: DTZ011 the day where it was measured
    page.write_text(replaced(text, "figures", [said, "", *shown]), encoding="utf-8")
    for path in drawn:
        say(f"drawn: {path.relative_to(REPOSITORY)}")


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="make bench", description="Measure side by side with peers."
    )
    parser.add_argument("only", nargs="?", default="", help="one case by name, or all whose names begin so")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds of each contender")
    parser.add_argument("--minutes", type=float, default=14.0, help="how long it may take altogether")
    parser.add_argument("--write", action="store_true", help="replace tables and plots in docs/")
    asked = parser.parse_args()
    chosen = named(asked.only)
    if not chosen:
        say(f"no benchmark {asked.only!r}; there are: {', '.join(case.name for case in CASES)}")
        return 2
    began_s = time.monotonic()
    results = asyncio.run(run(chosen, asked.rounds, asked.minutes))
    print("\n".join(targets_table(results, whole=not asked.only)))
    if asked.write:
        write(results)
    say(f"took {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
