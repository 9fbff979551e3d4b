"""What is answered once. Nothing here needs an event loop, so that a command may do without one (api/session.py)."""

import argparse
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.messages.machines import LIST_MACHINES, ListMachines
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.tasks import SEARCH_TASKS, SearchTasks, TaskOrder, TaskSummary
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.process.wall_clock import now_ms
from clusterodm.services.admin.cli.core.asking import command_of
from clusterodm.services.admin.cli.core.reading import began_ms
from clusterodm.services.admin.commands.core.answers import (
    UPLOADING,
    Answer,
    Invalid,
    TaskListing,
    Unavailable,
    name_of,
    numbered,
)
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.commands.handlers.queries import nodes_of, uploads

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus

ID_LENGTH: Final = 36
OFFERED_COUNT: Final = 200
"""Tasks that a shell offers: the newest."""
PAGE_COUNT: Final = 500
"""As many as the scheduler lists at a time."""


async def ask(bus: "Bus", given: argparse.Namespace) -> Answer:
    """Carry out one command that is answered once."""
    try:
        await complete_ids(bus, given)
        if (given.noun, given.verb) == ("task", "list"):
            return await search(bus, given)
    except (NotFound, Refused) as error:
        return Invalid(error.message)
    except BusFailed:
        return Unavailable("The scheduler does not answer.")
    return await execute(bus, command_of(given))


async def complete_ids(bus: "Bus", given: argparse.Namespace) -> None:
    """Replace the beginnings of ids by ids. Raises NotFound, Refused when several begin so, and BusFailed."""
    task = getattr(given, "task", None)
    if isinstance(task, list):
        given.task = [await whole_id(bus, each) for each in task]
    elif task is not None:
        given.task = await whole_id(bus, task)


async def whole_id(bus: "Bus", beginning: str) -> TaskId:
    """Find the task that is meant by the beginning of its id."""
    if not beginning.strip():
        raise Refused("an empty text is the beginning of every id: name a task")
    if len(beginning) >= ID_LENGTH:
        return TaskId(beginning)
    every = [each.id async for each in summaries(bus, SearchTasks(text=beginning))]
    every += [each.task for each in await uploads_of(bus, SearchTasks()) if each.task not in every]
    found = sorted(each for each in every if each.startswith(beginning.lower()) or each == beginning)
    if beginning in found or len(found) == 1:
        return TaskId(beginning) if beginning in found else found[0]
    if not found:
        raise NotFound(f"no task's id begins with {beginning}")
    few = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")  # noqa: PLR2004 enough to see the difference
    raise Refused(f"{len(found)} tasks' ids begin with {beginning}: {few}")


async def search(bus: "Bus", given: argparse.Namespace) -> Answer:
    """List tasks that are as the flags say, sorted, or in the order of their commits; behind them uploads, which are not committed. Raises BusFailed."""
    node = None if given.number is None else numbered(await nodes_of(bus), given.number)
    if given.number is not None and node is None:
        return Invalid("there is no such node")
    wanted = SearchTasks(
        states=tuple(TaskState(each) for each in given.state or () if each != UPLOADING),
        node=node.id if node else None,
        owner=Owner(given.owner) if given.owner else None,
        since_ms=0 if given.since is None else began_ms(given.since, now_ms()),
    )
    filtered = bool(node or given.state or given.owner or given.since is not None or given.limit == 0)
    uploads = [] if node or UPLOADING not in (given.state or UPLOADING) else await uploads_of(bus, wanted)
    if given.sort or given.order:
        order, descending = TaskOrder(given.sort or TaskOrder.COMMITTED), given.order != "asc"
        none = given.state and not wanted.states
        tasks = () if none else await sorted_summaries(bus, wanted, given.limit, order, descending=descending)
        room = len(uploads) if given.limit is None else max(0, given.limit - len(tasks))
        return TaskListing(tasks, tuple(uploads[len(uploads) - room :] if room < len(uploads) else uploads), filtered)
    if given.limit is not None:
        uploads = uploads[max(0, len(uploads) - given.limit) :]
    if given.state and not wanted.states:
        return TaskListing((), tuple(uploads), filtered)
    if given.limit is None:
        return TaskListing(tuple([each async for each in summaries(bus, wanted)]), tuple(uploads), filtered)
    return TaskListing(await last_summaries(bus, wanted, given.limit - len(uploads)), tuple(uploads), filtered)


async def summaries(bus: "Bus", wanted: SearchTasks) -> AsyncIterator[TaskSummary]:
    """Ask for tasks, page by page, in the order of their commits. A page begins where the last one ended, whatever comes or goes meanwhile."""
    seen: set[TaskId] = set()
    while True:
        asked = replace(wanted, descending=False, limit_count=PAGE_COUNT)
        page = await bus.request(SEARCH_TASKS, asked)
        for each in page.tasks:
            if each.id not in seen:
                yield each
        if not page.tasks or page.total_count <= len(page.tasks):
            return
        last_ms = page.tasks[-1].committed_at_ms
        seen = {each.id for each in page.tasks if each.committed_at_ms == last_ms}
        wanted = replace(wanted, since_ms=last_ms + (last_ms == wanted.since_ms))


async def sorted_summaries(
    bus: "Bus",
    wanted: SearchTasks,
    count: int | None,
    order: TaskOrder = TaskOrder.COMMITTED,
    *,
    descending: bool = True,
) -> tuple[TaskSummary, ...]:
    """Ask for tasks, page by page, as the scheduler sorts them; each once, whatever comes or goes meanwhile. `count`: no more than so many."""
    found: dict[TaskId, TaskSummary] = {}
    offset_count = 0
    while count is None or len(found) < count:
        room_count = PAGE_COUNT if count is None else min(PAGE_COUNT, count - len(found))
        asked = replace(wanted, order=order, descending=descending, offset_count=offset_count, limit_count=room_count)
        page = await bus.request(SEARCH_TASKS, asked)
        found |= {each.id: each for each in page.tasks if each.id not in found}
        offset_count += len(page.tasks)
        if not page.tasks or offset_count >= page.total_count:
            break
    return tuple(found.values())


async def last_summaries(bus: "Bus", wanted: SearchTasks, count: int) -> tuple[TaskSummary, ...]:
    """Ask for the newest tasks, the newest last."""
    return (await sorted_summaries(bus, wanted, count))[::-1]


async def uploads_of(bus: "Bus", wanted: SearchTasks) -> list[UploadProgress]:
    """List the uploads in progress, the newest last."""
    found = [each async for each in uploads(bus)]
    fitting = [each for each in found if wanted.owner in {None, each.owner} and each.created_at_ms >= wanted.since_ms]
    return sorted(fitting, key=lambda each: each.created_at_ms)


async def completions(bus: "Bus", kind: str) -> Sequence[tuple[str, str]]:
    """Say what a shell may complete, each with what it is. Raises BusFailed."""
    if kind == "node":
        return [(str(node.number), name_of(node)) for node in await nodes_of(bus)]
    if kind == "machine":
        views = (await bus.request(LIST_MACHINES, ListMachines())).machines
        return [(str(view.number), view.machine.id) for view in views]
    if kind == "task":
        last = await last_summaries(bus, SearchTasks(), OFFERED_COUNT)
        return [(each.id, f"{each.state} {each.name}") for each in last]
    return []
