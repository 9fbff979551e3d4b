"""Samples, and the series that plots are drawn from. Pure.

A sample is what the cluster was like at one moment, as numbers by name; one is kept for every half minute of the last seven days (KV `samples`).
In memory a series is an array a name, and 20,000 samples take two megabytes. A plot shows means over steps, so that it has as many
points over a week as over an hour; a step without samples is a gap, and no zero.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan, nan
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.machines import AutoscalerStatus
from clusterodm.libs.common.messages.overview import ClusterOverview, Sample, SpoolReport, UploadProgress

SAMPLE_S: Final = 30
KEPT_S: Final = 7 * 24 * 3600
MOST_COUNT: Final = KEPT_S // SAMPLE_S
SPARE_COUNT: Final = 500
"""So many more are kept before the oldest go, all at once."""
POINTS_COUNT: Final = 240
HOUR_S: Final = 3600.0
NAMES_COUNT: Final = 100
"""Most series; each spool has one of its own."""
SPOOL_PREFIX: Final = "spool_used_share:"


def key_at(now_ms: WallMs) -> str:
    """Name the sample of a moment: another admin writes the same."""
    return str(now_ms // (SAMPLE_S * 1000))


def sample_of(  # noqa: PLR0913, PLR0917 everything that is sampled
    now_ms: WallMs,
    overview: ClusterOverview | None,
    before: ClusterOverview | None,
    status: AutoscalerStatus | None,
    uploads: Iterable[UploadProgress],
    spools: Iterable[SpoolReport],
    spools_before: Iterable[SpoolReport] = (),
) -> Sample:
    """Put a sample together of what answered; what did not is left out. What is told `before` is that of the last sample."""
    known = list(spools)
    values = of_uploads(uploads) | {f"{SPOOL_PREFIX}{each.instance}": used_share(each) for each in known}
    values |= received_per_s(spools_before, known)
    if overview is not None:
        values |= of_cluster(overview) | ended_per_hour(before, overview)
    if status is not None and status.enabled:
        values |= {
            "machines": float(sum(status.states.values())),
            "cost_per_hour": status.cost_per_hour,
            "cost_last_day": status.cost_last_day,
        }
        budget = {"max_hourly_cost": status.max_hourly_cost, "max_daily_cost": status.max_daily_cost}
        values |= {name: limit for name, limit in budget.items() if limit is not None}
    return Sample(at_ms=now_ms, values=values)


def of_uploads(uploads: Iterable[UploadProgress]) -> dict[str, float]:
    """Count what is being uploaded."""
    known = list(uploads)
    rate = sum(each.rate_bytes_per_s for each in known if each.receiving)
    return {"uploads": float(len(known)), "upload_bytes_per_s": rate}


def received_per_s(before: Iterable[SpoolReport], now: Iterable[SpoolReport]) -> dict[str, float]:
    """Say how much clients have sent per second since the last sample, however short their requests; nothing where no proxy has said it twice."""
    last = {each.instance: each for each in before}
    rates = [rate for each in now if (rate := received_since(last.get(each.instance), each)) is not None]
    return {"upload_bytes_per_s": sum(rates)} if rates else {}


def received_since(before: SpoolReport | None, now: SpoolReport) -> float | None:
    """Say it of one proxy; one that was started meanwhile has received all of it since. None: it is not known."""
    if before is None or before.received_bytes is None or now.received_bytes is None or now.at_ms <= before.at_ms:
        return None
    gained_bytes = now.received_bytes - before.received_bytes
    return (gained_bytes if gained_bytes >= 0 else now.received_bytes) / ((now.at_ms - before.at_ms) / 1000)


def used_share(spool: SpoolReport) -> float:
    """Say how much of a spool's disk is used, 0 to 1."""
    return 1 - spool.free_bytes / spool.total_bytes if spool.total_bytes else 0.0


def of_cluster(overview: ClusterOverview) -> dict[str, float]:
    """Take what is plotted from an overview."""
    states = overview.states
    return {
        "nodes": float(overview.nodes_count),
        "nodes_online": float(overview.nodes_online_count),
        "slots": float(overview.slots_count),
        "slots_used": float(overview.slots_used_count),
        "waiting": float(states.get("waiting", 0)),
        "forwarding": float(states.get("forwarding", 0)),
        "running": float(states.get("running", 0)),
        "oldest_wait_s": overview.oldest_wait_s,
        "forwarding_left_bytes": float(max(0, overview.forwarding_bytes - overview.forwarding_sent_bytes)),
    }


def ended_per_hour(before: ClusterOverview | None, now: ClusterOverview) -> dict[str, float]:
    """Say how many tasks and images ended per hour between two overviews of one leader; nothing where another leads now."""
    if before is None or before.since_ms != now.since_ms or now.at_ms <= before.at_ms:
        return {}
    hours = (now.at_ms - before.at_ms) / 1000 / HOUR_S
    gained = {
        "completed_per_h": now.ended.get("completed", 0) - before.ended.get("completed", 0),
        "failed_per_h": now.ended.get("failed", 0) - before.ended.get("failed", 0),
        "images_per_h": now.ended_images_count - before.ended_images_count,
    }
    return {name: max(0, count) / hours for name, count in gained.items()}


@dataclass(frozen=True)
class Series:
    """What a plot draws: times, and for each name as many values; None where nothing is known."""

    times_s: list[float]
    values: dict[str, list[float | None]]


class SampleHistory:
    """The samples of the last seven days."""

    def __init__(self) -> None:
        self._times_s = array("d")
        self._values: dict[str, array[float]] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._times_s)

    def add(self, sample: Sample) -> None:
        """Take a sample in; those that are not older are forgotten: a clock was ahead when they were taken, and nothing would be newer for as long."""
        at_s = sample.at_ms / 1000
        ahead = slice(bisect_left(self._times_s, at_s), None)
        for values in (self._times_s, *self._values.values()):
            del values[ahead]
        for name in sample.values.keys() - self._values.keys():
            if len(self._values) < NAMES_COUNT:
                self._values[name] = array("f", [nan] * len(self._times_s))
        self._times_s.append(at_s)
        for name, values in self._values.items():
            values.append(sample.values.get(name, nan))
        if len(self._times_s) > MOST_COUNT + SPARE_COUNT:
            self._cut()

    def _cut(self) -> None:
        old = len(self._times_s) - MOST_COUNT
        del self._times_s[:old]
        for name, values in list(self._values.items()):
            del values[:old]
            if all(map(isnan, values)):
                del self._values[name]

    def series(self, until_s: float, range_s: float) -> Series:
        """Average the samples of the last seconds over steps."""
        step_s = max(range_s / POINTS_COUNT, float(SAMPLE_S))
        first_s = until_s - range_s
        count = round(range_s / step_s)
        edges = [bisect_left(self._times_s, first_s + number * step_s) for number in range(count + 1)]
        times = [first_s + (number + 1) * step_s for number in range(count)]
        return Series(
            times,
            {
                name: [mean(values[start:end]) for start, end in pairwise(edges)]
                for name, values in sorted(self._values.items())
            },
        )


def mean(values: Sequence[float]) -> float | None:
    """Average what is known."""
    total = sum(values)  # no number where one of them is none
    known = values if not isnan(total) else [value for value in values if not isnan(value)]
    return round(sum(known) / len(known), 4) if known else None


def last_values(samples: Mapping[str, list[float | None]]) -> dict[str, float]:
    """Take the last known value of each series."""
    found = {
        name: next((value for value in reversed(values) if value is not None), None) for name, values in samples.items()
    }
    return {name: value for name, value in found.items() if value is not None}
