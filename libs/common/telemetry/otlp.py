"""Spans to a collector, as OTLP over HTTP (protobuf), by OpenTelemetry's own SDK (`clusterodm[otel]`). The only door to it.

Nothing here may disturb: spans wait in a queue of QUEUE_COUNT, which drops the oldest when it is full, and a thread of the SDK sends them. What it
has to say about a collector that is away is one line in LINE_EVERY_S, and a counter. A stop waits STOP_S for what is still in the queue.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final

import structlog

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.telemetry.collector import bounded_session
from clusterodm.libs.common.telemetry.log import Seldom, hide
from clusterodm.libs.common.telemetry.metrics import counter
from clusterodm.libs.common.telemetry.tracing import SpanContext, Spans, TraceSpan
from clusterodm.libs.common.version import VERSION

QUEUE_COUNT: Final = 2048
BATCH_COUNT: Final = 512
SEND_EVERY_MS: Final = 1000
SEND_TIMEOUT_S: Final = 5
STOP_S: Final = 2.0
LINE_EVERY_S: Final = 60.0
MISSING: Final = "--otlp-endpoint needs more packages: pip install 'clusterodm[otel]'"
SPANS: Final = counter(
    "clusterodm_spans_total",
    "Spans of traces, by what became of them: told (queued), exported, failed (the collector did not take them)",
    "outcome",
)

log = structlog.get_logger()


@asynccontextmanager
async def exported(service: str, endpoint: str) -> AsyncIterator[None]:
    """Send the spans of this process while the context is open; no endpoint: none are made. Raises Refused without the packages."""
    if not endpoint:
        yield
        return
    processor, convert = opened(service, endpoint)
    for outcome in (
        "told",
        "exported",
        "failed",
    ):  # the thread that sends finds its numbers there, and only adds to them
        SPANS.inc(outcome, by=0)

    def told(span: TraceSpan) -> None:
        SPANS.inc("told")
        processor.on_end(convert(span))

    Spans.export = told
    try:
        yield
    finally:
        Spans.export = None
        stopping = threading.Thread(target=processor.shutdown, name="send the last spans", daemon=True)
        stopping.start()
        until_s = monotonic() + STOP_S
        while stopping.is_alive() and monotonic() < until_s:  # noqa: ASYNC110 a thread has no event
            await asyncio.sleep(0.01)


def opened(service: str, endpoint: str) -> tuple[Any, Any]:
    """Make what takes spans of the SDK, and what makes them of ours. Raises Refused without the packages."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise Refused(MISSING) from None
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it would say is said by Quiet
    resource = Resource.create(
        {"service.namespace": "clusterodm", "service.name": f"clusterodm-{service}", "service.version": VERSION}
    )
    exporter = Quiet(OTLPSpanExporter(endpoint=endpoint, timeout=SEND_TIMEOUT_S, session=bounded_session()), endpoint)
    processor = BatchSpanProcessor(
        exporter,  # type: ignore[arg-type] # it has all that is called
        max_queue_size=QUEUE_COUNT,
        max_export_batch_size=BATCH_COUNT,
        schedule_delay_millis=SEND_EVERY_MS,
    )
    return processor, Converter(resource)


class Quiet:
    """Sends spans, and says seldom that it cannot."""

    def __init__(self, exporter: Any, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = hide(endpoint)
        self._lines = Seldom(LINE_EVERY_S)

    def export(self, spans: Sequence[Any]) -> Any:
        """Send some. In a thread of the SDK."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        why = "refused, or no answer"
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 whatever it is, it must not end the thread that sends
            result, why = SpanExportResult.FAILURE, type(error).__name__
        done = result is SpanExportResult.SUCCESS
        SPANS.inc("exported" if done else "failed", by=len(spans))
        if not done and (count := self._lines.passes(monotonic())):
            log.warning("spans.not_exported", endpoint=self._endpoint, reason=why, count=count)
        return result

    def shutdown(self) -> None:
        """Stop, also in the middle of waiting for another try."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Send what is here: nothing."""
        return bool(self._exporter.force_flush(timeout_millis))


class Converter:
    """Makes the SDK's spans of ours."""

    def __init__(self, resource: Any) -> None:
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanKind as Kinds

        self._resource = resource
        self._scope = InstrumentationScope("clusterodm", VERSION)
        self._kinds = {"internal": Kinds.INTERNAL, "server": Kinds.SERVER}

    def __call__(self, span: TraceSpan) -> Any:
        """Make one."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Status, StatusCode

        return ReadableSpan(
            name=span.name,
            context=in_sdk(span.context, remote=False),
            parent=in_sdk(span.parent, remote=True) if span.parent else None,
            resource=self._resource,
            attributes=dict(span.attributes),
            kind=self._kinds[span.kind.value],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.begin_ns,
            end_time=max(span.end_ns, span.begin_ns),
            instrumentation_scope=self._scope,
        )


def in_sdk(context: SpanContext, *, remote: bool) -> Any:
    """Write a context as the SDK has it."""
    from opentelemetry.trace import SpanContext as Context
    from opentelemetry.trace import TraceFlags

    return Context(context.trace_id, context.span_id, remote, TraceFlags(TraceFlags.SAMPLED))
