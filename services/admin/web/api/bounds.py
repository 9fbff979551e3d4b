"""How much a request may bring, and how long an answer may go on: for whatever answers behind the guard."""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE, RequestCycle
from clusterodm.services.admin.web.core.visitors import SAFE_METHODS

BODY_BYTES: Final = 100 * 1024
TAKE_S: Final = 60.0
"""A listener that takes nothing for so long is gone, as on telnet."""
TOO_LARGE: Final = "The request is too large."


class StreamEnded(Exception):
    """Whoever listens may listen no more, or does not listen; the answer has been ended."""


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


def lasting(scope: Scope, send: Send, may_go_on: Callable[[], bool]) -> Send:
    """Send a stream for as long as it may go on and is taken; raises StreamEnded into what goes on nevertheless."""
    is_stream = False

    async def judged(message: Message) -> None:
        nonlocal is_stream
        if message["type"] == "http.response.start":
            is_stream = "content-length" not in Headers(raw=list(message.get("headers", ())))
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
