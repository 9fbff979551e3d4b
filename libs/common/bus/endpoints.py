"""Requests as they are answered: an endpoint each, with its errors, figures and spans."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.request import Request as MicroRequest

from clusterodm.libs.common.bus.replies import CAUSE
from clusterodm.libs.common.errors import ClusterError, error_name
from clusterodm.libs.common.messages.kinds import LongPoll, Request, Snapshot
from clusterodm.libs.common.ports import Handler, Term
from clusterodm.libs.common.process.lifecycle import TaskLimiter, cancellable, monotonic_s, now_ms
from clusterodm.libs.common.telemetry.log import Seldom
from clusterodm.libs.common.telemetry.metrics import UNREADABLE, counter, histogram
from clusterodm.libs.common.telemetry.request_context import cause
from clusterodm.libs.common.telemetry.tracing import (
    NS_PER_MS,
    TRACEPARENT,
    SpanKind,
    Spans,
    TraceSpan,
    below,
    current,
    emit,
    read,
)
from clusterodm.libs.common.untrusted import Malformed, decode_json

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)

OUT_OF_A_STREAM: Final = "it comes out of a stream"
"""NATS delivers what a stream holds to whatever subject a consumer names, whoever made that; the message keeps the subject it was written under."""
ANSWERED_TO: Final = "_INBOX."
"""An answer is published with our rights, to where the request says. So it goes to an inbox or nowhere: elsewhere it would be an order of ours."""
NS_PER_S: Final = 1_000_000_000
LONGEST_CAUSE: Final = 100
"""So much of it goes into logs and events."""
NO_INBOX: Final = "its answer would not go to an inbox"
UNREADABLE_AS_JSON: Final = (Malformed, msgspec.DecodeError, UnicodeDecodeError, RecursionError)
Payload = TypeVar("Payload")


ANSWERS: Final = counter(
    "clusterodm_bus_answers_total",
    "Requests of other services that were answered here, by outcome: ok, or the error's name",
    "request",
    "outcome",
)
ANSWER_SECONDS: Final = histogram(
    "clusterodm_bus_answer_seconds",
    "How long it took to answer requests of other services, but for those that are held open",
    "request",
)


class Refusals:
    """What is not even read, in the log now and then: others cause it as often as they like."""

    def __init__(self) -> None:
        self._refused, self._left = Seldom(), Seldom()

    def mention(self, request: str, reason: str) -> None:
        """Say that a request is refused."""
        if count := self._refused.passes(asyncio.get_running_loop().time()):
            log.warning("request.refused", request=request, reason=reason, count=count)

    def mention_left(self, request: str) -> None:
        """Say that it is for another leader to answer."""
        if count := self._left.passes(asyncio.get_running_loop().time()):
            log.info("request.left_to_leader", request=request, reason="the term is over", count=count)


class AnsweringClient:
    """A connection for nats.micro, which hears nothing whose answer would not go to an inbox.

    `waiting`: how many requests of one subject may wait here, and how many bytes of them; what comes beyond that is dropped by nats-py.
    """

    def __init__(self, client: Client, waiting: tuple[int, int] | None = None) -> None:
        self._client = client
        self._limits: dict[str, Any] = (
            {} if waiting is None else {"pending_msgs_limit": waiting[0], "pending_bytes_limit": waiting[1]}
        )
        self._refusals = Refusals()

    def __getattr__(self, name: str) -> Any:
        """Be the connection in everything else."""
        return getattr(self._client, name)

    async def subscribe(
        self, subject: str, queue: str = "", cb: Callable[[Msg], Awaitable[None]] | None = None
    ) -> Subscription:
        """Listen as the connection does."""

        async def heard(message: Msg) -> None:
            if not message.reply.startswith(ANSWERED_TO):
                self._refusals.mention(message.subject[:100], NO_INBOX)
            elif cb is not None:
                await cb(message)

        return await self._client.subscribe(subject, queue=queue, cb=heard, **self._limits)


async def hand_over(snapshot: Snapshot[Payload], data: bytes, handler: Callable[[Payload], Awaitable[None]]) -> None:
    """Call the handler with a snapshot, unless nobody can read it."""
    told = decoded(snapshot.name, data, snapshot.payload) if data else None
    if told is not None:
        await handler(told)


def decoded(name: str, data: bytes, kind: type[Payload]) -> Payload | None:
    """Read a message; None when this version cannot."""
    try:
        return msgspec.json.decode(data, type=kind)
    except UNREADABLE_AS_JSON as error:
        UNREADABLE.inc(name)
        at_will.warning("message.not_decoded", message=name, reason=str(error))
        return None


def endpoint(
    limiter: TaskLimiter, request: Request[Any, Any], handler: Handler, term: Term | None
) -> Callable[[MicroRequest], Awaitable[None]]:
    """Make the micro endpoint of one request: each call in a task of the limiter; silent when the term is over."""
    decode = decoding(request)
    refusals = Refusals()

    async def answer(asked: MicroRequest) -> None:
        cause.set((asked.headers or {}).get(CAUSE, "")[:LONGEST_CAUSE])
        if term is not None and not term.valid:
            refusals.mention_left(request.name)
            return
        began = monotonic_s()
        with of_request(request, (asked.headers or {}).get(TRACEPARENT, "")) as outcome:
            error, payload = await worked_out(request, handler, decode, asked.data)
            outcome(error)
        ANSWERS.inc(request.name, error or "ok")
        if not isinstance(request, LongPoll):
            ANSWER_SECONDS.observe(monotonic_s() - began, request.name)
        if term is not None and not term.valid:
            log.warning("request.unanswered", request=request.name, reason="the term is over")
            return
        await cancellable(asked.respond_error(error, request.name, payload) if error else asked.respond(payload))

    async def handle(asked: MicroRequest) -> None:
        if asked.subject != request.subject:
            refusals.mention(request.name, OUT_OF_A_STREAM)
            return
        await limiter.start(answer(asked), name=request.name)

    return handle


def decoding(request: Request[Any, Any]) -> Callable[[bytes], Any]:
    """Choose how a request is read; one of a program of others as whatever comes from outside."""
    if request.for_programs:
        return lambda data: decode_json(data, request.payload)
    return msgspec.json.Decoder(request.payload).decode


async def worked_out(
    request: Request[Any, Any], handler: Handler, decode: Callable[[bytes], Any], data: bytes
) -> tuple[str, bytes]:
    """Have a request answered; the error's name if it is one, and the answer."""
    try:
        message = decode(data)
    except UNREADABLE_AS_JSON as error:
        return "refused", f"not a {request.payload.__name__}: {error}".encode()
    try:
        return "", msgspec.json.encode(await handler(message))
    except ClusterError as error:
        return error_name(error), error.message.encode()
    except Exception:
        log.exception("request.failed", request=request.name, at_will=True)
        return "bus-failed", f"{request.owner} failed".encode()


@contextmanager
def of_request(request: Request[Any, Any], header: str) -> Iterator[Callable[[str], None]]:
    """Make what is done a span below that of who asked, which the header `traceparent` names, if there is one; what is given is told the error's name."""
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
