"""What a process counts and measures, as Prometheus' names, and the text that it is scraped as.

    counter(), histogram(), gauge()   declare a metric once for a process, at the top of the module that counts: name, sentence, labels
    read_by()                         while a context is open, a scrape calls a function for what need not be counted: it is known already
    exposition()                      everything in Prometheus' text format

Counting is adding to a number of this process: no lock, no library, so that the hot paths may do it. prometheus-client, which knows the
format and how much memory and how many files a process uses, is imported by the first scrape; the text is written in a thread.

Threads count, too: each line of the log is counted, and threads log. What is new is put in its place first; adding to what has its place holds no
call at which CPython would let another thread go on. A scrape copies what others may add to in one such step before it goes through it.

Values of labels are words of this program (endpoints as templates, reasons, outcomes) or names of nodes, never ids of tasks. Should one
that comes from outside slip in, a metric ends at SERIES_COUNT of them, and counts the rest as "other".
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar

from clusterodm.libs.common.process.wall_clock import now_ms

Labels = tuple[str, ...]

SERIES_COUNT: Final = 2000
"""Label values of one metric; more of them would be a mistake, and costs whoever scrapes."""
OTHER: Final = "other"
SHORT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Limits for what ought to take milliseconds, seconds."""
LONG_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
"""Limits for what takes as long as machines and tasks do, seconds."""


class Metric:
    """What every metric has."""

    kind = "gauge"

    def __init__(self, name: str, said: str, labels: Labels) -> None:
        self.name = name
        self.said = said
        """One sentence without its full stop."""
        self.labels = labels

    def __repr__(self) -> str:
        """Show what it is."""
        return f"{self.kind}({self.name}{{{','.join(self.labels)}}})"


