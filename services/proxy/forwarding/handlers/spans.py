"""The span of sending a task's files to its node, below that of the attempt, which the scheduler names (`Placed.trace`)."""

from collections.abc import Mapping
from typing import Final

from clusterodm.libs.common.messages.placement import Placed
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.process.lifecycle import monotonic_s, now_ms
from clusterodm.libs.common.telemetry.tracing import (
    NS_PER_MS,
    Spans,
    TraceSpan,
    Value,
    below,
    current,
    emit,
    exemplar_of,
    read,
)

NS_PER_S: Final = 1_000_000_000


class ForwardSpan:
    """Begins when it is made, and is told at its end; nothing of it where nobody traces."""

    def __init__(self, task: TaskId, placed: Placed) -> None:
        parent = read(placed.trace) if Spans.export is not None else None
        self._task = task
        self._placed = placed
        self._parent = parent
        self._context = below(parent) if parent else None
        self._begin_ns, self._began = now_ms() * NS_PER_MS, monotonic_s()
        if self._context:
            current.set(self._context)

    @property
    def trace_id(self) -> int:
        """Of which trace it is; 0: of none that is told."""
        return exemplar_of(self._context)

    def end(self, sent: Mapping[str, int], error: str) -> None:
        """Tell it. `sent`: bytes of the files that the node has."""
        if self._context is None:
            return
        attributes: dict[str, Value] = {
            "clusterodm.task.id": self._task,
            "clusterodm.attempt": self._placed.attempt,
            "clusterodm.node.id": self._placed.node.id,
            "clusterodm.forward.files": len(sent),
            "clusterodm.forward.size": sum(sent.values()),
        }
        end_ns = self._begin_ns + round((monotonic_s() - self._began) * NS_PER_S)
        emit(TraceSpan("forward", self._context, self._parent, self._begin_ns, end_ns, attributes, error=error))
