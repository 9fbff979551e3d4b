"""One request and its answer, as little above ASGI as the hot paths can afford.

CORS is answered for every origin, with credentials: the token is in the URL, so there is nothing a cookie could add.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE, RequestCycle
from clusterodm.libs.common.http_io.scope import Message, Receive, Scope, Send
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.libs.http1.bodies import Pieces
from clusterodm.libs.http1.lines import Header, find
from clusterodm.services.proxy.errors import BodyTooLong
from clusterodm.services.proxy.exchange.limits import BodyLimits
from clusterodm.services.proxy.exchange.nodeodm_api import UNAVAILABLE, Caller

JSON_TYPE: Final = (b"content-type", b"application/json")
RETRY_AFTER: Final = (b"retry-after", b"5")
TOO_LONG: Final = "The request is longer than this server takes."
OK: Final = 200
PARAMETERS_LIMIT_COUNT: Final = 100
TOGETHER_BYTES: Final = 64 * 1024
"""A body that is no longer is taken in one piece."""
DRAIN_S: Final = 10.0
DRAIN_LIMIT_BYTES: Final = 256 * 1024 * 1024


class ClientGone(Exception):
    """The client has closed the connection: nobody is left to answer."""


class BodyStalled(Exception):
    """The client has stopped sending in the middle of a body."""


class RequestContext:
    """A request under way."""

    __slots__ = (
        "_body_begun",
        "_body_over",
        "_came_bytes",
        "_is_beyond",
        "_kept_bytes",
        "_query",
        "_waited_s",
        "beside_bytes",
        "bounds",
        "given_origin",
        "headers",
        "heard_task",
        "heard_tenant",
        "method",
        "path",
        "receive",
        "received_bytes",
        "scope",
        "send",
        "sent_bytes",
        "started",
        "status",
        "task",
        "tenant",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, bounds: BodyLimits) -> None:
        self.bounds = bounds
        self.beside_bytes = 0
        """What somebody else has taken of the body, straight from the socket, since the last chunk."""
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: list[Header] = scope["headers"]
        self.started = False
        """The head of the answer is out."""
        self.status = 0
        """Of the answer; 0: there was none, or it broke off."""
        self.received_bytes = self.sent_bytes = 0
        """Of the bodies."""
        self.given_origin = ""
        """The root of our address as another proxy, which passed this on, says it."""
        self.tenant: Tenant | None = None
        """For whom it speaks, once its token has been checked."""
        self.task: TaskId | None = None
        """Which task it is about, for traces; None: none, or nobody knows."""
        self.trace = ""
        """The header of the trace that its client begins the task in."""
        self.heard_task: Callable[[TaskId], None] | None = None
        """Called when it is known which task has come of it, if somebody wants to hear that."""
        self.heard_tenant: Callable[[], None] | None = None
        """Called when it is known for whom it speaks, if somebody wants to hear that."""
        self._query: dict[str, list[str]] | None = None
        self._body_begun = self._body_over = self._is_beyond = False
        self._kept_bytes = 0
        """Of the body, in memory."""
        self._waited_s, self._came_bytes = 0.0, 0
        """For the body, since it was looked at how fast it comes."""

    def is_about(self, task: TaskId) -> None:
        """Say which task has come of it."""
        if self.heard_task is not None:
            self.heard_task(task)

    def header(self, name: bytes) -> bytes | None:
        """Look up a line of the request's head."""
        return find(self.headers, name)

    @property
    def query(self) -> dict[str, list[str]]:
        """The query parameters."""
        if self._query is None:
            raw: bytes = self.scope["query_string"]
            self._query = parameters(raw) if raw else {}
        return self._query

    def parameter(self, name: str) -> str | None:
        """Look up one query parameter."""
        values = self.query.get(name)
        return values[0] if values else None

    @property
    def token(self) -> str:
        """The client's token, or nothing."""
        return self.parameter("token") or ""

    @property
    def owner(self) -> Owner:
        """Whose tasks this client reaches."""
        return self.tenant.account if self.tenant else owner_of(self.token)

    @property
    def origin(self) -> str:
        """The root of our address as this client sees it."""
        if self.given_origin:
            return self.given_origin
        if host := self.header(b"host"):
            return f"{self.scope['scheme']}://{host.decode('latin-1')}"
        name, port = self.scope.get("server") or ("localhost", 80)
        return f"{self.scope['scheme']}://{name}:{port}"

    # --- the body

    @property
    def length_bytes(self) -> int:
        """How long the body will be; 0 where the client does not say it."""
        length = self.header(b"content-length")
        return int(length) if length and length.isdigit() else 0

    async def chunks(self, stall_s: float) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises ClientGone, BodyStalled."""
        self._waited_s, self._came_bytes = 0.0, 0
        while (body := await self.piece(stall_s)) is not None:
            yield body

    async def piece(self, stall_s: float) -> bytes | None:
        """Take the next piece of the body; None: it is over. Raises ClientGone, BodyStalled."""
        self._body_begun = True
        while not self._body_over:
            body = await self._next(stall_s)
            self._came_bytes += len(body) + self.beside_bytes
            self.received_bytes += len(body) + self.beside_bytes
            self.beside_bytes = 0
            if self._waited_s > stall_s:
                self._judge_pace()
            if body:
                return body
        return None

    def _judge_pace(self) -> None:
        """Raise BodyStalled for a body that drips: only waiting for the client counts, not what we do with what it sent."""
        if self._came_bytes < self._waited_s * self.bounds.min_bytes_per_s and not self._body_over:
            raise BodyStalled
        self._waited_s, self._came_bytes = 0.0, 0

    async def _next(self, stall_s: float) -> bytes:
        message = await (self.receive() if self.cycle.ready else self._waited_for(stall_s))
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._body_over = not message.get("more_body", False)
        body: bytes = message["body"]
        return body

    async def _waited_for(self, stall_s: float) -> Message:
        """Wait for a piece. One that was to be larger is taken as it is when nothing more has come in time."""
        clock = asyncio.get_running_loop().time
        asked_s = clock()
        try:
            async with asyncio.timeout(stall_s):
                return await self.receive()
        except TimeoutError:
            self.cycle.low_water_bytes = 0
            if not self.cycle.ready:
                raise BodyStalled from None
            return await self.receive()
        finally:
            self._waited_s += clock() - asked_s

    def begin_upload(self) -> None:
        """Prepare for the body of an upload: a short one is taken in one piece. Raises BodyTooLong where that is known already."""
        limit_bytes, length_bytes = self.bounds.body_bytes, self.length_bytes
        if limit_bytes and length_bytes > limit_bytes:
            raise BodyTooLong(TOO_LONG)
        if length_bytes <= TOGETHER_BYTES:
            self.cycle.low_water_bytes = length_bytes

    async def upload_piece(self, stall_s: float) -> bytes | None:
        """Take the next piece of an upload's body; None: it is over. Raises as `piece`, and BodyTooLong.

        Not a generator: one costs as much as the rest of a small file's way through here.
        """
        piece = await self.piece(stall_s)
        if self.bounds.body_bytes and self.received_bytes > self.bounds.body_bytes:
            raise BodyTooLong(TOO_LONG)
        return piece

    async def body(self, limit_bytes: int, stall_s: float) -> bytes | None:
        """Take the body as a whole; None when it is longer than allowed. Raises ServerBusy."""
        content = Pieces()
        async for chunk in self.chunks(stall_s):
            if len(content) + len(chunk) > limit_bytes:
                return None
            content.add(chunk)
            self.keep(len(content))
        await self.bounds.together.turn(len(content))
        return content.take()

    def keep(self, kept_bytes: int) -> None:
        """Say how much of the body is kept in memory by now. Raises ServerBusy."""
        self.bounds.together.grown(self._kept_bytes, kept_bytes, is_beyond=self._is_beyond)
        self._kept_bytes = kept_bytes

    async def keep_in_turn(self, kept_bytes: int) -> None:
        """Say the same of an upload, and let it wait where there is no room for it now. Raises ServerBusy when there is none for too long."""
        self._is_beyond = self._is_beyond or await self.bounds.together.wait_for_room(self._kept_bytes, kept_bytes)
        self.keep(kept_bytes)

    def forget(self) -> None:
        """Say that nothing of it is kept any more."""
        self.bounds.together.gone(self._kept_bytes, is_beyond=self._is_beyond)
        self._kept_bytes, self._is_beyond = 0, False

    async def drain_after(self, error: BaseException) -> None:
        """Let go of what has been kept of the body, and read on (`drain`): tracebacks, also of what led to an error, keep all that was being read then."""
        error.with_traceback(None).__context__ = None
        self.forget()
        await self.drain()

    async def drain(self) -> None:
        """Read on for a while without looking: most clients see an answer only after they have sent everything.

        One that waits for `100 Continue` has sent nothing yet, and is answered at once.
        """
        if not self._body_begun and self.header(b"expect"):
            return
        size_bytes = 0
        try:
            async with asyncio.timeout(DRAIN_S):
                self._waited_s, self._came_bytes = 0.0, 0
                while size_bytes <= DRAIN_LIMIT_BYTES and (piece := await self.piece(DRAIN_S)) is not None:
                    size_bytes += len(piece)
                    del piece  # a name that lives on would keep it until the next one comes
        except (TimeoutError, BodyStalled):
            return

    @property
    def body_left(self) -> bool:
        """Whether a part of the body has not been read."""
        return not self._body_over

    # --- the answer

    def cors(self) -> list[Header]:
        """Write the CORS lines for the origin that asks."""
        origin = self.header(b"origin")
        if origin is None:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]

    async def head(self, status: int, headers: list[Header]) -> None:
        """Send the head of the answer."""
        self.started, self.status = True, status
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, *self.cors()]})

    async def part(self, data: bytes, *, more: bool) -> None:
        """Send a part of the body; returns when the client keeps up."""
        self.sent_bytes += len(data)
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def json(self, value: Any, status: int = OK, *, close: bool = False, headers: Sequence[Header] = ()) -> None:
        """Answer with JSON; bytes are JSON already."""
        content = value if isinstance(value, bytes) else msgspec.json.encode(value)
        self.started, self.status = True, status
        self.sent_bytes += len(content)
        await self.cycle.answer(status, [JSON_TYPE, *headers, *self.cors()], content, close=close)

    async def refuse(self, message: str, status: int = OK) -> None:
        """Answer with an error. Of a body that is still coming not everything need be read: the connection is then closed."""
        headers = [RETRY_AFTER] if status == UNAVAILABLE else []
        await self.json({"error": message}, status, close=self.body_left and self.method == "POST", headers=headers)

    async def empty(self, status: int, headers: list[Header] | None = None) -> None:
        """Answer without a body."""
        length = [] if status == 204 else [(b"content-length", b"0")]  # noqa: PLR2004 204 must not have one
        await self.head(status, [*(headers or []), *length])
        await self.part(b"", more=False)

    @property
    def cycle(self) -> RequestCycle:
        """What may be done beyond ASGI."""
        cycle: RequestCycle = self.scope["extensions"][REQUEST_CYCLE]
        return cycle

    def drop(self) -> None:
        """Close the connection instead of an answer."""
        self.status = 0
        self.cycle.drop()


def parameters(raw: bytes) -> dict[str, list[str]]:
    """Read a query; one with absurdly many parameters has none."""
    try:
        return parse_qs(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=PARAMETERS_LIMIT_COUNT)
    except ValueError:
        return {}


def caller_of(exchange: RequestContext, public_address: str) -> Caller:
    """Say who asks."""
    return Caller(
        exchange.owner, exchange.token, public_address or exchange.origin, exchange.tenant or Tenant(), exchange.trace
    )


def text(value: bytes | None) -> str | None:
    """Decode a header line."""
    return None if value is None else value.decode("latin-1")