class Counter(Metric):
    """A number for each value of its labels, that only grows."""

    kind = "counter"

    def __init__(self, name: str, said: str, labels: Labels) -> None:
        super().__init__(name, said, labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def inc(self, *of: str, by: float = 1) -> None:
        """Count; `of`: a value for each label."""
        values = self.values
        if of in values:
            values[of] += by
        else:
            of = bounded(self, of, len(values))
            values.setdefault(of, 0)
            values[of] += by


class Gauge(Metric):
    """A number that goes up and down. Nobody keeps it: a scrape reads it (`read_by`)."""


class Sum(Metric):
    """A number that only grows, and that somebody knows already: a scrape reads it."""

    kind = "counter"


class Traced(NamedTuple):
    """An observation whose trace can be looked at: what OpenMetrics calls an exemplar."""

    trace_id: int
    value: float
    at_s: float
    """Since 1970."""


class Buckets:
    """What one histogram has seen under one value of its labels."""

    __slots__ = ("_limits", "counts", "total", "traced")

    def __init__(self, limits: tuple[float, ...]) -> None:
        self._limits = limits
        self.traced: dict[int, Traced] = {}
        """The last that was traced, by its place in `counts`."""
        self.counts = [0] * (len(limits) + 1)
        """How many lay within each limit and above the one before; the last: above all."""
        self.total = 0.0

    def observe(self, value: float, trace_id: int = 0) -> None:
        """Take a value in. `trace_id`: of which trace (`tracing.exemplar_of`); 0: of none."""
        place = bisect_left(self._limits, value)
        self.counts[place] += 1
        self.total += value
        if trace_id:
            self.traced[place] = Traced(trace_id, value, now_ms() / 1000)


class Histogram(Metric):
    """How often a value lay within which limits."""

    kind = "histogram"

    def __init__(self, name: str, said: str, labels: Labels, limits: Sequence[float]) -> None:
        super().__init__(name, said, labels)
        self.limits = tuple(limits)
        self.values: dict[Labels, Buckets] = {} if labels else {(): Buckets(self.limits)}

    def observe(self, value: float, *of: str, trace_id: int = 0) -> None:
        """Take a value in; `of`: a value for each label. `trace_id`: see Buckets."""
        self.of(*of).observe(value, trace_id)

    def of(self, *of: str) -> Buckets:
        """Find what was seen under a value for each label; whoever observes often keeps it."""
        kept = self.values.get(of)
        if kept is None:
            of = bounded(self, of, len(self.values))
            kept = self.values.setdefault(of, Buckets(self.limits))
        return kept


def bounded(metric: Metric, of: Labels, known_count: int) -> Labels:
    """Look at label values that are new; the ones to count under. Raises ValueError for another number than was declared."""
    if len(of) != len(metric.labels):
        raise ValueError(f"{metric!r} was given {len(of)} labels")
    return of if known_count < SERIES_COUNT else (OTHER,) * len(of)


class Reading(NamedTuple):
    """What a gauge or a sum says at this moment."""

    metric: Gauge | Sum
    value: float
    of: Labels = ()


Reader = Callable[[], Iterable[Reading]]
"""Called by a scrape, in the thread of the event loop: it may look at what is known, and must not wait."""

DECLARED: Final[dict[str, Counter | Gauge | Histogram | Sum]] = {}
"""All that this process may count or say, by name."""
_readers: Final[dict[int, Reader]] = {}


def counter(name: str, said: str, *labels: str) -> Counter:
    """Declare what is counted; the name ends in `_total`."""
    return declared(Counter(name, said, labels))


def gauge(name: str, said: str, *labels: str) -> Gauge:
    """Declare what a scrape reads."""
    return declared(Gauge(name, said, labels))


def summed(name: str, said: str, *labels: str) -> Sum:
    """Declare what a scrape reads and only grows; the name ends in `_total`."""
    return declared(Sum(name, said, labels))


def histogram(name: str, said: str, *labels: str, limits: Sequence[float] = SHORT_S) -> Histogram:
    """Declare what is measured; the name ends in its unit (`_seconds`, `_bytes`)."""
    return declared(Histogram(name, said, labels, limits))


Declared = TypeVar("Declared", Counter, Gauge, Histogram, Sum)


def declared(metric: Declared) -> Declared:
    """Remember a metric. Raises ValueError when there is one of this name."""
    if metric.name in DECLARED:
        raise ValueError(f"{metric.name} is declared twice")
    DECLARED[metric.name] = metric
    return metric


@contextmanager
def read_by(reader: Reader) -> Iterator[None]:
    """Let every scrape call `reader` while the context is open."""
    key = id(reader)
    _readers[key] = reader
    try:
        yield
    finally:
        del _readers[key]


UNREADABLE: Final = counter(
    "clusterodm_unreadable_values_total",
    "Values that this version could not decode, and skipped, by where they were",
    "where",
)


async def exposition(*, traced: bool = False) -> tuple[bytes, bytes]:
    """Write all that is counted in this process: content type, text. `traced`: as OpenMetrics, with exemplars."""
    readings = [reading for read in list(_readers.values()) for reading in read()]
    from clusterodm.libs.common.process.lifecycle import threaded  # what never is scraped needs no event loop

    return await threaded(partial(text_of, list(snapshot()), readings, traced=traced), "write metrics")


class Counted(NamedTuple):
    """A counter or a histogram in the moment of a scrape."""

    metric: Counter | Histogram
    values: dict[Labels, float]
    buckets: dict[Labels, tuple[tuple[int, ...], float, dict[int, Traced]]]


def snapshot() -> Iterator[Counted]:
    """Copy what is counted: the loop, and threads, go on counting while the text is written."""
    for metric in list(DECLARED.values()):
        if isinstance(metric, Counter):
            yield Counted(metric, dict(metric.values), {})
        elif isinstance(metric, Histogram):
            kept = {of: (tuple(seen.counts), seen.total, dict(seen.traced)) for of, seen in list(metric.values.items())}
            yield Counted(metric, {}, kept)


def text_of(counted: Iterable[Counted], readings: Iterable[Reading], *, traced: bool) -> tuple[bytes, bytes]:
    """Write what was counted and read, and what prometheus-client knows of this process."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
    from prometheus_client.openmetrics import exposition as openmetrics

    whole = OneScrape([*REGISTRY.collect(), *map(family_counted, counted), *families_read(readings)])
    if traced:
        write: Callable[[OneScrape], bytes] = openmetrics.generate_latest
        return openmetrics.CONTENT_TYPE_LATEST.encode(), write(whole)
    return CONTENT_TYPE_LATEST.encode(), generate_latest(whole)


class OneScrape:
    """What prometheus-client makes its text of, in place of a registry of its own."""

    def __init__(self, families: Sequence[Any]) -> None:
        self._families = families

    def collect(self) -> Sequence[Any]:
        """Hand them out."""
        return self._families


def family_counted(counted: Counted) -> Any:
    """Write a counter or a histogram as the library has it."""
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    metric = counted.metric
    if isinstance(metric, Counter):
        family = CounterMetricFamily(metric.name, metric.said, labels=metric.labels)
        for of, value in counted.values.items():
            family.add_metric(of, value)
        return family
    seen = HistogramMetricFamily(metric.name, metric.said, labels=metric.labels)
    names = [*(f"{limit:g}" for limit in metric.limits), "+Inf"]
    for of, (counts, total, traced) in counted.buckets.items():
        exemplars = [exemplar(traced.get(place)) for place in range(len(counts))]
        seen.add_metric(of, list(zip(names, accumulate(counts), exemplars, strict=True)), total)
    return seen


def exemplar(traced: Traced | None) -> Any:
    """Write an observation as the library has it."""
    from prometheus_client.samples import Exemplar

    return traced and Exemplar({"trace_id": f"{traced.trace_id:032x}"}, traced.value, traced.at_s)


def families_read(readings: Iterable[Reading]) -> list[Any]:
    """Write what was read; two readers may say something of one metric."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for metric, value, of in readings:
        family = families.get(metric.name)
        if family is None:
            made = CounterMetricFamily if isinstance(metric, Sum) else GaugeMetricFamily
            family = families[metric.name] = made(metric.name, metric.said, labels=metric.labels)
        family.add_metric(of, value)
    return list(families.values())
