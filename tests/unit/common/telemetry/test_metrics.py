"""Counting, reading and writing of metrics."""

import sys
from collections.abc import Iterator
from threading import Thread

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed

from clusterodm.libs.common.telemetry import metrics
from clusterodm.libs.common.telemetry.metrics import (
    Counter,
    Gauge,
    Histogram,
    Reading,
    Sum,
    declared,
    exposition,
    read_by,
    text_of,
)


def text(
    *counted: metrics.Counter | metrics.Histogram, readings: list[Reading] | None = None, traced: bool = False
) -> str:
    shots = [
        metrics.Counted(
            metric,
            dict(metric.values) if isinstance(metric, Counter) else {},
            {of: (tuple(kept.counts), kept.total, dict(kept.traced)) for of, kept in metric.values.items()}
            if isinstance(metric, Histogram)
            else {},
        )
        for metric in counted
    ]
    return text_of(shots, readings or [], traced=traced)[1].decode()


def test_a_counter_is_there_before_it_has_counted():
    assert "example_things_total 0.0" in text(Counter("example_things_total", "Things", ()))


def test_a_counter_counts_by_label():
    things = Counter("example_things_total", "Things", ("kind",))
    things.inc("round")
    things.inc("round", by=2)
    things.inc('odd"\n')
    said = text(things)
    assert 'example_things_total{kind="round"} 3.0' in said
    assert r'example_things_total{kind="odd\"\n"} 1.0' in said
    assert "# TYPE example_things_total counter" in said


def test_a_histogram_says_how_many_lay_within_each_limit():
    took = Histogram("example_seconds", "Time", ("what",), (0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        took.observe(seconds, "call")
    lines = text(took).splitlines()
    assert [line for line in lines if line.startswith("example_seconds_bucket")] == [
        'example_seconds_bucket{le="0.1",what="call"} 2.0',
        'example_seconds_bucket{le="1",what="call"} 3.0',
        'example_seconds_bucket{le="+Inf",what="call"} 4.0',
    ]
    assert 'example_seconds_count{what="call"} 4.0' in lines
    assert 'example_seconds_sum{what="call"} 7.65' in lines


def test_a_bucket_names_the_last_trace_that_fell_into_it_where_the_format_can():
    took = Histogram("example_seconds", "Time", ("what",), (0.1, 1.0))
    took.observe(0.5, "call", trace_id=7)
    took.observe(0.6, "call", trace_id=0xABC)
    took.observe(0.7, "call")
    took.observe(5.0, "call")
    [family] = [family for family in parsed(text(took, traced=True)) if family.name == "example_seconds"]
    exemplars = {sample.labels["le"]: sample.exemplar for sample in family.samples if "le" in sample.labels}
    assert {le: found and (found.labels["trace_id"], found.value) for le, found in exemplars.items()} == {
        "0.1": None,
        "1": (f"{0xABC:032x}", 0.6),
        "+Inf": None,
    }
    assert "trace_id" not in text(took)


def test_the_format_with_exemplars_has_all_that_the_plain_one_has():
    things, size = Counter("example_things_total", "Things", ()), Gauge("example_bytes", "Size", ())
    said = text(things, readings=[Reading(size, 5)], traced=True)
    assert {"example_things", "example_bytes", "process_cpu_seconds"} <= {family.name for family in parsed(said)}


def test_what_two_readers_say_of_one_metric_stands_together():
    size, refused = Gauge("example_size_bytes", "Size", ("where",)), Sum("example_refused_total", "Refused", ())
    said = text(readings=[Reading(size, 1, ("a",)), Reading(refused, 3), Reading(size, 2, ("b",))])
    assert said.count("# TYPE example_size_bytes gauge") == 1
    assert 'example_size_bytes{where="a"} 1.0\nexample_size_bytes{where="b"} 2.0' in said
    assert "# TYPE example_refused_total counter\nexample_refused_total 3.0" in said


def test_labels_are_bounded_whatever_comes_from_outside():
    things = Counter("example_things_total", "Things", ("kind",))
    for number in range(metrics.SERIES_COUNT + 50):
        things.inc(str(number))
    things.inc("7")
    assert len(things.values) == metrics.SERIES_COUNT + 1
    assert things.values["other",] == 50
    assert things.values["7",] == 2


def test_another_number_of_labels_than_declared_is_a_mistake():
    with pytest.raises(ValueError, match="was given 2 labels"):
        Counter("example_things_total", "Things", ("kind",)).inc("a", "b")


def test_a_name_is_declared_once():
    metric = declared(Gauge("example_declared_once", "Once", ()))
    try:
        with pytest.raises(ValueError, match="declared twice"):
            declared(Gauge("example_declared_once", "Twice", ()))
    finally:
        del metrics.DECLARED[metric.name]


async def test_a_scrape_asks_readers_as_long_as_they_are_there():
    size = Gauge("example_read_bytes", "Size", ())
    with read_by(lambda: [Reading(size, 5)]):
        kind, body = await exposition()
        assert kind.startswith(b"text/plain")
        assert b"example_read_bytes 5.0" in body
        assert b"process_resident_memory_bytes" in body, "what the library knows of the process"
    assert b"example_read_bytes" not in (await exposition())[1]


@pytest.fixture
def switching_often() -> Iterator[None]:
    """Let another thread go on after each few steps."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.usefixtures("switching_often")
def test_a_scrape_goes_on_while_a_thread_measures_under_new_labels():
    took = declared(Histogram("example_seconds", "Time", ("what",), (1.0,)))
    try:
        measuring = Thread(target=lambda: [took.observe(0.5, str(number)) for number in range(metrics.SERIES_COUNT)])
        measuring.start()
        while measuring.is_alive():
            list(metrics.snapshot())
    finally:
        del metrics.DECLARED[took.name]
    assert len(took.values) == metrics.SERIES_COUNT


def test_a_scrape_goes_on_while_a_module_declares_what_it_counts():
    scraped = metrics.snapshot()
    next(scraped)
    late = declared(Counter("example_late_total", "Late", ()))
    try:
        assert list(scraped)
    finally:
        del metrics.DECLARED[late.name]
