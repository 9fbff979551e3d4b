"""Streams that last no longer than the session that asked for them.

A request is judged when it begins; a stream of events would go on for days after that. Its sender is judged again before each piece, and there is
one every few seconds (live.py). An answer of a length that it has said is whole or broken, and soon over: it is let through.
"""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Message, Send


class StreamEnded(Exception):
    """Whoever listens may listen no more; the answer has been ended."""


def lasting(send: Send, may_go_on: Callable[[], bool]) -> Send:
    """Send a stream for as long as it may go on; raises StreamEnded into what goes on nevertheless."""
    is_stream = False

    async def judged(message: Message) -> None:
        nonlocal is_stream
        if message["type"] == "http.response.start":
            is_stream = "content-length" not in Headers(raw=list(message.get("headers", ())))
        elif is_stream and message.get("more_body") and not may_go_on():
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            raise StreamEnded
        await send(message)

    return judged
