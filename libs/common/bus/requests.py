"""Requests: asked of one owner, answered once, within a time limit.

A request that finds nobody listening was seen by nobody: it is sent again until its time is up, so that the restart of a service
is a delay and not an error; so is one that finds no NATS, and is sent when that is back. One that timed out may have been executed: it is never sent again.

Unless it is *idempotent* (messages.Request): then it does no harm twice, and is sent again whenever somebody else may answer it now:
the next leader has announced that it answers (`LEADER_ANSWERS`), or our own connection was lost and is back. So what was on its way to
a leader that died is answered by the next one as soon as there is one, and not refused when the time limit of the dead one is over.
The first answer counts, whoever gives it.

Every request carries the id of its cause (`CAUSE`).
"""

import asyncio
from typing import Any, Final, TypeVar

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from clusterodm.libs.common.bus.connection import Reconnection
from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.bus.replies import CAUSE, ERROR_CODE, reply_in
from clusterodm.libs.common.bus.retrying import NATS_ERRORS
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusFailed, ClusterError, OutcomeUnknown
from clusterodm.libs.common.messages.kinds import LongPoll, Request
from clusterodm.libs.common.process.lifecycle import cancel_and_wait, cancellable, monotonic_s
from clusterodm.libs.common.telemetry.metrics import counter, histogram
from clusterodm.libs.common.telemetry.request_context import cause
from clusterodm.libs.common.telemetry.tracing import TRACEPARENT, current, exemplar_of

Payload = TypeVar("Payload")
Reply = TypeVar("Reply")

RETRY_S: Final = 0.1
REQUESTS: Final = counter(
    "clusterodm_bus_requests_total",
    "Requests to other services: answered, refused, failed (nobody answered in time)",
    "request",
    "outcome",
)
REQUEST_SECONDS: Final = histogram(
    "clusterodm_bus_request_seconds",
    "How long requests to other services took, but for those that are held open",
    "request",
)


class Requests:
    """The requests of one process."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._leader_changed: dict[str, asyncio.Future[None]] = {}
        """By owner: done when somebody else may answer its requests."""
        self._reconnection = Reconnection(client)

    def __repr__(self) -> str:
        """Show whose leaders are waited for."""
        return f"Requests({sorted(self._leader_changed)})"

    def leader_answers(self, owner: str) -> None:
        """Send again what waits for an owner."""
        if leader_changed := self._leader_changed.pop(owner, None):
            leader_changed.set_result(None)

    def reconnected(self) -> None:
        """Send whatever has waited for NATS, and again what may have been lost."""
        self._reconnection.happened()
        for owner in list(self._leader_changed):
            self.leader_answers(owner)

    async def request(
        self, request: Request[Payload, Reply], message: Payload, timeout_s: float | None = None
    ) -> Reply:
        """Ask the owner; see ports.Bus."""
        deadline = monotonic_s() + (request.timeout_s if timeout_s is None else timeout_s)
        payload = msgspec.json.encode(message)
        headers = {CAUSE: cause.get() or new_id()}
        if (span := current.get()) is not None:
            headers[TRACEPARENT] = span.header
        asked_s = monotonic_s()
        outcome = "failed"
        try:
            send = self._first_answer if request.idempotent else self._answer
            reply = decode(request, await send(request, payload, headers, deadline))
            outcome = "answered"
        except BusFailed:
            raise
        except ClusterError:
            outcome = "refused"
            raise
        finally:
            REQUESTS.inc(request.name, outcome)
            if not isinstance(request, LongPoll):
                trace_id = exemplar_of(current.get())
                REQUEST_SECONDS.observe(monotonic_s() - asked_s, request.name, trace_id=trace_id)
        return reply

    async def _answer(self, request: Request[Any, Any], payload: bytes, headers: dict[str, str], until: Instant) -> Msg:
        while True:
            if not await self._reconnection.wait(until):  # nobody has seen the request, and nobody will
                raise BusFailed(f"no answer to {request.name}: NATS is away")
            try:
                left_s = max(until - monotonic_s(), RETRY_S)
                return await cancellable(
                    self._client.request(request.subject, payload, timeout=left_s, headers=headers)
                )
            except nats.errors.NoRespondersError:
                if monotonic_s() + RETRY_S >= until:
                    raise BusFailed(f"nobody answers {request.name}") from None
                await asyncio.sleep(RETRY_S)
            except NATS_ERRORS as error:
                raise OutcomeUnknown(f"no answer to {request.name}: {type(error).__name__}") from None

    async def _first_answer(
        self, request: Request[Any, Any], payload: bytes, headers: dict[str, str], until: Instant
    ) -> Msg:
        """Send, and send again whenever another leader may answer, until one is answered. Raises what the last one raised."""
        loop = asyncio.get_running_loop()
        tries: set[asyncio.Task[Msg]] = set()
        again = True
        try:
            while True:
                if again:
                    trying = loop.create_task(self._answer(request, payload, headers, until), name=request.name)
                    trying.add_done_callback(note_failure)
                    tries.add(trying)
                leader_changed = self._leader_changed.setdefault(request.owner, loop.create_future())
                waiting: set[asyncio.Future[Any]] = {*tries, leader_changed}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                again = leader_changed.done()
                over = sorted((each for each in tries if each.done()), key=lambda each: each.exception() is not None)
                tries.difference_update(over)
                if over and (over[0].exception() is None or not (tries or again)):
                    return over[0].result()
        finally:
            await cancel_and_wait(*tries)


def note_failure(attempt: "asyncio.Task[Msg]") -> None:
    """Know why one of several attempts failed: the caller is told of one, and asyncio would complain about the others."""
    if not attempt.cancelled():
        attempt.exception()


def decode(request: Request[Any, Reply], answer: Msg) -> Reply:
    """Read an answer: the reply, or the error that the handler raised."""
    return reply_in(request, (answer.headers or {}).get(ERROR_CODE), answer.data)
