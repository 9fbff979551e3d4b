# ruff: noqa: ARG002 the fakes keep the signatures of their Protocol
"""What others do while NATS or a node has not answered yet, and what an answer costs that is lost."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.errors import BusFailed, NodeFailed, Refused
from clusterodm.libs.common.merging import LaterRecord
from clusterodm.libs.common.messages.buckets import ENDED, NODES, TASKS
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.messages.nodes import AddNode
from clusterodm.libs.common.messages.overview import GetOverview
from clusterodm.libs.common.messages.placement import Placed
from clusterodm.libs.common.messages.tasks import ListTasks, SearchTasks
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import AttemptState, TaskState
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loops import background
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from tests.scheduling import FakeNode, FakeNodes, Play, a_play, settings, task_id
from tests.waiting import until


class SlowBucket(MemoryBucket[Any]):
    """A bucket of which tests hold back the answers to writes, lose them, or lose the writes themselves."""

    def __init__(self, bus: MemoryBus, name: BucketName[Any]) -> None:
        super().__init__(bus, name)
        self.answers = asyncio.Event()
        self.answers.set()
        self.loses_answer_to = ""
        self.loses = ""

    async def create(self, key: str, value: Any, *, later: LaterRecord | None = None) -> int:
        return await self._answered("create", await super().create(key, value, later=later))

    async def update(self, key: str, value: Any, revision: int) -> int:
        return await self._answered("update", await super().update(key, value, revision))

    async def delete(self, key: str, revision: int | None = None) -> None:
        if self.loses == "delete":
            self.loses = ""
            raise BusFailed("nats is away")
        await super().delete(key, revision)
        await self._answered("delete", 0)

    async def _answered(self, verb: str, revision: int) -> int:
        if self.loses_answer_to == verb:
            self.loses_answer_to = ""
            raise BusFailed("no answer")
        await asyncio.sleep(0)
        await self.answers.wait()
        return revision


class SlowBus(MemoryBus):
    """A bus of such buckets."""

    async def bucket(self, name: BucketName[Any]) -> SlowBucket:
        found = self._buckets.setdefault(name.name, SlowBucket(self, name))
        assert isinstance(found, SlowBucket)
        return found


async def ends(play: Play, name: str) -> None:
    """Have a task committed, completed, and put into the archive."""
    await play.commits(name)
    placed = await play.starts(name)
    play.node("a").finishes(placed.node_task_id)
    await play.looks()
    await play.archives()
    assert not play.has(name)


async def states_listed(play: Play) -> tuple[list[TaskState], list[TaskState]]:
    """Read the states of all tasks, as lists and searches show them."""
    listed = await play.scheduler.tasks.reader.list_tasks(ListTasks())
    searched = await play.scheduler.tasks.search.search(SearchTasks())
    return [each.state for each in listed.tasks], [each.state for each in searched.tasks]


# --- one task, one place -----------------------------------------------------------------------------------------------


async def test_a_task_that_left_the_archive_is_listed_once_although_it_could_not_be_deleted_there_at_first():
    bus = SlowBus()
    async with a_play(bus, a=FakeNode()) as play:
        await ends(play, "one")
        (await bus.bucket(ENDED)).loses = "delete"
        await play.restarts("one")
        await play.sweeps()
        assert await states_listed(play) == ([TaskState.RUNNING], [TaskState.RUNNING])
        assert await (await bus.bucket(ENDED)).get(task_id("one")) is None


async def test_a_task_that_left_the_archive_is_listed_once_although_the_answer_to_that_was_lost():
    bus = SlowBus()
    async with a_play(bus, a=FakeNode()) as play:
        await ends(play, "one")
        (await bus.bucket(TASKS)).loses_answer_to = "create"
        with pytest.raises(BusFailed):
            await play.restarts("one")
        await play.sweeps()
        assert await states_listed(play) == ([TaskState.RUNNING], [TaskState.RUNNING])
        assert await (await bus.bucket(ENDED)).get(task_id("one")) is None


async def test_an_end_that_others_have_seen_before_its_write_was_answered_counts_once():
    bus = SlowBus()
    async with a_play(bus, a=FakeNode()) as play, asyncio.TaskGroup() as at_once:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").finishes(placed.node_task_id)
        tasks = await bus.bucket(TASKS)
        tasks.answers.clear()
        looking = at_once.create_task(play.looks())
        await until(lambda: play.scheduler.records.tasks.is_being_written(task_id("one")))
        await play.scheduler.records.sync.settle(task_id("one"))
        assert play.task("one").state is TaskState.COMPLETED
        tasks.answers.set()
        await looking
        assert (await play.scheduler.tasks.overview.get(GetOverview())).ended == {"completed": 1}
        assert len(play.told("task.finished")) == 1


async def test_a_task_that_starts_over_waits_for_a_slot_as_all_others_do():
    bus = SlowBus()
    async with a_play(bus, a=FakeNode(slots=2)) as play, asyncio.TaskGroup() as at_once:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").fails(placed.node_task_id, "bad images")
        await play.looks()
        await play.archives()
        play.node("a").tasks.clear()
        ended, tasks = await bus.bucket(ENDED), await bus.bucket(TASKS)
        async with background(play.scheduler.placement.placement_loop.run, "place"), play.polling() as question:
            ended.answers.clear()
            restarting = at_once.create_task(play.restarts("one"))
            await until(lambda: play.scheduler.state.reservations.made)
            tasks.answers.clear()
            ended.answers.set()
            await restarting
            made = play.scheduler.state.reservations.made
            assert [each.task for each in made.values()] == [task_id("one")]
            assert play.state_of("a").reserved == set(made), "its slot is not given to another while it is written down"
            tasks.answers.set()
            assert list(await question) == ["one"]
        assert play.state_of("a").used_count == 1


# --- nodes that come and go --------------------------------------------------------------------------------------------


async def test_a_node_is_probed_although_the_answer_to_its_first_write_was_lost():
    bus = SlowBus()
    async with a_play(bus, chosen=settings(probe_every_s=0.2)) as play:
        play.api.nodes["a"] = FakeNode()
        (await bus.bucket(NODES)).loses_answer_to = "create"
        async with background(play.scheduler.nodes.prober.run, "probe"):
            await asyncio.sleep(0)  # the loop has begun, with no node at all
            asked = AddNode(hostname="a", port=3000)
            with pytest.raises(BusFailed):
                await play.scheduler.nodes.commands.add(asked)
            with pytest.raises(Refused, match="registered already"):
                await play.scheduler.nodes.commands.add(asked)
            play.clock.pass_s(5)
            await until(lambda: play.state_of("a").online)


async def test_a_node_that_is_removed_while_a_task_is_placed_there_is_known_to_the_end():
    bus = SlowBus()
    async with a_play(bus, a=FakeNode()) as play, asyncio.TaskGroup() as at_once:
        await play.commits("one")
        tasks, nodes = await bus.bucket(TASKS), await bus.bucket(NODES)
        tasks.answers.clear()
        nodes.answers.clear()
        asking = at_once.create_task(play.asks("one"))
        await until(lambda: play.scheduler.records.tasks.is_being_written(task_id("one")))
        removing = at_once.create_task(play.takes_off("a"))
        await asyncio.sleep(0)
        tasks.answers.set()
        placed = await asking
        assert isinstance(placed, Placed)
        nodes.answers.set()
        await removing
        play.node("a").takes(placed.node_task_id)
        await play.reports_forwarded("one", placed.attempt)
        await play.passes(1)
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED
        assert len(play.task("one").attempts) == 1


class HungNodes(FakeNodes):
    """Nodes that do not answer when they are told to remove something; the first time that is noticed, they are offline."""

    play: Play
    removals_count = 0

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        self.removals_count += 1
        state = self.play.state_of(node.hostname)
        for _ in range(2):
            self.play.scheduler.state.nodes.miss(state, "hangs", self.play.now.instant)
        raise NodeFailed(f"{node.name} did not answer")


async def test_a_node_that_hangs_is_told_of_no_more_tasks_once_it_is_offline():
    async with a_play(a=FakeNode(slots=5)) as play:
        for number in range(5):
            await play.commits(str(number))
            placed = await play.is_placed(str(number))
            await play.renews(str(number), placed.attempt)
            await play.cancels(str(number))
        api = HungNodes(play.api.nodes)
        api.play = play
        play.scheduler.tasks.collector._api = api
        async with TaskLimiter(10, grace_s=5) as limiter:
            await play.scheduler.tasks.collector.clean_nodes(limiter)
        assert api.removals_count == 1
        assert len(play.scheduler.state.index.to_clean[NodeId("a-3000")]) == 5


# --- attempts of which nobody knows how they ended ---------------------------------------------------------------------


async def a_doubted_attempt(play: Play) -> Placed:
    """Have the commit of a task sent, and its answer lost."""
    await play.commits("one")
    placed = await play.is_placed("one")
    play.node("a").takes(placed.node_task_id)
    await play.reports_failed("one", placed.attempt, commit_uncertain=True)
    assert play.task("one").attempts[-1].state is AttemptState.UNCERTAIN
    return placed


async def test_a_report_that_comes_while_the_node_is_asked_counts():
    async with a_play(a=FakeNode()) as play:
        placed = await a_doubted_attempt(play)
        play.node("a").gate = gate = asyncio.Event()
        with capture_logs() as lines:
            async with TaskLimiter(10, grace_s=5) as limiter:
                await play.scheduler.forwarding.uncertain.check(limiter)
                await asyncio.sleep(0)
                await play.reports_forwarded("one", placed.attempt)
                gate.set()
        assert play.task("one").state is TaskState.RUNNING
        assert "work.failed" not in {line["event"] for line in lines}


async def test_a_node_that_is_there_and_never_says_whether_it_has_the_task_loses_it():
    async with a_play(a=FakeNode(slots=2), b=FakeNode()) as play:
        await a_doubted_attempt(play)
        play.node("a").talks_nonsense = True
        for _ in range(round(play.settings.node_grace_s / 10)):
            await play.probes()
            await play.passes(10)
        assert play.task("one").state is TaskState.FORWARDING, "not before its grace is over"
        for _ in range(3):
            await play.probes()
            await play.passes(10)
        task = play.task("one")
        assert (task.state, task.attempts[-1].counted, task.attempts[-1].fatal) == (TaskState.WAITING, True, False)
        assert "has not said for 120 s whether it has the task" in task.attempts[-1].reason
        assert len(play.told("task.attempt_ended")) == 1
        await play.passes(play.settings.retry_longest_s)
        assert (await play.is_placed("one")).node.hostname == "b"
