"""The spans of clients' requests: init, upload, commit, what is asked to be done to a task, and downloads. Polls have none.

A request belongs to the trace that its client names, else to that of its task, where that is its client's: what another asks of it is none of its
trace. Whose it is is known once the token has been checked; of a task that has ended, and that nobody has asked about for a while, only when it has been
found. While the task is not known (init) or not held and not known here, there is no trace to belong to.
"""

from collections.abc import Callable
from typing import Final

from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.telemetry.tracing import (
    LENGTH,
    NS_PER_MS,
    TRACEPARENT,
    SpanContext,
    SpanKind,
    TraceSpan,
    Value,
    below,
    current,
    emit,
    exemplar_of,
    of_task,
    read,
)
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.server.endpoints import DOWNLOAD, endpoint_of
from clusterodm.services.proxy.spool.ports import Spool

TraceOf = Callable[[TaskId, Owner], str | None]
"""Says with which trace an owner's task came (empty: none); None: that owner has no such task, as far as is known here."""
INIT: Final = frozenset(("/task/new", "/task/new/init"))
OF_UPLOAD: Final = frozenset(("/task/new/upload/{uuid}", "/task/new/commit/{uuid}"))
SERVER_ERROR: Final = 500
ID_LENGTH: Final = 36
NS_PER_S: Final = 1_000_000_000


class RequestSpan:
    """The span of one request."""

    __slots__ = ("_begin_ns", "_context", "_exchange", "_parent", "_route", "_trace_of")

    def __init__(self, exchange: RequestContext, route: str, trace_of: TraceOf) -> None:
        self._trace_of = trace_of
        self._exchange = exchange
        self._route = route
        self._begin_ns = now_ms() * NS_PER_MS
        self._context: SpanContext | None = None
        self._parent: SpanContext | None = None

    @property
    def trace_id(self) -> int:
        """Of which trace it is; 0: of none that is told."""
        return exemplar_of(self._context)

    def is_below(self, parent: SpanContext) -> None:
        """Belong to a trace, from here on."""
        self._parent, self._context = parent, below(parent)
        current.set(self._context)

    def find_trace(self) -> None:
        """Belong to the trace of its task, if it belongs to none and the task is its client's; what is not known yet may be found later."""
        task, exchange = self._exchange.task, self._exchange
        if self._context is not None or task is None or exchange.tenant is None:
            return
        trace = self._trace_of(task, exchange.owner)
        if trace is not None:
            self.is_below(of_task(task, trace))

    def is_about(self, task: TaskId) -> None:
        """Hear which task it turned out to be about."""
        self._exchange.task = task
        if self._context is None:
            self.is_below(of_task(task, ""))

    def end(self, seconds: float) -> None:
        """Tell it."""
        exchange = self._exchange
        if self._context is None or exchange.tenant is None:
            return
        attributes: dict[str, Value] = {
            "http.request.method": exchange.method,
            "http.route": self._route,
            "url.scheme": exchange.scope["scheme"],
            "network.protocol.version": exchange.scope["http_version"],
            "http.request.body.size": exchange.received_bytes,
            "http.response.body.size": exchange.sent_bytes,
            "clusterodm.tenant": exchange.tenant.account,
        }
        if exchange.status:
            attributes["http.response.status_code"] = exchange.status
        if exchange.task:
            attributes["clusterodm.task.id"] = exchange.task
        error = "" if exchange.status else "closed without an answer"
        if exchange.status >= SERVER_ERROR:
            error = str(exchange.status)
        if error:
            attributes["error.type"] = error
        end_ns = self._begin_ns + round(seconds * NS_PER_S)
        name = f"{exchange.method} {self._route}"
        emit(TraceSpan(name, self._context, self._parent, self._begin_ns, end_ns, attributes, SpanKind.SERVER, error))


def traces_of(spool: Spool, cluster: Cluster) -> TraceOf:
    """Look in the spool, then among the records."""

    def trace_of(task: TaskId, owner: Owner) -> str | None:
        if held := spool.find(task):
            return held.draft.trace if may_touch(owner, held.draft.owner) else None
        record = cluster.task(task)
        return record.task.trace if record and may_touch(owner, record.task.owner) else None

    return trace_of


def begun(exchange: RequestContext, trace_of: TraceOf) -> RequestSpan | None:
    """Begin the span of a request; None: it has none."""
    route = endpoint_of(exchange.method, exchange.path)
    given = exchange.header(TRACEPARENT.encode()) or b""
    client = read(given.decode("latin-1")) if len(given) == LENGTH else None
    if route in INIT:
        span = RequestSpan(exchange, route, trace_of)
        exchange.heard_task = span.is_about
        exchange.trace = client.header if client else ""
        if client:
            span.is_below(client)
        return span
    if route not in OF_UPLOAD and route != DOWNLOAD:
        return None
    exchange.task = task_in(exchange.path, route)
    span = RequestSpan(exchange, route, trace_of)
    if client:
        span.is_below(client)
    else:
        exchange.heard_tenant = span.find_trace
    return span


def task_in(path: str, route: str) -> TaskId:
    """Read the id of a task in a path whose form is known."""
    return TaskId(path.split("/")[2] if route == DOWNLOAD else path.rpartition("/")[2][-ID_LENGTH:])
