"""Whom the client asks, what, and for how long it waits; and what went wrong in words."""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from clusterodm.libs.common.errors import NodeUnreachable

Value = TypeVar("Value")


LATE: Final = "did not answer in time"
NO_SUCH_NAME: Final = frozenset((socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)))
NOT_HTTP: Final = "answered with something that is not HTTP"


class Origin(NamedTuple):
    """Where a server is."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one request may take."""

    connect_s: float
    head_s: float
    """From the request to the end of the head of the answer."""
    silence_s: float
    """Between two pieces of the body."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One request as it goes over the wire."""

    head: bytes
    """All of it, where it has no body or brings it along."""
    head_only: bool = False
    """It is a HEAD."""
    repeatable: bool = True
    """It may be sent twice, so it may go over a kept connection."""


async def within(work: Awaitable[Value], limit_s: float, complaint: str) -> Value:
    """Await something that must be done before a request can go out. Raises NodeUnreachable."""
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError:
        raise NodeUnreachable(complaint) from None


def in_words(error: Exception) -> str:
    """Say why no connection came about."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    if isinstance(error, socket.gaierror):
        return "name not found" if error.errno in NO_SUCH_NAME else "its name cannot be looked up now"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return type(error).__name__
