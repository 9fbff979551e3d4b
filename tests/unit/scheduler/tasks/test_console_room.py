"""tasks/handlers/observing.py, ConsoleStore: whole consoles in memory have bounds together."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from clusterodm.libs.common.http_io.room import ROOM
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.services.scheduler.leadership import Leadership
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.tasks.core.observation import KeptConsole, packed
from clusterodm.services.scheduler.tasks.handlers.observing import REMEMBERED_COUNT, ConsoleStore
from tests.waiting import until

MB = 1 << 20
NODE = Node(id=NodeId("a-3000"), hostname="a", port=3000)
LINE = "x" * MB


@dataclass
class Consoles:
    """A node with one long console; and a store that waits, when it is written to, until the test lets it."""

    lines: tuple[str, ...] = (LINE,) * 40
    may_write: asyncio.Event = field(default_factory=asyncio.Event)
    contents: dict[str, bytes] = field(default_factory=dict)
    writing_count: int = 0

    async def output(self, node: Node, task: NodeTaskId, from_line: int, timeout_s: float) -> tuple[str, ...]:
        del node, task, timeout_s
        return self.lines[from_line:]

    async def put(self, key: str, content: bytes) -> None:
        self.writing_count += 1
        await self.may_write.wait()
        self.contents[key] = content

    async def get(self, key: str) -> bytes | None:
        return self.contents.get(key)

    def require(self) -> None:
        pass


def store(consoles: Consoles, **settings: float) -> ConsoleStore:
    return ConsoleStore(
        consoles,  # type: ignore[arg-type] # as far as it is asked here
        cast("NodeApi", consoles),
        cast("Leadership", consoles),
        SchedulerSettings(**settings),
    )


def ended(number: int) -> Task:
    return Task(
        id=TaskId(str(number)),
        name="n",
        upload_owner=InstanceId("i"),
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
        state=TaskState.COMPLETED,
        ended_at_ms=5,
        console_kept=True,
    )


async def test_consoles_that_are_being_kept_have_one_room() -> None:
    consoles, before = Consoles(), repr(ROOM)
    kept = store(consoles)
    async with asyncio.TaskGroup() as group:
        keeping = [group.create_task(kept.keep(TaskId(str(number)), NODE, NodeTaskId("x"))) for number in range(5)]
        await until(lambda: consoles.writing_count == 2 and "waiting=3" in repr(ROOM), what="the others to wait")
        consoles.may_write.set()
    assert [task.result() for task in keeping] == [True] * 5
    assert (len(consoles.contents), repr(ROOM)) == (5, before)


async def test_a_console_that_finds_no_room_in_its_time_is_not_kept_as_a_whole() -> None:
    consoles, before = Consoles(), repr(ROOM)
    async with asyncio.TaskGroup() as group:
        first = [
            group.create_task(store(consoles).keep(TaskId(str(number)), NODE, NodeTaskId("x"))) for number in range(2)
        ]
        await until(lambda: consoles.writing_count == 2)
        assert await store(consoles, console_timeout_s=0.05).keep(TaskId("late"), NODE, NodeTaskId("x")) is False
        consoles.may_write.set()
    assert ([task.result() for task in first], repr(ROOM)) == ([True, True], before)


@pytest.mark.parametrize(
    ("lines_count", "remembered_count"),
    [
        pytest.param(1, REMEMBERED_COUNT, id="short ones"),
        pytest.param(20, 3, id="long ones"),
        pytest.param(70, 1, id="longer than the room"),
    ],
)
async def test_consoles_that_are_remembered_have_one_room(lines_count: int, remembered_count: int) -> None:
    consoles = Consoles()
    content = packed(KeptConsole((LINE,) * lines_count))
    kept = store(consoles)
    for number in range(remembered_count + 2):
        consoles.contents[str(number)] = content
        found = await kept.read(ended(number))
        assert found is not None
        assert found.count == lines_count
    assert len(kept._read) == remembered_count
    again = await kept.read(ended(remembered_count + 1))
    assert again is found
