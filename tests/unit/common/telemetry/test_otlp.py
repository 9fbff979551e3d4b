"""Spans go to a collector; one that is away, or says no, disturbs nobody."""

import time

import pytest

from clusterodm.libs.common.telemetry.otlp import QUEUE_COUNT, SEND_TIMEOUT_S, SPANS, STOP_S, exported
from clusterodm.libs.common.telemetry.tracing import SpanContext, SpanKind, Spans, TraceSpan, emit
from tests.otlp_collector import OTLPCollector
from tests.ports import free_port
from tests.work import calls_of

SPAN = TraceSpan(
    "POST /x", SpanContext(7, 9), SpanContext(7, 8), 1_000, 2_000, {"clusterodm.task.id": "t"}, SpanKind.SERVER, "503"
)


async def test_a_span_comes_as_it_was_told():
    with OTLPCollector() as collector:
        async with exported("proxy", f"{collector.url}/v1/traces"):
            emit(SPAN)
    [seen] = collector.spans
    assert (seen.name, seen.service) == ("POST /x", "clusterodm-proxy")
    assert [int.from_bytes(each) for each in (seen.trace_id, seen.span_id, seen.parent_id)] == [7, 9, 8]
    assert (seen.begin_ns, seen.end_ns, seen.attributes) == (1_000, 2_000, {"clusterodm.task.id": "t"})
    assert Spans.export is None


@pytest.mark.parametrize("path", [pytest.param("/elsewhere", id="says no"), pytest.param("", id="away")])
async def test_a_collector_that_takes_nothing_costs_neither_time_nor_memory(path: str):
    with OTLPCollector() as collector:
        url = f"{collector.url}{path}" if path else f"http://127.0.0.1:{free_port()}/v1/traces"
        async with exported("proxy", url):
            calls = [calls_of(lambda: emit(SPAN)) for _ in range(2 * QUEUE_COUNT)]
            assert max(calls) < 200, "in this thread, however many wait"
            told_s = time.monotonic()
        assert time.monotonic() - told_s < STOP_S + SEND_TIMEOUT_S, "a batch that is tried to its end is not the last"
    assert collector.spans == []
    assert SPANS.values[("told",)] >= 2 * QUEUE_COUNT


async def test_no_endpoint_no_spans():
    async with exported("proxy", ""):
        assert Spans.export is None
