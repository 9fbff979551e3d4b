"""Answers that no story gives: unknown paths, preflights, what is refused or put off."""

import re
from typing import Final

from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.http1.lines import Header
from clusterodm.services.proxy.actions import ACTIONS
from clusterodm.services.proxy.errors import ServerBusy, SpoolFull
from clusterodm.services.proxy.exchange.nodeodm_api import (
    DISK_FULL,
    UNAVAILABLE,
    cannot_handle,
    words_of,
)
from clusterodm.services.proxy.exchange.request import OK, RETRY_AFTER, RequestContext

TASK: Final = re.compile(r"/task/(\w+-\w+-\w+-\w+-\w+)/(.+)", re.ASCII)
LIST: Final = "/task/list"
NO_CONTENT: Final = 204
FAILED: Final = 500


async def unknown(exchange: RequestContext) -> None:
    """Answer for an address that there is not, as it would stand in a URL."""
    path = exchange.path.replace("?", "%3F").replace("#", "%23").replace("\\", "%5C")
    await exchange.json({"error": cannot_handle(path)})


async def refuse(exchange: RequestContext, error: ClusterError) -> None:
    """Say what each kind of trouble is answered with; to an action that it was not done, as NodeODM."""
    await exchange.drain_after(error)
    status = (
        UNAVAILABLE if isinstance(error, BusFailed | ServerBusy) else DISK_FULL if isinstance(error, SpoolFull) else OK
    )
    more = {"success": False} if exchange.path in ACTIONS else {}
    headers = [RETRY_AFTER] if status == UNAVAILABLE else []
    await exchange.json({**more, "error": words_of(error)}, status, close=exchange.body_left, headers=headers)


async def preflight(exchange: RequestContext) -> None:
    """Answer what a browser asks before it asks: any method and header may come from anywhere."""
    wanted_method = exchange.header(b"access-control-request-method") or b"GET, HEAD, POST, OPTIONS"
    headers: list[Header] = [(b"access-control-allow-methods", wanted_method)]
    if wanted_headers := exchange.header(b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", wanted_headers))
    headers.append((b"access-control-max-age", b"600"))
    await exchange.empty(NO_CONTENT, headers)


async def put_off(exchange: RequestContext, error: ServerBusy) -> None:
    """Ask a client to come again; a poll is never told of it."""
    if exchange.started or is_poll(exchange.path):
        exchange.drop()
    else:
        await exchange.refuse(error.message, UNAVAILABLE)


async def apologise(exchange: RequestContext) -> None:
    """End a request that failed by our own fault: a poll is never told of it, and half an answer is never left open."""
    if exchange.started or is_poll(exchange.path):
        exchange.drop()
    else:
        await exchange.refuse("Internal error", FAILED)


def is_poll(path: str) -> bool:
    """Whether an address is asked again and again: its clients take any status for the end, and ask again when the connection is closed."""
    return path == LIST or TASK.fullmatch(path) is not None
