"""Lists and details: asked of the service that owns them, searched and paged, and put into views.

Tasks are searched by the scheduler; uploads that are not committed come first among them. Nodes and machines, of which there are
thousands at most, are searched here.
"""

import asyncio
from typing import Final

from msgspec.structs import replace

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.http_io.room import ROOM, size_of
from clusterodm.libs.common.messages.machines import LIST_MACHINES, ListMachines, MachineView
from clusterodm.libs.common.messages.tasks import (
    DESCRIBE_TASK,
    READ_CONSOLE,
    SEARCH_TASKS,
    ReadConsole,
    SearchTasks,
    TaskOrder,
    TaskPage,
    TaskRef,
)
from clusterodm.libs.common.messages.usage import GET_USAGE, GetUsage, UsageRow
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId, Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.admin.commands.core.answers import UPLOADING
from clusterodm.services.admin.commands.handlers.machines import boot_log
from clusterodm.services.admin.commands.handlers.queries import nodes_of
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.core.cluster_views import EventRow, event_row, event_texts, kind_of
from clusterodm.services.admin.web.core.machine_views import (
    MACHINE_SORTS,
    MachineDetail,
    MachineRow,
    machine_detail,
    machine_row,
    machine_texts,
)
from clusterodm.services.admin.web.core.node_views import NODE_SORTS, NodeRow, node_row, node_texts
from clusterodm.services.admin.web.core.task_views import (
    TasksPage,
    TaskView,
    matching_uploads,
    results_url,
    task_row,
    task_view,
    upload_row,
)
from clusterodm.services.admin.web.core.tenant_views import UsageListing, usage_entry
from clusterodm.services.admin.web.core.views import ConsoleView, ListPage, Wanted, listed

PAGES_COUNT: Final = 64
"""Answers about one console that are put together: 45 MB. A node may go on without end."""
WHOLE_COUNT: Final = 2
"""Consoles that are put together at the same time, whoever wants their last lines."""
ORDERS: Final = {each.value: each for each in TaskOrder}
STATES: Final = {each.value: each for each in TaskState}


