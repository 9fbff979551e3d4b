"""What is done with measured numbers: medians, percentiles, ratios, tables. Pure.

A case measures each contender once per round and gets one number per metric. The first metric of a case is its currency: what
the ratios compare. The first contender is ours.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Numbers = Mapping[str, float]
"""Metric name -> number, of one round or of all."""


@dataclass(frozen=True)
class Metric:
    """One column."""

    name: str
    unit: str = ""
    digits: int = 1

    @property
    def heading(self) -> str:
        """The column's head."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def shown(self, number: float | None) -> str:
        """Write a number; nothing where there is none."""
        return "" if number is None or math.isnan(number) else f"{number:,.{self.digits}f}"


@dataclass
class Measured:
    """All that is known of a case at the end."""

    name: str
    sentence: str
    metrics: tuple[Metric, ...]
    does: dict[str, str] = field(default_factory=dict)
    """Contender -> what it does in this case; the first is ours."""
    medians: dict[str, dict[str, float]] = field(default_factory=dict)
    rounds_count: int = 0

    @property
    def currency(self) -> Metric:
        """What ratios compare."""
        return self.metrics[0]

    def ratio(self, other: str, metric: str = "") -> float | None:
        """Ours divided by another contender's, in the currency or another metric; None when one is missing."""
        name = metric or self.currency.name
        ours = self.medians.get(next(iter(self.does)), {}).get(name)
        theirs = self.medians.get(other, {}).get(name)
        return ours / theirs if ours is not None and theirs else None


def medians(rounds: Sequence[Numbers]) -> dict[str, float]:
    """Take the median of each metric over the rounds that have it."""
    names = dict.fromkeys(name for numbers in rounds for name in numbers)
    return {name: statistics.median(numbers[name] for numbers in rounds if name in numbers) for name in names}


def percentile(numbers: Sequence[float], percent: float) -> float:
    """Find the number that so many percent do not exceed (nearest rank)."""
    if not numbers:
        return math.nan
    ordered = sorted(numbers)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a Markdown table."""
    return [line(heads), "|" + "---|" * len(heads), *map(line, rows)]


def line(cells: Sequence[str]) -> str:
    """Write one row; a bar inside a cell must not end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def case_table(measured: Measured) -> list[str]:
    """Write the table of one case: a row per contender, its metrics, and what ours costs relative to it."""
    heads = ["", "does", *(metric.heading for metric in measured.metrics), "ours ÷ it"]
    return table(heads, [row(measured, name) for name in measured.medians])


def row(measured: Measured, name: str) -> list[str]:
    """Write the row of one contender."""
    numbers = measured.medians[name]
    ratio = None if name == next(iter(measured.does)) else measured.ratio(name)
    cells = [metric.shown(numbers.get(metric.name)) for metric in measured.metrics]
    return [name, measured.does.get(name, ""), *cells, "" if ratio is None else f"{ratio:.2f}"]


def section(measured: Measured) -> list[str]:
    """Write what is told of one case."""
    rounds = f" Median of {measured.rounds_count} rounds." if measured.rounds_count > 1 else ""
    return [f"### {measured.name}", "", measured.sentence + rounds, "", *case_table(measured), ""]


def replaced(text: str, marker: str, content: Sequence[str]) -> str:
    """Replace what stands between `<!-- marker: begin -->` and `<!-- marker: end -->`. Raises ValueError without them."""
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"no {begin} ... {end}")
    inside = "\n".join(content).strip("\n")
    return f"{head}{begin}\n\n{inside}\n\n{end}{tail}"
