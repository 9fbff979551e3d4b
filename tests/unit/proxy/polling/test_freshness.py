"""polling/core/node_queries.py and polling/handlers/node_answers.py: a node is asked once in a while, and nobody is told what is no longer so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.messages.tasks import (
    CONFIRM_TASKS,
    GET_TASK,
    ConfirmTasks,
    TaskRecord,
    TaskRef,
    TasksConfirmed,
)
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.polling.api import open_polling
from clusterodm.services.proxy.polling.core.node_queries import (
    CONSOLE_LIMIT_CHARS,
    INFO_LIMIT_BYTES,
    NodeAnswer,
    lines_from,
    may_be_told_again,
    widest,
)
from clusterodm.services.proxy.polling.handlers.coalesce import Poll
from tests.proxy_ports import FakeCluster, FakeUpstream, says
from tests.unit.proxy.polling.test_read import ANNE, INFO, NODE, OUTPUT, TASK, a_task, of_node
from tests.waiting import until

FRESH_S = 0.5
LINES = ["3", "4", "5"]


@pytest.mark.parametrize(
    ("first", "wanted", "told"),
    [
        pytest.param(3, 3, LINES, id="the same"),
        pytest.param(3, 5, ["5"], id="later ones"),
        pytest.param(3, 9, [], id="none yet"),
        pytest.param(3, 2, None, id="earlier ones"),
        pytest.param(None, 0, None, id="no console was asked for"),
        pytest.param(3, -2, ["4", "5"], id="the last ones"),
        pytest.param(3, -4, None, id="more of the last ones than there are"),
        pytest.param(0, -4, LINES, id="more of the last ones than there are in all"),
        pytest.param(-5, -4, LINES, id="fewer of the last ones"),
        pytest.param(-3, -4, None, id="more of the last ones"),
        pytest.param(-3, 3, None, id="counted from the other end"),
    ],
)
def test_a_part_of_a_console_is_taken_out_of_what_a_node_said(
    first: int | None, wanted: int, told: list[str] | None
) -> None:
    assert lines_from(first, LINES, wanted) == told


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [(3, None, 3), (None, 3, 3), (None, None, None), (5, 3, 3), (-1, -4, -4), (5, -4, 5), (-4, 5, -4)],
)
def test_a_node_is_asked_for_what_all_have_wanted(one: int | None, other: int | None, both: int | None) -> None:
    assert widest(one, other) == both


@pytest.mark.parametrize(
    ("info", "lines", "again"),
    [
        pytest.param(of_node(20), [], True, id="runs"),
        pytest.param(of_node(10), [], False, id="waits on its node"),
        pytest.param(of_node(40), [], False, id="has ended"),
        pytest.param({}, [], False, id="says nothing"),
        pytest.param(None, ["a"], True, id="a console"),
        pytest.param(None, ["a" * CONSOLE_LIMIT_CHARS, "b"], False, id="a long console"),
        pytest.param(of_node(20), ["a" * CONSOLE_LIMIT_CHARS, "b"], False, id="runs, with a long console"),
        pytest.param(None, [""] * CONSOLE_LIMIT_CHARS, False, id="a console of empty lines"),
        pytest.param(of_node(20, options=[{}] * 150), ["a" * 80] * 500, True, id="runs, with a usual console"),
        pytest.param(of_node(20, more="a" * INFO_LIMIT_BYTES), [], False, id="says very much"),
    ],
)
def test_only_that_a_task_runs_is_told_again(info: dict[str, Any] | None, lines: list[str], again: bool) -> None:
    record = TaskRecord(task=a_task(), revision=1)
    assert may_be_told_again(NodeAnswer(record, Instant(0), info, 0, lines)) is again


class World:
    """A task that runs on a node, its record, and a scheduler that says what the mirror does not know yet."""

    def __init__(self, fresh_s: float = FRESH_S) -> None:
        self.bus = MemoryBus()
        self.cluster = FakeCluster()
        self.nodes = FakeUpstream()
        self.clock = FakeClock()
        self.confirmed: list[int] = []
        self.latest = a_task()
        self.answers = asyncio.Event()
        self.answers.set()
        self.serving = AsyncExitStack()
        self.cluster.nodes[NODE.id] = NODE
        finder = TaskFinder(self.bus, self.cluster, self.clock)
        self.polling = open_polling(self.bus, self.cluster, self.nodes, finder, self.clock, fresh_s=fresh_s)
        self.reader, self.polls = self.polling.reader, self.polling.polls
        self.cluster.put(a_task())
        self.nodes.answers = {
            INFO: says(of_node(output=["one", "two", "three"])),
            OUTPUT: says(["one", "two", "three"]),
        }

    async def confirm(self, asked: ConfirmTasks) -> TasksConfirmed:
        self.confirmed.append(len(asked.seen))
        await self.answers.wait()
        return await self.cluster.confirm(asked)

    async def get(self, asked: TaskRef) -> TaskRecord:
        del asked
        return TaskRecord(task=self.latest, revision=9)

    async def poll(self, from_line: int | None = None, *, output: bool = False) -> Any:
        """Ask as most clients do; what they are told, None: they are sent the usual way."""
        taken: list[bytes | None] = []
        work = self.polls.answer(Poll(TASK, output, from_line), ANNE, taken.append)
        if work is not None:
            await work
        await until(lambda: taken, what="an answer")
        return None if taken[0] is None else msgspec.json.decode(taken[0])

    def ends(self) -> None:
        """Have the task end, told by the scheduler to other proxies only."""
        self.nodes.answers[INFO] = says(of_node(40))
        self.cluster.outdated.add(TASK)

    @property
    def asked_count(self) -> int:
        return len(self.nodes.asked)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with made.serving:
        await made.serving.enter_async_context(
            made.bus.serve("scheduler", {CONFIRM_TASKS: made.confirm, GET_TASK: made.get})
        )
        yield made


async def test_a_task_that_is_watched_is_asked_of_its_node_once(world: World) -> None:
    told = [await world.poll() for _ in range(5)] + [await world.reader.info(TASK, ANNE, None)]
    assert told == [told[0]] * 6
    assert (told[0]["uuid"], told[0]["status"]) == (TASK, {"code": 20})
    assert world.asked_count == 1
    assert len(world.confirmed) == 7


async def test_what_is_told_is_never_older_than_the_setting(world: World) -> None:
    await world.poll()
    world.clock.pass_s(FRESH_S)
    await world.poll()
    assert world.asked_count == 1
    world.clock.pass_s(0.001)
    world.nodes.answers[INFO] = says(of_node(progress=60))
    assert (await world.poll())["progress"] == 60
    assert world.asked_count == 2


async def test_age_counts_from_the_question_and_until_the_answer_is_sent(world: World) -> None:
    await world.poll()
    world.answers.clear()
    world.clock.pass_s(FRESH_S)
    taken: list[bytes | None] = []
    async with asyncio.TaskGroup() as group:
        work = world.polls.answer(Poll(TASK, output=False, from_line=None), ANNE, taken.append)
        assert work is not None
        group.create_task(work)
        await until(lambda: world.confirmed)
        world.clock.pass_s(0.001)
        world.answers.set()
    assert taken == [None]


async def test_an_end_that_the_mirror_has_not_heard_of_is_not_missed(world: World) -> None:
    assert (await world.poll())["status"] == {"code": 20}
    world.ends()
    assert await world.poll() is None
    world.cluster.put(a_task(TaskState.COMPLETED, known=LastKnown(seen_at_ms=1, code=StatusCode.COMPLETED)))
    world.cluster.outdated.clear()
    assert (await world.poll())["status"] == {"code": 40}


async def test_the_usual_way_does_not_tell_again_what_the_owner_does_not_confirm(world: World) -> None:
    await world.poll()
    world.cluster.outdated.add(TASK)
    world.nodes.answers[INFO] = says(of_node(progress=60))
    world.latest = a_task(TaskState.CANCELED)
    assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 50}
    assert world.asked_count == 2


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(a_task(TaskState.CANCELED, known=LastKnown(code=StatusCode.CANCELED)), id="cancelled"),
        pytest.param(a_task(TaskState.WAITING, attempts=(), waiting_because="busy"), id="restarted"),
        pytest.param(a_task(TaskState.FORWARDING), id="sent to another node"),
    ],
)
async def test_what_was_said_before_a_change_of_the_record_counts_no_more(world: World, changed: Task) -> None:
    before = await world.poll()
    world.cluster.put(changed)
    assert (await world.poll())["status"] != before["status"] or changed.state is TaskState.FORWARDING
    assert world.asked_count == 1
    world.cluster.put(a_task())
    world.nodes.answers[INFO] = says(of_node(progress=3))
    assert (await world.poll())["progress"] == 3


@pytest.mark.parametrize("code", [10, 40])
async def test_what_changes_into_running_or_an_end_is_asked_for_each_time(world: World, code: int) -> None:
    world.nodes.answers[INFO] = says(of_node(code))
    told = [await world.poll() for _ in range(3)]
    assert [each["status"]["code"] for each in told] == [20] * 3
    assert world.asked_count == 3


async def test_lines_from_different_ones_on_are_told_of_one_answer(world: World) -> None:
    assert (await world.poll(0))["output"] == ["accepted", "one", "two", "three"]
    assert (await world.poll(2))["output"] == ["two", "three"]
    assert (await world.poll(-1))["output"] == ["three"]
    assert "output" not in await world.poll()
    assert (await world.reader.info(TASK, ANNE, 3))["output"] == ["three"]
    assert world.asked_count == 1


async def test_a_node_is_asked_next_for_all_lines_that_were_wanted(world: World) -> None:
    await world.poll(1)
    await world.poll(3)
    world.clock.pass_s(FRESH_S + 0.1)
    assert (await world.poll(3))["output"] == ["three"]
    assert (await world.poll(1))["output"] == ["one", "two", "three"]
    assert [call.query for _, call in world.nodes.asked] == [{"with_output": "0"}, {"with_output": "0"}]


async def test_consoles_alone_are_told_again_too(world: World) -> None:
    assert await world.poll(0, output=True) == ["accepted", "one", "two", "three"]
    assert await world.poll(2, output=True) == ["two", "three"]
    assert await world.reader.output(TASK, ANNE, -2) == ["two", "three"]
    assert world.asked_count == 1


async def test_different_questions_at_the_same_time_are_one_to_the_node(world: World) -> None:
    world.nodes.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(world.poll(0))
        await until(lambda: world.asked_count)
        others = [group.create_task(world.poll(line)) for line in (None, 2)]
        await asyncio.sleep(0)
        world.nodes.let_through()
    assert [each.result()["uuid"] for each in (first, *others)] == [TASK] * 3
    assert world.asked_count == 1


async def test_a_node_that_fails_is_not_waited_for_twice(world: World) -> None:
    world.nodes.answers[INFO] = NodeFailed("n did not answer")
    world.nodes.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(world.poll(0))
        await until(lambda: world.asked_count)
        second = group.create_task(world.poll())
        await asyncio.sleep(0)
        world.nodes.let_through()
    assert [each.result()["status"] for each in (first, second)] == [{"code": 20}] * 2
    assert world.asked_count == 1


async def test_a_scheduler_that_is_silent_is_not_waited_for(world: World) -> None:
    await world.poll()
    world.answers.clear()
    assert (await world.reader.info(TASK, ANNE, None))["progress"] == 50
    assert world.asked_count == 2
    world.answers.set()


async def test_without_a_scheduler_nodes_are_asked_for_each_poll(world: World) -> None:
    await world.poll()
    await world.serving.aclose()
    assert await world.poll() is None
    assert [(await world.poll())["uuid"] for _ in range(3)] == [TASK] * 3
    assert world.asked_count == 4


async def test_another_owner_is_told_nothing(world: World) -> None:
    await world.poll()
    taken: list[bytes | None] = []
    assert world.polls.answer(Poll(TASK, output=False, from_line=None), Owner("bert"), taken.append) is None
    assert taken == [None]


async def test_with_zero_a_node_is_asked_for_each_poll() -> None:
    world = World(fresh_s=0.0)
    async with world.bus.serve("scheduler", {CONFIRM_TASKS: world.confirm}):
        assert [(await world.poll())["uuid"] for _ in range(3)] == [TASK] * 3
    assert (world.asked_count, len(world.confirmed)) == (3, 3)


async def test_what_nobody_asks_for_any_more_is_forgotten(world: World) -> None:
    await world.poll()
    world.clock.pass_s(60)
    world.cluster.put(msgspec.structs.replace(a_task(), id=TaskId("other")))
    await world.reader.info(TaskId("other"), ANNE, None)
    assert "kept=1" in repr(world.polling.answers)