class ClusterReader:
    """Reads for operators. Raises ClusterError: BusFailed when the owner does not answer, NotFound."""

    def __init__(self, bus: Bus, watched: Watched) -> None:
        self._bus = bus
        self.watched = watched
        self._putting_together = asyncio.Semaphore(WHOLE_COUNT)

    # --- tasks ------------------------------------------------------------------------------------------------------

    async def tasks(self, wanted: Wanted, node: str = "", since_ms: int = 0, owner: str = "") -> TasksPage:
        """List tasks, uploads first."""
        uploads = [] if node or since_ms or owner else matching_uploads(self.watched.known_uploads(), wanted)
        some = uploads[wanted.offset_count : wanted.offset_count + wanted.per_page]
        first = max(0, wanted.offset_count - len(uploads))
        page = await self._committed(wanted, node, since_ms, first, len(some), owner)
        rows = [*some, *map(task_row, page.tasks)][: wanted.per_page]
        return TasksPage(
            items=tuple(rows),
            total_count=page.total_count + len(uploads),
            page=wanted.page,
            per_page=wanted.per_page,
            states={UPLOADING: len(self.watched.uploads.values), **page.states},
        )

    async def _committed(  # noqa: PLR0913, PLR0917 what a list may be asked for
        self, wanted: Wanted, node: str, since_ms: int, offset_count: int, taken_count: int, owner: str
    ) -> TaskPage:
        states = tuple(STATES[state] for state in wanted.states if state in STATES)
        asked = SearchTasks(
            text=wanted.search,
            states=states,
            node=NodeId(node) if node else None,
            owner=Owner(owner) if owner else None,
            since_ms=since_ms,
            order=ORDERS.get(wanted.sort, TaskOrder.COMMITTED),
            descending=wanted.descending,
            offset_count=offset_count,
            limit_count=max(1, wanted.per_page - taken_count),
        )
        page = await self._bus.request(SEARCH_TASKS, asked)
        if wanted.states and not states:  # uploads alone
            return TaskPage(states=page.states)
        return page

    async def queue(self, wanted: Wanted) -> TasksPage:
        """List the waiting tasks in the order of the queue."""
        asked = Wanted(
            search=wanted.search, states=("waiting",), sort="queue", page=wanted.page, per_page=wanted.per_page
        )
        return await self.tasks(asked)

    async def task(self, task: str, host: str = "") -> TaskView:
        """Show a task, or an upload. `host`: the name of this page's address, for that of its results."""
        upload = self.watched.uploads.get(task)
        try:
            described = await self._bus.request(DESCRIBE_TASK, TaskRef(task=TaskId(task)))
            return task_view(described, results_url(task, self.watched.known_spools(), host))
        except NotFound:
            if upload is None:
                raise
            return TaskView(task=upload_row(upload), upload_owner=upload.instance)

    async def console(self, task: str, from_line: int) -> ConsoleView:
        """Show a console from a line on; an upload has none yet. Nothing follows once the task had ended before its last line was read."""
        if self.watched.uploads.get(task) is not None:
            return ConsoleView(lines=(), from_line=from_line, next_line=max(from_line, 0), ended=False)
        ended = (await self._bus.request(DESCRIBE_TASK, TaskRef(task=TaskId(task)))).task.state.ended
        if from_line < 0:  # which number the last lines have, only the whole tells
            async with self._putting_together:
                lines = await self._whole_console(task)
            first = max(0, len(lines) + from_line)
            return ConsoleView(lines=tuple(lines[first:]), from_line=first, next_line=len(lines), ended=ended)
        page = await self._console_page(task, from_line)
        return ConsoleView(lines=page, from_line=from_line, next_line=from_line + len(page), ended=ended and not page)

    async def _whole_console(self, task: str) -> list[str]:
        lines: list[str] = []
        async with ROOM.share() as share:
            for _ in range(PAGES_COUNT):
                lines += (page := await self._console_page(task, len(lines)))
                if not page:
                    break
                await share.add(size_of(page))
        return lines

    async def _console_page(self, task: str, from_line: int) -> tuple[str, ...]:
        return (await self._bus.request(READ_CONSOLE, ReadConsole(task=TaskId(task), from_line=from_line))).lines

    # --- nodes, machines --------------------------------------------------------------------------------------------

    async def nodes(self, wanted: Wanted) -> ListPage[NodeRow]:
        """List nodes."""
        rows = map(node_row, await nodes_of(self._bus))
        return listed(rows, wanted, node_texts, NODE_SORTS, lambda row: row.state)

    async def node(self, node: str) -> NodeRow:
        """Show a node. Raises NotFound."""
        found = next((each for each in await nodes_of(self._bus) if each.id == NodeId(node)), None)
        if found is None:
            raise NotFound("there is no such node")
        return node_row(found)

    async def machines(self, wanted: Wanted, *, ended: bool = False) -> ListPage[MachineRow]:
        """List machines."""
        rows = map(machine_row, await self._machines(ended=ended))
        return listed(rows, wanted, machine_texts, MACHINE_SORTS, lambda row: row.state)

    async def machine(self, machine: str) -> MachineDetail:
        """Show a machine, also one that has ended lately. Raises NotFound."""
        views = await self._machines(ended=True)
        found = next((each for each in views if each.machine.id == MachineId(machine)), None)
        if found is None:
            raise NotFound("there is no such machine")
        return machine_detail(found)

    async def boot_log(self, machine: str, from_line: int) -> ConsoleView:
        """Show what a machine has said while it booted, from a line on. Raises NotFound."""
        log = await boot_log(self._bus, MachineId(machine), from_line)
        return ConsoleView(lines=log.lines, from_line=log.from_line, next_line=log.next_line, ended=log.ended)

    async def _machines(self, *, ended: bool) -> tuple[MachineView, ...]:
        return (await self._bus.request(LIST_MACHINES, ListMachines(ended=ended))).machines

    # --- tenants ----------------------------------------------------------------------------------------------------

    async def usage(self, wanted: Wanted, asked: GetUsage) -> UsageListing:
        """List what tenants have used. Raises Refused where a day is none."""
        page = await self._bus.request(
            GET_USAGE, replace(asked, offset_count=wanted.offset_count, limit_count=wanted.per_page)
        )
        return UsageListing(
            items=tuple(map(usage_entry, page.rows)),
            total_count=page.total_count,
            page=wanted.page,
            per_page=wanted.per_page,
            total=usage_entry(UsageRow(tenant="", used=page.total)),
        )

    # --- events -----------------------------------------------------------------------------------------------------

    async def events(self, wanted: Wanted, *, task: str = "", node: str = "", machine: str = "") -> ListPage[EventRow]:
        """List the last events, the newest first; `states` are kinds."""
        await self.watched.events.read()
        about = {"task": task, "node": node, "machine": machine}
        fitting = (
            each
            for each in reversed(self.watched.events.events)
            if all(not id_ or each.payload.get(name) == id_ for name, id_ in about.items())
        )
        found = listed(fitting, wanted, lambda each: event_texts(event_row(each)), {}, kind_of)
        return ListPage(
            items=tuple(map(event_row, found.items)),
            total_count=found.total_count,
            page=found.page,
            per_page=found.per_page,
        )
