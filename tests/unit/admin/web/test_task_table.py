"""The list of tasks says what each is called, and when it should end."""

import re
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.tasks import SEARCH_TASKS, SearchTasks, TaskPage, TaskSummary
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.web.api.guard import web_app
from clusterodm.services.admin.web.core.shown import NONE
from tests.fake_scheduler import admin_health

CELL = re.compile(r'<td data-label="Should end"[^>]*>(.*?)</td>', re.DOTALL)


def a_summary(task: str, state: TaskState, **facts: Any) -> TaskSummary:
    return TaskSummary(
        id=TaskId(task), name=task, state=state, images_count=1, created_at_ms=1, committed_at_ms=2, **facts
    )


async def test_when_a_task_should_end_stands_in_the_list_as_far_as_it_is_known():
    soon_ms = now_ms() + 90_500
    expected = Expected(end_at_ms=(soon_ms - 1000, soon_ms, soon_ms + 1000))
    tasks = (
        a_summary("runs", TaskState.RUNNING, expected=expected),
        a_summary("waits", TaskState.WAITING),
        a_summary("over", TaskState.COMPLETED, expected=expected),
    )
    page = await the_list(*tasks)
    cells = [re.sub(r"<[^>]*>", "", each).strip() for each in CELL.findall(page)]
    assert cells == ["in 1 min", "not known yet", NONE]


@pytest.mark.parametrize("name", ["", "   ", "\u00a0\u3000"], ids=["none", "white space", "wide white space"])
async def test_a_task_whose_name_leaves_nothing_to_be_seen_is_called_by_its_id(name: str):
    page = await the_list(replace(a_summary("6f9619ff", TaskState.RUNNING), name=name))
    assert ">6f9619ff</a>" in page
    assert "Progress of 6f9619ff" in page


async def the_list(*tasks: TaskSummary) -> str:
    """The page of tasks, in front of a scheduler that has these."""

    async def search(_asked: SearchTasks) -> TaskPage:
        return TaskPage(tasks=tasks, total_count=len(tasks))

    bus = MemoryBus()
    app = web_app(bus, Passwords({}), LoginThrottle(), admin_health(bus))
    async with (
        bus.serve("scheduler", {SEARCH_TASKS: search}),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        return (await client.get("/tasks")).text
