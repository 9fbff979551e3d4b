"""How much a request may bring and how long it may take for that, how long an answer may go on, and how many there may be: for whatever answers behind the guard."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE, RequestCycle
from clusterodm.services.admin.web.core.visitors import SAFE_METHODS

BODY_BYTES: Final = 100 * 1024
BODY_S: Final = 30.0
"""For all of a body, from when somebody wants it: what stands below has no clock for bodies (libs/http1/server)."""
COMING_COUNT: Final = 64
"""Bodies that are waited for at the same time, of all 200 connections: who never sends the rest of one takes no place from others."""
STREAMS_COUNT: Final = 120
STREAMS_PER_USER_COUNT: Final = 60
"""Of a user: pages that are seen, each with one, and downloads of consoles. A page whose stream was ended asks for another in two seconds."""
TAKE_S: Final = 60.0
"""A listener that takes nothing for so long is gone, as on telnet."""
TOO_LARGE: Final = "The request is too large."


class StreamEnded(Exception):
    """Whoever listens may listen no more, or does not listen, or what it is read from has failed; the answer has been ended, or is broken off."""


def too_long(length: str) -> bool:
    """Judge what a request says of the length of its body."""
    return not length.isdigit() or int(length) > BODY_BYTES


def limited(scope: Scope, receive: Receive) -> Receive:
    """Count a body that did not say its length: whoever reads one that is too long gets HTTPException. Where nothing is to be changed nobody reads one, and of what goes on nothing is kept."""
    received_bytes = 0

    async def counted() -> Message:
        nonlocal received_bytes
        message = await receive()
        if message["type"] != "http.request":
            return message
        received_bytes += len(message.get("body", b""))
        if received_bytes <= BODY_BYTES:
            return message
        if scope["method"] not in SAFE_METHODS:
            raise HTTPException(413, TOO_LARGE)
        return {**message, "body": b""}

    return counted


class ComingBodies:
    """The bodies that somebody waits for. Each has its time, and of more than may be the oldest gives way: its connection is closed, as if its client had gone."""

    def __init__(self) -> None:
        self._scopes: dict[int, Scope] = {}
        """The oldest first."""

    @contextmanager
    def received(self, scope: Scope, receive: Receive) -> Iterator[Receive]:
        """Give what receives a body in its time, while the context is open."""
        if scope["method"] in SAFE_METHODS:  # it is read only to hear that the client has gone
            yield receive
            return
        until_s: float | None = None
        is_whole = False

        async def timely() -> Message:
            nonlocal until_s, is_whole
            if is_whole:
                return await receive()
            if until_s is None:
                until_s = asyncio.get_running_loop().time() + BODY_S
                self._begin(scope)
            try:
                async with asyncio.timeout_at(until_s):
                    message = await receive()
            except TimeoutError:
                drop(scope)
                message = {"type": "http.disconnect"}
            if is_whole := not message.get("more_body"):
                self._end(scope)
            return message

        try:
            yield timely
        finally:
            self._end(scope)

    def _begin(self, scope: Scope) -> None:
        self._scopes[id(scope)] = scope
        if len(self._scopes) > COMING_COUNT:
            drop(self._scopes.pop(next(iter(self._scopes))))

    def _end(self, scope: Scope) -> None:
        self._scopes.pop(id(scope), None)


class OpenStreams:
    """The answers that go on, each of a user. Of more than may be that user's oldest gives way, or the oldest of whoever has the most."""

    def __init__(self) -> None:
        self._streams: dict[int, tuple[str, Scope]] = {}
        """The oldest first."""

    def begin(self, scope: Scope, user: str) -> None:
        """Let one begin."""
        counts = Counter(owner for owner, _ in self._streams.values())
        if counts[user] >= STREAMS_PER_USER_COUNT:
            self._end_oldest(user)
        elif len(self._streams) >= STREAMS_COUNT:
            self._end_oldest(counts.most_common(1)[0][0])
        self._streams[id(scope)] = user, scope

    def end(self, scope: Scope) -> None:
        """Know that an answer is over."""
        self._streams.pop(id(scope), None)

    def _end_oldest(self, user: str) -> None:
        oldest = next(key for key, (owner, _) in self._streams.items() if owner == user)
        drop(self._streams.pop(oldest)[1])


def lasting(scope: Scope, send: Send, may_go_on: Callable[[], bool], begins: Callable[[], None]) -> Send:
    """Send a stream for as long as it may go on and is taken; raises StreamEnded into what goes on nevertheless. `begins` is called before a stream."""
    is_stream = False

    async def judged(message: Message) -> None:
        nonlocal is_stream
        if message["type"] == "http.response.start":
            is_stream = "content-length" not in Headers(raw=list(message.get("headers", ())))
            if is_stream:
                begins()
        elif is_stream and message.get("more_body") and not may_go_on():
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            raise StreamEnded
        if not is_stream:
            return await send(message)
        try:
            async with asyncio.timeout(TAKE_S):
                await send(message)
        except TimeoutError:
            drop(scope)
            raise StreamEnded from None

    return judged


def drop(scope: Scope) -> None:
    """Close the connection of a request, whatever is not sent yet."""
    cycle: RequestCycle | None = scope.get("extensions", {}).get(REQUEST_CYCLE)
    if cycle is not None:
        cycle.drop()
