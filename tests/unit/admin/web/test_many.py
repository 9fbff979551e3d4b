"""With a hundred thousand tasks and a thousand nodes pages are as small, and touch as few records, as with few.

Times are measured by `make bench ONLY=pages`; here it is counted: the bytes of each page, and the instructions that the table of tasks needs for it.
The scheduler's parts and the admin's are the real ones, on a bus in memory.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH
from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import NodeId, Owner, TaskId
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.web.api.guard import web_app
from clusterodm.services.scheduler.records.adapters import SqliteIndex
from clusterodm.services.scheduler.records.ports import EndedRow
from clusterodm.services.scheduler.registry.node_state import OurTasks
from tests.fake_scheduler import admin_health
from tests.scheduling import NOW_MS, UPLOAD_OWNER, Play, a_play

FEW, MANY = 1_000, 100_000
NODES_COUNT = 1_000
WAITING_COUNT = 500
PAGE_LIMIT_BYTES = 200_000
INSTRUCTIONS = 100
"""SQLite tells of so many at a time."""
LOOKED_AT = 20
"""Instructions for each row that is looked at, where all have to be."""
PAGES = (
    "/",
    "/tasks",
    "/tasks?page=3",
    "/tasks?state=failed",
    "/tasks?sort=name&order=asc",
    "/tasks?sort=time",
    "/queue",
    "/nodes",
    "/nodes?page=20&sort=name",
    "/api/v1/tasks?per_page=200",
    "/api/v1/tasks?state=completed&per_page=200&order=asc",
    "/api/v1/nodes?per_page=200",
)
SEARCHED = ("/tasks?search=field%20777", "/tasks?state=failed&state=running", "/tasks?node=n7-3000")
"""Lists for which rows have to be looked at one by one."""


def ended_rows(count: int) -> Iterator[EndedRow]:
    """Make tasks that have ended, most of them well."""
    for number in range(count):
        state = TaskState.FAILED if number % 9 == 0 else TaskState.COMPLETED
        task, node = TaskId(f"{number:08}-0000-4000-8000-000000000000"), NodeId(f"n{number % NODES_COUNT}-3000")
        at_ms = NOW_MS - 1_000 * (count - number)
        summary = TaskSummary(
            id=task,
            name=f"Survey of field {number}, flown in the morning, second try",
            state=state,
            images_count=number % 700,
            created_at_ms=at_ms - 60_000,
            committed_at_ms=at_ms,
            ended_at_ms=at_ms + 500,
            processing_time_ms=number * 7 % 100_000,
            node=node,
            node_name=node,
            reason="Not enough memory" if state is TaskState.FAILED else "",
        )
        yield EndedRow(task, Owner(""), node, at_ms, at_ms + 500, summary)


class Site:
    """What a test looks at."""

    def __init__(self, client: httpx.AsyncClient, table: SqliteIndex) -> None:
        self._client = client
        self._told_count = 0
        table._table.set_progress_handler(self._tell, INSTRUCTIONS)

    def _tell(self) -> int:
        self._told_count += 1
        return 0

    async def get(self, path: str) -> tuple[int, int]:
        """Fetch a page: its bytes, and the instructions of the table for it."""
        self._told_count = 0
        response = await self._client.get(path)
        assert response.status_code == 200, (path, response.text[:300])
        return len(response.content), self._told_count * INSTRUCTIONS


def fill(play: Play, tasks_count: int) -> None:
    """Put nodes and tasks where the scheduler has them."""
    state = play.scheduler.state
    for number in range(NODES_COUNT):
        node = state.nodes.put(
            Node(id=NodeId(f"n{number}-3000"), hostname=f"n{number}", port=3000), play.clock.instant()
        )
        info = NodeInfo(max_parallel_tasks=2, version="2.2.4", engine="odm", engine_version="3.5.5")
        state.nodes.hit(node, info, OurTasks(), play.now)
    play.scheduler.records.archive.table.add(ended_rows(tasks_count - WAITING_COUNT))
    for number in range(WAITING_COUNT):
        task = Task(
            id=TaskId(f"{number:08}-1111-4000-8000-000000000000"),
            name=f"Survey that waits {number}",
            upload_owner=UPLOAD_OWNER,
            created_at_ms=NOW_MS,
            committed_at_ms=NOW_MS + number,
            images_count=100,
            waiting_because="all nodes are busy",
        )
        state.index.put(task, number + 1, play.now)


@asynccontextmanager
async def a_site(tasks_count: int) -> AsyncIterator[Site]:
    async with a_play() as play:
        fill(play, tasks_count)
        health = {SCHEDULER_HEALTH: Health("scheduler", lambda: {"bus": True}).answer}
        app = web_app(play.bus, Passwords({}), LoginThrottle(), admin_health(play.bus))
        async with (
            play.bus.serve("scheduler", play.scheduler.requests() | health),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):
            site = Site(client, play.scheduler.records.archive.table)  # type: ignore[arg-type] # it is the real one
            await site.get("/tasks")  # takes in what waits
            yield site


@pytest.fixture
async def found() -> dict[str, list[tuple[int, int]]]:
    """Fetch every page of a cluster with few tasks, and of one with many."""
    pages: dict[str, list[tuple[int, int]]] = {path: [] for path in (*PAGES, *SEARCHED)}
    for count in (FEW, MANY):
        async with a_site(count) as site:
            for path, of in pages.items():
                of.append(await site.get(path))
    return pages


async def test_pages_are_as_small_and_touch_as_few_records_with_a_hundred_thousand_tasks(
    found: dict[str, list[tuple[int, int]]],
) -> None:
    sizes = {path: max(size for size, _ in both) for path, both in found.items()}
    assert {path: size for path, size in sizes.items() if size > PAGE_LIMIT_BYTES} == {}
    grown = {path: works for path in PAGES if (works := [work for _, work in found[path]])[1] > 1.2 * works[0] + 2_000}
    assert grown == {}
    each = {path: found[path][1][1] / MANY for path in SEARCHED}
    assert {path: work for path, work in each.items() if work > LOOKED_AT} == {}
