"""Spans of what services answer each other: below that of who asked, which the header `traceparent` names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.process.lifecycle import monotonic_s, now_ms
from clusterodm.libs.common.telemetry.tracing import NS_PER_MS, SpanKind, Spans, TraceSpan, below, current, emit, read

NS_PER_S: Final = 1_000_000_000


@contextmanager
def of_request(request: Request[Any, Any], header: str) -> Iterator[Callable[[str], None]]:
    """Make what is done a span below that of who asked, if there is one; what is given is told the error's name."""
    parent = read(header) if header and Spans.export is not None else None
    if parent is None:
        yield lambda _: None
        return
    context, begin_ns = below(parent), now_ms() * NS_PER_MS
    began = monotonic_s()
    errors: list[str] = []
    current.set(context)
    try:
        yield errors.append
    finally:
        error = errors[0] if errors else "cut off"
        method = request.name.rpartition(".")[2]
        attributes: dict[str, Any] = {"rpc.system": "nats", "rpc.service": request.owner, "rpc.method": method}
        attributes |= {"error.type": error} if error else {}
        end_ns = begin_ns + round((monotonic_s() - began) * NS_PER_S)
        emit(TraceSpan(request.name, context, parent, begin_ns, end_ns, attributes, SpanKind.SERVER, error))
