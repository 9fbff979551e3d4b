"""polling/handlers: how polls are answered, with nodes and mirrors played in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import structlog

from clusterodm.libs.common.errors import BusFailed, NodeFailed, NotFound
from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE
from clusterodm.libs.common.http_io.room import ROOM, NoRoom
from clusterodm.libs.common.messages.placement import FINISH_REPORTED
from clusterodm.libs.common.messages.tasks import (
    CONFIRM_TASKS,
    GET_TASK,
    LIST_TASK_IDS,
    READ_CONSOLE,
    Console,
    ListTaskIds,
    ReadConsole,
    TaskIds,
    TaskRecord,
    TaskRef,
)
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, LastKnown, Moment, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.handlers.confirming import HOLD_S
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.cluster.ports import Standing, StoreComparison, StoreConnection, Trust
from clusterodm.services.proxy.exchange.limits import BodyLimits
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.polling.api import open_polling, tell
from clusterodm.services.proxy.polling.handlers.coalesce import Poll
from clusterodm.services.proxy.polling.handlers.node_answers import NodePoller, strings
from tests.proxy_ports import FakeCluster, FakeReply, FakeUpstream, says
from tests.waiting import until

TASK = TaskId("t")
ANNE, BERT = Owner("anne"), Owner("bert")
NODE = Node(id=NodeId("n"), hostname="n", port=3000)
ATTEMPT = Attempt(number=1, node=NODE.id, node_task_id=NodeTaskId("on-node"), running_at_ms=20)
TIMELINE = (Moment(at_ms=10, text="accepted"), Moment(at_ms=30, text="it has ended"))
INFO, OUTPUT = b"/task/on-node/info", b"/task/on-node/output"


def a_task(state: TaskState = TaskState.RUNNING, **more: Any) -> Task:
    fields: dict[str, Any] = {"attempts": (ATTEMPT,), "timeline": TIMELINE, "owner": ANNE, **more}
    return Task(
        id=TASK,
        name="field",
        state=state,
        upload_owner=InstanceId("p"),
        created_at_ms=5,
        committed_at_ms=8,
        images_count=2,
        **fields,
    )


def of_node(code: int = 20, **more: Any) -> dict[str, Any]:
    return {"uuid": "on-node", "status": {"code": code}, "progress": 50, "processingTime": 1.5, "options": [], **more}


@dataclass
class World:
    """Mirrors, nodes, a scheduler."""

    bus: MemoryBus = field(default_factory=MemoryBus)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    nodes: FakeUpstream = field(default_factory=FakeUpstream)
    clock: FakeClock = field(default_factory=FakeClock)
    comparison: StoreComparison = field(default_factory=Trust)
    unmirrored: dict[TaskId, Task] = field(default_factory=dict)
    kept: list[str] | None = None
    """The console of an ended task, where the scheduler keeps it."""
    rooms: list[str] = field(default_factory=list)
    """How the room of all was, each time the scheduler was asked for lines."""

    def __post_init__(self) -> None:
        self.cluster.nodes[NODE.id] = NODE
        self.inquiry = NodePoller(self.nodes, self.clock.instant)  # type: ignore[arg-type]
        self.finder = TaskFinder(self.bus, self.cluster, self.clock, comparison=self.comparison)
        polling = open_polling(self.bus, self.cluster, self.nodes, self.finder, self.clock)
        self.reader, self.polls = polling.reader, polling.polls

    async def get(self, asked: TaskRef) -> TaskRecord:
        if asked.task not in self.unmirrored:
            raise NotFound("no such task")
        return TaskRecord(task=self.unmirrored[asked.task], revision=1)

    async def list_ids(self, asked: ListTaskIds) -> TaskIds:
        return TaskIds(tasks=tuple(task.id for task in self.unmirrored.values() if task.owner == asked.owner))

    async def read_console(self, asked: ReadConsole) -> Console:
        self.rooms.append(repr(ROOM))
        if self.kept is None:
            raise NotFound("not kept")
        lines = self.kept[asked.from_line :]
        return Console(lines=tuple(lines if asked.from_line < 0 else lines[:2]))


class Doubt(Trust):
    """A store of which nobody knows whether it is older than what was done. Implements StoreComparison."""

    def __init__(self, standing: Standing, *, is_new: bool = True) -> None:
        self.standing = standing
        self.is_new = is_new
        self.world: World
        self.compared_count = 0
        self.put_right: Task | None = None
        """What the scheduler makes of the task when it has been compared three times."""

    def is_compared(self, task: TaskId) -> bool:
        del task
        return self.standing is Standing.LAST

    async def compare(self, record: TaskRecord, connection: StoreConnection) -> Standing:
        del record, connection
        self.compared_count += 1
        if self.compared_count == 3 and self.put_right is not None:
            self.world.unmirrored[TASK] = self.put_right
            self.world.cluster.outdated.add(TASK)
        return Standing.LAST if self.compared_count > 3 else self.standing


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with serving(World()) as made:
        yield made


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[World]:
    handlers = {
        CONFIRM_TASKS: world.cluster.confirm,
        GET_TASK: world.get,
        LIST_TASK_IDS: world.list_ids,
        READ_CONSOLE: world.read_console,
    }
    async with world.bus.serve("scheduler", handlers):
        yield world


@asynccontextmanager
async def in_doubt(doubt: Doubt, put_right: Task | None = None) -> AsyncIterator[World]:
    doubt.world, doubt.put_right = World(comparison=doubt), put_right
    async with serving(doubt.world):
        yield doubt.world


# --- info and output -----------------------------------------------------------------------------------------------


async def test_a_running_task_is_asked_for_on_its_node(world: World) -> None:
    world.cluster.put(a_task())
    world.nodes.answers[INFO] = says(of_node(output=["not asked for"]))
    info = await world.reader.info(TASK, ANNE, None)
    assert (info["uuid"], info["status"], info["progress"]) == (TASK, {"code": 20}, 50)
    assert "output" not in info


async def test_the_console_begins_with_the_clusters_own_lines(world: World) -> None:
    world.cluster.put(a_task())
    world.nodes.answers = {INFO: says(of_node(output=["one", "two"])), OUTPUT: says(["one", "two"])}
    info = await world.reader.info(TASK, ANNE, 0)
    assert info["output"] == ["accepted", "one", "two"]
    assert await world.reader.output(TASK, ANNE, 0) == ["accepted", "one", "two"]
    assert await world.reader.output(TASK, ANNE, -1) == ["two"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(NodeFailed("n did not answer"), id="silent"),
        pytest.param(FakeReply(pieces=(b"<html>",)), id="nonsense"),
        pytest.param(says({"error": "not found"}), id="forgotten"),
        pytest.param(says({}, status=500), id="an error"),
        pytest.param(FakeReply(pieces=(b"{",), breaks_off=True), id="breaks off"),
        pytest.param(FakeReply(pieces=(b"{",), breaks_off=True, arrived=False), id="breaks off later"),
    ],
)
async def test_a_node_that_says_nothing_useful_leaves_the_record_to_answer(
    world: World, answer: FakeReply | Exception
) -> None:
    known = LastKnown(
        seen_at_ms=9, code=StatusCode.RUNNING, progress=7.0, console_tail=("last", "words"), console_count=9
    )
    world.cluster.put(a_task(known=known))
    world.nodes.answers = {INFO: answer, OUTPUT: answer}
    info = await world.reader.info(TASK, ANNE, None)
    assert (info["status"], info["progress"]) == ({"code": 20}, 7.0)
    assert (await world.reader.info(TASK, ANNE, -2))["output"] == ["last", "words"]
    assert await world.reader.output(TASK, ANNE, -1) == ["words"]


async def test_a_node_that_is_ahead_of_the_record_makes_the_scheduler_look(world: World) -> None:
    world.cluster.put(a_task())
    world.nodes.answers[INFO] = says(of_node(40))
    info = await world.reader.info(TASK, ANNE, None)
    assert info["status"] == {"code": 20}
    assert [name for name, _ in world.bus.published] == [FINISH_REPORTED.name]
    await world.reader.info(TASK, ANNE, 0)
    assert len(world.bus.published) == 2


async def test_a_waiting_task_says_its_place_and_asks_nobody(world: World) -> None:
    world.cluster.put(a_task(TaskState.WAITING, attempts=(), timeline=TIMELINE[:1], waiting_because="busy"))
    assert await world.reader.output(TASK, ANNE, 0) == ["accepted (place 1 in the queue)"]
    assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 10}
    assert world.nodes.asked == []


async def test_a_task_for_which_no_slot_has_been_looked_for_in_vain_says_no_place(world: World) -> None:
    world.cluster.put(a_task(TaskState.WAITING, attempts=(), timeline=TIMELINE[:1]))
    assert await world.reader.output(TASK, ANNE, 0) == ["accepted"]
    assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 20}


async def test_the_console_of_an_ended_task_is_read_in_parts_from_where_it_is_kept(world: World) -> None:
    world.cluster.put(a_task(TaskState.COMPLETED, console_kept=True))
    world.kept = ["1", "2", "3", "4", "5"]
    assert await world.reader.output(TASK, ANNE, 1) == ["2", "3", "4", "5"]
    assert await world.reader.output(TASK, ANNE, -3) == ["3", "4", "5"]
    assert (await world.reader.info(TASK, ANNE, 3))["output"] == ["4", "5"]
    assert world.nodes.asked == []


async def test_a_kept_console_that_is_being_read_counts_in_the_room_of_all(world: World) -> None:
    world.cluster.put(a_task(TaskState.COMPLETED, console_kept=True))
    world.kept = ["x" * 1_000_000] * 6
    before = repr(ROOM)
    assert len(await world.reader.output(TASK, ANNE, 0)) == 6
    assert (len(set(world.rooms)), world.rooms[0], repr(ROOM)) == (4, before, before)


async def test_a_kept_console_that_cannot_be_read_is_asked_for_on_the_node(world: World) -> None:
    world.cluster.put(a_task(TaskState.COMPLETED, console_kept=True))
    world.nodes.answers[OUTPUT] = says(["one"])
    assert await world.reader.output(TASK, ANNE, 0) == ["accepted", "one", "it has ended"]


async def test_an_ended_task_is_answered_from_its_record(world: World) -> None:
    known = LastKnown(seen_at_ms=9, code=StatusCode.COMPLETED, progress=100.0)
    world.cluster.put(a_task(TaskState.COMPLETED, known=known))
    assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 40}
    assert world.nodes.asked == []


@pytest.mark.parametrize("with_output", [None, 0], ids=["info", "info with its console"])
@pytest.mark.parametrize("code", [20, 30, 40])
async def test_what_a_node_tells_later_of_a_task_that_has_ended_is_not_about_it(
    world: World, code: int, with_output: int | None
) -> None:
    world.cluster.put(a_task(TaskState.FAILED, error="its node is lost"))
    words = {"status": {"code": code, "errorMessage": "mine"}, "progress": 50, "name": "another", "more": "words"}
    world.nodes.answers = {INFO: says(of_node(**words)), OUTPUT: says(["one"])}
    info = await world.reader.info(TASK, ANNE, with_output)
    assert info["status"] == {"code": 30, "errorMessage": "its node is lost"}
    assert (info["progress"], info["name"], info["processingTime"], "more" in info) == (0, "field", -1, False)
    assert info.get("output") == (None if with_output is None else ["accepted", "one", "it has ended"])


async def test_what_a_node_says_of_another_task_is_no_answer_and_the_log_tells_of_it_once(world: World) -> None:
    world.cluster.put(a_task(known=LastKnown(seen_at_ms=9, code=StatusCode.RUNNING, progress=7.0)))
    world.nodes.answers[INFO] = says(of_node(40, uuid="another"))
    with structlog.testing.capture_logs() as lines:
        told = [await world.reader.info(TASK, ANNE, None) for _ in range(3)]
    assert [(each["status"], each["progress"]) for each in told] == [({"code": 20}, 7.0)] * 3
    assert world.bus.published == []
    assert [(line["event"], line["node"], line["task"]) for line in lines] == [
        ("node.answered_amiss", NODE.id, "on-node")
    ]


@pytest.mark.parametrize("mirrored", [TaskState.WAITING, TaskState.RUNNING, TaskState.CANCELED])
async def test_a_mirror_that_is_behind_is_not_believed(world: World, mirrored: TaskState) -> None:
    known = LastKnown(seen_at_ms=9, code=StatusCode.COMPLETED, progress=100.0)
    world.cluster.put(a_task(mirrored, known=known))
    world.nodes.answers[INFO] = says(of_node(40))
    world.unmirrored[TASK] = a_task(TaskState.COMPLETED, known=known)
    world.cluster.outdated.add(TASK)
    assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 40}
    assert (await world.finder.find_result(TASK, ANNE, "download/all.zip")).state is TaskState.COMPLETED


async def test_a_poll_that_nobody_confirms_is_not_answered(world: World) -> None:
    world.cluster.put(a_task(TaskState.WAITING, attempts=()))
    world.cluster.outdated.add(TASK)
    with pytest.raises(BusFailed):
        await world.reader.info(TASK, ANNE, None)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        pytest.param(TaskState.CANCELED, 50, id="canceled, and its node has not been told"),
        pytest.param(TaskState.WAITING, 10, id="its node was given up, and is there again"),
    ],
)
async def test_a_node_that_has_not_heard_of_a_change_is_not_believed(world: World, state: TaskState, code: int) -> None:
    world.cluster.put(a_task())
    world.cluster.outdated.add(TASK)
    world.unmirrored[TASK] = a_task(state, waiting_because="no free slot")
    world.nodes.answers[INFO] = says(of_node())
    assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": code}


@pytest.mark.parametrize("servers_count", [1, 3])
async def test_a_node_whose_task_goes_on_is_believed_where_nobody_confirms_it(servers_count: int) -> None:
    world = World(clock=FakeClock(), bus=MemoryBus())
    world.bus.connected, world.bus.servers_count = False, servers_count
    world.cluster.put(a_task())
    world.nodes.answers[INFO] = says(of_node())
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(world.reader.info(TASK, ANNE, None))
        await until(lambda: world.nodes.asked)
        world.clock.pass_s(HOLD_S)
    assert asked.result()["status"] == {"code": 20}


# --- a store that may be older than what was done --------------------------------------------------------------------


DOUBTS = [
    pytest.param(Standing.UNSURE, False, id="nothing is left of it at its upload owner"),
    pytest.param(Standing.LAST, True, id="its upload owner had not noted its end"),
]


@pytest.mark.parametrize(("standing", "is_new"), DOUBTS)
@pytest.mark.parametrize("with_output", [None, 0], ids=["info", "info with its console"])
async def test_what_has_ended_on_its_node_and_runs_in_an_older_store_is_told_when_it_has_ended_there_too(
    with_output: int | None, standing: Standing, is_new: bool
) -> None:
    ended = a_task(TaskState.COMPLETED, known=LastKnown(seen_at_ms=9, code=StatusCode.COMPLETED, progress=100.0))
    async with in_doubt(Doubt(standing, is_new=is_new), ended) as world:
        world.cluster.put(a_task())
        world.nodes.answers = {INFO: says(of_node(40)), OUTPUT: says(["one"])}
        info = await world.reader.info(TASK, ANNE, with_output)
        assert (info["status"], info.get("output")) == (
            {"code": 40},
            None if with_output is None else ["accepted", "one", "it has ended"],
        )
        assert FINISH_REPORTED.name in [name for name, _ in world.bus.published], "the scheduler looks now"


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.WAITING])
async def test_the_console_of_a_task_that_has_ended_is_not_told_from_an_older_store(state: TaskState) -> None:
    async with in_doubt(Doubt(Standing.UNSURE), a_task(TaskState.COMPLETED)) as world:
        world.cluster.put(a_task(state, attempts=(ATTEMPT,) if state is TaskState.RUNNING else ()))
        world.nodes.answers = {INFO: says(of_node(40)), OUTPUT: says(["one"])}
        assert await world.reader.output(TASK, ANNE, 0) == ["accepted", "one", "it has ended"]


@pytest.mark.parametrize("standing", [Standing.UNSURE, Standing.LAST])
async def test_what_goes_on_on_its_node_is_told_at_once_whatever_the_store_is(standing: Standing) -> None:
    async with in_doubt(Doubt(standing)) as world:
        world.cluster.put(a_task())
        world.nodes.answers = {INFO: says(of_node()), OUTPUT: says(["one"])}
        assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 20}
        assert await world.reader.output(TASK, ANNE, 0) == ["accepted", "one"]
        assert world.bus.published == []


async def test_a_node_that_is_away_holds_no_poll_of_what_its_upload_owner_knows_to_run() -> None:
    doubt = Doubt(Standing.LAST)
    async with in_doubt(doubt) as world:
        world.cluster.put(a_task())
        assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 20}
        assert doubt.compared_count == 1


async def test_a_task_that_the_mirror_lacks_is_asked_for(world: World) -> None:
    world.unmirrored[TASK] = a_task(TaskState.WAITING, attempts=())
    assert (await world.reader.info(TASK, ANNE, None))["uuid"] == TASK
    assert world.cluster.task(TASK) is not None


async def test_unknown_removed_and_foreign_tasks_are_not_told_apart(world: World) -> None:
    with pytest.raises(NotFound, match="no task table entry"):
        await world.reader.info(TASK, ANNE, None)
    world.cluster.put(a_task())
    with pytest.raises(NotFound, match="no task table entry"):
        await world.reader.output(TASK, BERT, 0)
    world.cluster.put(a_task(removed=True))
    with pytest.raises(NotFound, match="no task table entry"):
        await world.reader.info(TASK, ANNE, None)


async def test_nothing_is_said_of_a_task_that_nobody_can_tell_about(world: World) -> None:
    world.bus.connected = False
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(failure(world.reader.info(TASK, ANNE, None)))
        await asyncio.sleep(0)
        world.clock.pass_s(HOLD_S)
    assert isinstance(asking.result(), BusFailed)


async def test_a_poll_of_a_task_that_the_mirror_lacks_is_held_until_somebody_can_tell(world: World) -> None:
    world.unmirrored[TASK] = a_task(TaskState.WAITING, attempts=())
    world.bus.connected = False
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(world.reader.info(TASK, ANNE, None))
        await asyncio.sleep(0)
        world.clock.pass_s(HOLD_S - 1)
        world.bus.connected = True
    assert asking.result()["uuid"] == TASK


async def failure(asking: Awaitable[object]) -> Exception | None:
    try:
        await asking
    except BusFailed as error:
        return error
    return None


async def test_a_list_holds_the_owners_tasks_as_the_scheduler_knows_them(world: World) -> None:
    world.unmirrored[TASK] = a_task()
    assert await world.reader.tasks_of(ANNE) == b'[{"uuid":"t"}]'
    assert await world.reader.tasks_of(BERT) == b"[]"
    world.bus.connected = False
    assert await world.reader.tasks_of(ANNE) == b'[{"uuid":"t"}]'
    world.cluster.ready = False
    with pytest.raises(BusFailed):
        await world.reader.tasks_of(ANNE)


async def test_an_ended_task_is_read_where_these_are_kept(world: World) -> None:
    known = LastKnown(code=StatusCode.COMPLETED, progress=100.0)
    ended = TaskRecord(task=a_task(TaskState.COMPLETED, known=known), revision=7, archived=True)
    world.cluster.ended[TASK] = ended
    assert (await world.reader.info(TASK, ANNE, None))["status"] == {"code": 40}
    assert world.nodes.asked == []


def test_only_text_counts_as_console_lines() -> None:
    assert strings(["a", 1, None, "b"]) == ["a", "b"]
    assert strings({"a": 1}) == []


# --- asking nodes --------------------------------------------------------------------------------------------------


async def test_equal_questions_at_the_same_time_are_one_to_the_node() -> None:
    nodes = FakeUpstream(gate=asyncio.Event())
    nodes.answers[INFO] = says({"x": 1})
    inquiry = NodePoller(nodes)
    async with asyncio.TaskGroup() as group:
        equal = [group.create_task(inquiry.json(NODE, INFO, {})) for _ in range(5)]
        other = group.create_task(inquiry.json(NODE, INFO, {"with_output": "1"}))
        await until(lambda: "under_way=2" in repr(inquiry), what="both questions are under way")
        nodes.let_through()
    assert [task.result() for task in (*equal, other)] == [{"x": 1}] * 6
    assert len(nodes.asked) == 2


async def test_who_waits_for_anothers_question_is_answered_when_that_one_goes_away() -> None:
    nodes = FakeUpstream(gate=asyncio.Event())
    inquiry = NodePoller(nodes)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(inquiry.json(NODE, INFO, {}))
        await until(lambda: "under_way=1" in repr(inquiry), what="the first asks")
        second = group.create_task(inquiry.json(NODE, INFO, {}))
        await asyncio.sleep(0)
        first.cancel()
    assert second.result() is None
    assert "under_way=0" in repr(inquiry)


async def test_a_node_that_failed_is_left_alone_for_a_while_and_tried_by_one(world: World) -> None:
    world.nodes.answers[INFO] = NodeFailed("n did not answer")
    assert await world.inquiry.json(NODE, INFO, {}) is None
    world.nodes.answers[INFO] = says({"x": 1})
    assert await world.inquiry.json(NODE, INFO, {}) is None
    assert len(world.nodes.asked) == 1
    world.clock.pass_s(3600)
    assert await world.inquiry.json(NODE, INFO, {}) == {"x": 1}
    assert await world.inquiry.json(NODE, INFO, {}) == {"x": 1}


async def test_a_long_answer_that_finds_no_room_beside_those_of_others_says_nothing_of_its_node(world: World) -> None:
    world.nodes.answers[INFO] = NoRoom("there is no room in memory for what is being read")
    assert await world.inquiry.json(NODE, INFO, {}) is None
    world.nodes.answers[INFO] = says({"x": 1})
    assert await world.inquiry.json(NODE, INFO, {}) == {"x": 1}


async def test_a_wall_clock_that_steps_does_not_hold_a_node_back(world: World) -> None:
    world.nodes.answers[INFO] = NodeFailed("n did not answer")
    assert await world.inquiry.json(NODE, INFO, {}) is None
    world.clock.step_wall_s(-7200)
    world.clock.pass_s(60)
    world.nodes.answers[INFO] = says({"x": 1})
    assert await world.inquiry.json(NODE, INFO, {}) == {"x": 1}


# --- answers as bytes ----------------------------------------------------------------------------------------------


def asks(world: World, owner: Owner = ANNE, **more: Any) -> tuple[list[bytes | None], Any]:
    taken: list[bytes | None] = []
    question = Poll(TASK, more.get("output", False), more.get("from_line"))
    return taken, world.polls.answer(question, owner, taken.append)


async def test_equal_polls_at_the_same_time_get_the_same_bytes(world: World) -> None:
    world.cluster.put(a_task())
    world.nodes.answers[INFO] = says(of_node())
    first, work = asks(world)
    second, nothing = asks(world)
    assert nothing is None
    assert "takers=2" in repr(world.polls)
    await work
    assert first == second
    assert first[0] is not None
    assert msgspec.json.decode(first[0])["uuid"] == TASK
    assert len(world.nodes.asked) == 1


async def test_who_asks_after_the_record_has_changed_gets_another_answer(world: World) -> None:
    world.cluster.put(a_task())
    world.nodes.answers[INFO] = says(of_node())
    first, work = asks(world)
    world.cluster.put(a_task(TaskState.CANCELED, known=LastKnown(seen_at_ms=1, code=StatusCode.CANCELED)))
    second, more_work = asks(world)
    await work
    await more_work
    assert [msgspec.json.decode(each[0])["status"]["code"] for each in (first, second) if each[0]] == [20, 50]


async def test_the_answer_of_an_ended_task_is_encoded_once(world: World) -> None:
    world.cluster.put(a_task(TaskState.COMPLETED, known=LastKnown(seen_at_ms=1, code=StatusCode.COMPLETED)))
    first, work = asks(world)
    await work
    second, work = asks(world)
    await work
    assert first[0] is second[0]
    assert "ended=1" in repr(world.polls)


async def test_a_console_is_answered_too(world: World) -> None:
    world.cluster.put(a_task())
    world.nodes.answers[OUTPUT] = says(["one"])
    taken, work = asks(world, output=True)
    await work
    assert taken == [b'["accepted","one"]']


async def test_what_is_unknown_or_anothers_goes_the_usual_way(world: World) -> None:
    assert asks(world) == ([None], None)
    world.cluster.put(a_task())
    assert asks(world, BERT) == ([None], None)


async def test_info_is_encoded_once_per_change(world: World) -> None:
    first = world.polls.info()
    assert world.polls.info() is first
    world.cluster.totals = msgspec.structs.replace(world.cluster.totals, task_queue_count=3)
    assert msgspec.json.decode(world.polls.info())["taskQueueCount"] == 3


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._ends = False

    async def run(self) -> None:
        while not self._ends:
            self.count += 1
            await asyncio.sleep(0)

    def end(self) -> None:
        self._ends = True


@pytest.mark.parametrize(("line", "at_once"), [("short", 5), ("x" * 70_000, 1)], ids=["a short one", "a long one"])
async def test_a_long_answer_is_given_to_one_in_each_turn_of_the_loop(world: World, line: str, at_once: int) -> None:
    world.cluster.put(a_task())
    world.nodes.answers[OUTPUT] = says([line])
    turns, given = Turns(), list[tuple[int, bytes | None]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(turns.run())
        work = [
            world.polls.answer(
                Poll(TASK, output=True, from_line=None), ANNE, lambda said: given.append((turns.count, said))
            )
            for _ in range(5)
        ]
        await next(filter(None, work))
        await until(lambda: len(given) == 5)
        turns.end()
    assert {said for _, said in given} == {msgspec.json.encode(["accepted", line])}
    assert max(Counter(turn for turn, _ in given).values()) == at_once


@pytest.mark.parametrize(("line", "at_once"), [("short", 5), ("x" * 70_000, 1)], ids=["a short one", "a long one"])
async def test_of_answers_that_go_the_usual_way_long_ones_are_written_one_in_each_turn(line: str, at_once: int) -> None:
    turns, written, bounds = Turns(), list[int](), BodyLimits()

    class Cycle:
        async def answer(self, *_: object, close: bool) -> None:
            del close
            written.append(turns.count)

    nobody: Any = None
    async with asyncio.TaskGroup() as group:
        group.create_task(turns.run())
        for _ in range(5):
            scope = {"method": "GET", "path": "/", "headers": [], "extensions": {REQUEST_CYCLE: Cycle()}}
            group.create_task(tell(RequestContext(scope, nobody, nobody, bounds), [line], [line]))
        await until(lambda: len(written) == 5)
        turns.end()
    assert max(Counter(written).values()) == at_once
