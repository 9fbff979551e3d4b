"""Consoles as `/api/v1` gives them: from a line on, or the last lines; where to go on, and when nothing more will come."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound
from clusterodm.libs.common.messages.tasks import Console, ReadConsole
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.bounds import StreamEnded
from clusterodm.services.admin.web.api.consoles import whole
from clusterodm.services.admin.web.core.views import ConsoleView
from clusterodm.services.admin.web.handlers.reading import PAGES_COUNT, ClusterReader
from tests.fake_scheduler import FakeScheduler, node, task

PAGE = 4
LINES = tuple(f"line {number}" for number in range(10))


class PagingScheduler(FakeScheduler):
    """Answers with no more than some lines at a time, as a message holds no more; `before`: what happens before it reads them."""

    before: Callable[[], object] = staticmethod(lambda: None)
    endless = False

    async def read_console(self, asked: ReadConsole) -> Console:
        self.before()
        if self.endless:
            return Console(lines=("and on",))
        lines = (await super().read_console(asked)).lines
        return Console(lines=lines[-PAGE:] if asked.from_line < 0 else lines[:PAGE])


def scheduler_with(state: TaskState) -> PagingScheduler:
    fake = PagingScheduler()
    fake.nodes = [node(1)]
    fake.tasks = [task("t1", state, fake.nodes[0])]
    fake.consoles = {"t1": LINES}
    return fake


async def asked(bus: MemoryBus, fake: PagingScheduler, from_line: int) -> ConsoleView:
    async with bus.serve("scheduler", fake.handlers()):
        return await ClusterReader(bus, Watched(bus)).console("t1", from_line)


@pytest.mark.parametrize("from_line", [-1, -3, -7, -100])
async def test_behind_the_last_lines_a_reader_goes_on_with_what_follows(bus: MemoryBus, from_line: int):
    fake = scheduler_with(TaskState.RUNNING)
    last = await asked(bus, fake, from_line)
    assert last.lines == LINES[from_line:]
    assert (last.from_line, last.next_line, last.ended) == (max(0, 10 + from_line), 10, False)
    fake.consoles["t1"] += ("new",)
    assert (await asked(bus, fake, last.next_line)).lines == ("new",)


async def test_nothing_more_will_come_is_not_said_while_something_does(bus: MemoryBus):
    fake = scheduler_with(TaskState.COMPLETED)
    read: list[str] = []
    page = await asked(bus, fake, 0)
    while not page.ended:
        read += page.lines
        page = await asked(bus, fake, page.next_line)
    assert tuple(read) == LINES
    assert (await asked(bus, fake, -2)).ended


async def test_a_task_that_ends_while_it_is_read_has_not_said_its_last_yet(bus: MemoryBus):
    fake = scheduler_with(TaskState.RUNNING)
    fake.before = lambda: fake.tasks.__setitem__(0, task("t1", TaskState.COMPLETED, fake.nodes[0]))
    assert not (await asked(bus, fake, 10)).ended
    assert (await asked(bus, fake, 10)).ended


async def test_a_console_without_end_is_not_read_for_ever(bus: MemoryBus):
    fake = scheduler_with(TaskState.RUNNING)
    fake.endless = True
    assert (await asked(bus, fake, -1)).next_line == PAGES_COUNT


async def test_an_unknown_task_has_none(bus: MemoryBus):
    async with bus.serve("scheduler", FakeScheduler().handlers()):
        with pytest.raises(NotFound):
            await ClusterReader(bus, Watched(bus)).console("t1", 0)


async def test_a_console_that_breaks_off_is_not_taken_for_the_whole():
    async def read(from_line: int) -> ConsoleView:
        if from_line:
            raise BusFailed("NATS is away")
        return ConsoleView(lines=("one",), from_line=0, next_line=1, ended=False)

    response = await whole(read, "console.txt")
    pieces: Any = response.body_iterator  # type: ignore[attr-defined] # it is a stream
    assert await anext(pieces) == "one\n"
    with pytest.raises(StreamEnded):
        await anext(pieces)


async def test_no_more_consoles_than_two_are_put_together_at_the_same_time(bus: MemoryBus):
    fake, at_work, most = scheduler_with(TaskState.RUNNING), 0, 0

    class Slow(PagingScheduler):
        async def read_console(self, asked: ReadConsole) -> Console:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1
            return await super().read_console(asked)

    slow = Slow()
    slow.nodes, slow.tasks, slow.consoles = fake.nodes, fake.tasks, fake.consoles
    async with bus.serve("scheduler", slow.handlers()):
        reader = ClusterReader(bus, Watched(bus))
        found = await asyncio.gather(*(reader.console("t1", -1) for _ in range(10)))
    assert {each.lines for each in found} == {(LINES[-1],)}
    assert most == 2
