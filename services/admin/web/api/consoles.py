"""Routes of what is read line by line: the consoles of tasks, and what machines say while they boot."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from clusterodm.libs.common.errors import ClusterError
from clusterodm.services.admin.web.api.answers import Views, router_of, said
from clusterodm.services.admin.web.api.bounds import StreamEnded
from clusterodm.services.admin.web.core.views import ConsoleView
from clusterodm.services.admin.web.handlers.reading import ClusterReader

LINES_COUNT: Final = 100_000_000
PAGES_COUNT: Final = 10_000
Line = Annotated[int, Query(ge=-LINES_COUNT, le=LINES_COUNT)]
ReadFrom = Callable[[int], Awaitable[ConsoleView]]


def console_routes(reader: ClusterReader, views: Views) -> list[APIRouter]:
    """Make all routes."""
    return [task_consoles(reader, views), boot_logs(reader, views)]


def task_consoles(reader: ClusterReader, views: Views) -> APIRouter:
    """Serve consoles of tasks."""
    router = router_of("tasks")

    @router.get(
        "/tasks/{task}/console",
        summary="A task's console from a line on; a negative number: the last lines",
        **views.described(ConsoleView, 404),
    )
    async def console(task: str, from_line: Line = 0) -> Response:
        return said(await reader.console(task, from_line))

    @router.get("/tasks/{task}/console.txt", summary="A task's whole console as text", **views.text("text/plain", 404))
    async def console_text(task: str) -> Response:
        return await whole(lambda from_line: reader.console(task, from_line), "console.txt")

    return router


def boot_logs(reader: ClusterReader, views: Views) -> APIRouter:
    """Serve what machines say while they boot."""
    router = router_of("machines")

    @router.get(
        "/machines/{machine}/boot-log",
        summary="What a machine has said while it booted, from a line on; a negative number: the last lines",
        **views.described(ConsoleView, 404, 409),
    )
    async def boot_log(machine: str, from_line: Line = 0) -> Response:
        return said(await reader.boot_log(machine, from_line))

    @router.get("/machines/{machine}/boot-log.txt", summary="The same as text", **views.text("text/plain", 404, 409))
    async def boot_log_text(machine: str) -> Response:
        return await whole(lambda from_line: reader.boot_log(machine, from_line), "boot-log.txt")

    return router


async def whole(read: ReadFrom, name: str) -> Response:
    """Send all lines as a file, page by page. Raises what reading the first page raises."""
    first = await read(0)

    async def lines() -> AsyncIterator[str]:
        page = first
        for _ in range(PAGES_COUNT):
            if not page.lines:
                return
            yield "".join(f"{line}\n" for line in page.lines)
            try:
                page = await read(page.next_line)
            except ClusterError:  # broken off, so that nobody takes it for the whole
                raise StreamEnded from None

    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines(), media_type="text/plain; charset=utf-8", headers=headers)
