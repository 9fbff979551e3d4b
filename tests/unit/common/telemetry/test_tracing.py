"""Traces: headers of others are read strictly, and ids follow from tasks."""

import subprocess
import sys

import pytest

from clusterodm.libs.common.telemetry.tracing import SpanContext, Spans, TraceSpan, below, emit, of_task, read

TASK = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        pytest.param(TRACE, True, id="as the standard has it"),
        pytest.param(TRACE[:-2] + "00", False, id="not wanted"),
        pytest.param(TRACE[:-2] + "ff", True, id="flags that are not known yet"),
    ],
)
def test_a_header_is_read(header: str, sampled: bool):
    assert read(header) == SpanContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, sampled)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="nothing"),
        pytest.param(TRACE.upper(), id="capitals"),
        pytest.param("ff" + TRACE[2:], id="another version"),
        pytest.param(TRACE + "-more", id="longer"),
        pytest.param("0" * 1_000_000, id="a million digits"),
        pytest.param("00-" + "0" * 32 + "-00f067aa0ba902b7-01", id="no trace"),
        pytest.param("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", id="no span"),
        pytest.param(TRACE.replace("4", "٤", 1), id="digits that are none"),
    ],
)
def test_what_is_no_header_is_left_alone(header: str):
    assert read(header) is None


def test_what_is_written_is_read_again():
    assert read(SpanContext(7, 9).header) == SpanContext(7, 9)
    assert read(SpanContext(7, 9, sampled=False).header) == SpanContext(7, 9, sampled=False)


def test_every_process_gives_a_task_the_same_trace_and_its_spans_the_same_ids():
    root, attempt = of_task(TASK, ""), of_task(TASK, "", "attempt", 0, 1)
    assert (root, attempt) == (of_task(TASK, ""), of_task(TASK, "", "attempt", 0, 1))
    assert root.trace_id == attempt.trace_id
    assert len({root.span_id, attempt.span_id, of_task(TASK, "", "attempt", 0, 2).span_id}) == 3
    assert (
        root.header == "00-f752d68ed9bbeb2cbd8f4afb7fa3df7c-dd52a7f65719c800-01"
    )  # for ever: versions run side by side


def test_a_clients_own_trace_is_gone_on_with_and_so_is_its_wish_for_none():
    assert of_task(TASK, TRACE).trace_id == 0x4BF92F3577B34DA6A3CE929D0E0E4736
    assert not below(of_task(TASK, TRACE[:-2] + "00")).sampled


def test_spans_go_to_whoever_listens_unless_the_client_wants_none():
    told: list[TraceSpan] = []
    span = TraceSpan("x", SpanContext(7, 9), None, 0, 1, {})
    emit(span)
    Spans.export = told.append
    try:
        emit(span)
        emit(span._replace(context=SpanContext(7, 9, sampled=False)))
    finally:
        Spans.export = None
    assert told == [span]


def test_without_a_collector_nothing_of_the_sdk_is_imported():
    code = (
        "import sys, clusterodm.libs.common.telemetry.otlp; print([m for m in sys.modules if m.startswith('opentel')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[]"
