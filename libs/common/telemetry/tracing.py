"""Traces: what was done for a task, as spans that begin and end, over all services. Here is what a span is, and who it is told to: nobody, at first.

A trace needs no memory: which trace a task has, and the ids of its long spans, follow from the task itself. So a scheduler that takes over, or a
proxy that was restarted, goes on with the trace of the one before, and a span of hours is told at its end, with the beginning that is in the record.

    task (root)                          from init to the end; told by the scheduler
      POST /task/new/init, upload, commit, GET download    requests of clients; told by the proxy
        scheduler.submit_task            what was asked of another service over NATS (header `traceparent`)
      place                              from the commit, or the end of the attempt before, to the slot
      attempt                            from the slot to its end
        forward                          a proxy sends the files to the node
        run                              from the node's commit to its end

A client that has a trace of its own (header `traceparent` of init) gets all of this in its trace; the header is read as W3C Trace Context says
and otherwise left alone. While nobody is told (`Spans.export` is None) nothing of this is made.
"""

import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from hashlib import blake2b
from re import compile as pattern
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
"""The header, of HTTP and of NATS."""
WRITTEN: Final = pattern(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
LENGTH: Final = 55
SAMPLED: Final = 1
HEX: Final = 16
NS_PER_MS: Final = 1_000_000
Value = str | int | float | bool


class SpanContext(NamedTuple):
    """Which span of which trace."""

    trace_id: int
    span_id: int
    sampled: bool = True
    """Whether spans below it are to be told."""

    @property
    def header(self) -> str:
        """Write it for another process."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{SAMPLED if self.sampled else 0:02x}"


class SpanKind(Enum):
    """What a span is."""

    INTERNAL = "internal"
    SERVER = "server"


class TraceSpan(NamedTuple):
    """Something that was done, and is over."""

    name: str
    context: SpanContext
    parent: SpanContext | None
    begin_ns: int
    """Since 1970."""
    end_ns: int
    attributes: Mapping[str, Value]
    kind: SpanKind = SpanKind.INTERNAL
    error: str = ""
    """Why it failed; empty: it did not."""


class Spans:
    """Whom spans are told to, in this process."""

    export: Callable[[TraceSpan], None] | None = None
    """None: nobody, and then none are made. Must neither wait nor raise."""


current: Final[ContextVar[SpanContext | None]] = ContextVar("span", default=None)
"""The span that this piece of work belongs to; goes with it into every asyncio task that it starts."""


def emit(span: TraceSpan) -> None:
    """Tell a span, if somebody listens and its trace wants it."""
    if Spans.export is not None and span.context.sampled:
        Spans.export(span)


def exemplar_of(context: SpanContext | None) -> int:
    """Say which trace shows how a figure came about; 0: none that is told."""
    return context.trace_id if context and context.sampled and Spans.export is not None else 0


def read(header: str) -> SpanContext | None:
    """Read a header of somebody else; None: it is none (W3C Trace Context, 3.2)."""
    found = WRITTEN.fullmatch(header) if len(header) == LENGTH else None
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, HEX) for part in found.groups())
    return SpanContext(trace_id, span_id, bool(flags & SAMPLED)) if trace_id and span_id else None


def below(parent: SpanContext) -> SpanContext:
    """Begin a span below another."""
    return SpanContext(parent.trace_id, fresh_id(), parent.sampled)


def fresh_id() -> int:
    """Make the id of a span that nobody has to find again."""
    return int.from_bytes(os.urandom(8), "big") or 1


def of_task(task: str, trace: str, *about: object) -> SpanContext:
    """Name the span of a task, or with `about` one of its long ones. `trace`: the header of its client's init, or empty."""
    known = read(trace)
    return SpanContext(
        known.trace_id if known else digest(16, task),
        digest(8, task, *about),
        known.sampled if known else True,
    )


def digest(size_bytes: int, *words: object) -> int:
    """Make an id of words: the same ones give the same id, in every process."""
    text = "\0".join(map(str, words)).encode()
    return int.from_bytes(blake2b(text, digest_size=size_bytes, person=b"clusterodm span").digest(), "big") or 1
