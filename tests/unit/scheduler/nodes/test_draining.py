"""A node that is drained gets nothing more, and goes when it is empty."""

import pytest

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.placement import Waiting
from clusterodm.libs.common.model.tasks import StatusCode, TaskState
from tests.scheduling import FakeNode, Play, a_play


async def queued_on_a(play: Play) -> str:
    """Let a task wait for its turn on a node."""
    await play.commits("one")
    placed = await play.starts("one")
    play.node("a").says(placed.node_task_id, code=StatusCode.QUEUED)
    await play.looks()
    return placed.node_task_id


async def test_a_draining_node_gets_no_tasks():
    async with a_play(a=FakeNode()) as play:
        await play.commits("running")
        await play.starts("running")
        await play.drains("a")
        await play.commits("one")
        assert isinstance(await play.asks("one"), Waiting)
        assert play.state_of("a").record.draining


async def test_it_leaves_when_it_is_empty():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.drains("a")
        await play.passes(3600)
        assert "a-3000" in await play.recorded_nodes()
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        await play.passes(1)
        assert play.scheduler.state.nodes.listed() == ()
        assert play.task("one").state is TaskState.COMPLETED
        assert [told.reason for told in play.told("node.removed")] == ["drained"]


async def test_an_empty_node_leaves_at_once():
    async with a_play(a=FakeNode()) as play:
        await play.drains("a")
        await play.passes(1)
        assert await play.recorded_nodes() == {}
        with pytest.raises(NotFound):
            await play.unlocks("a")


async def test_a_reservation_of_its_slot_is_taken_back():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.drains("a")
        await play.passes(1)
        assert isinstance(await play.asks("one"), Waiting)


async def test_what_waits_there_is_moved_at_the_deadline_and_not_before():
    async with a_play(a=FakeNode()) as play:
        node_task = await queued_on_a(play)
        await play.adds("b", FakeNode())
        await play.drains("a", deadline_s=30)
        await play.passes(29)
        assert play.task("one").state is TaskState.RUNNING
        await play.passes(2)
        assert play.task("one").state is TaskState.WAITING
        assert ("remove", node_task) in play.node("a").acts
        await play.passes(5)
        assert (await play.starts("one")).node.hostname == "b"
        texts = [moment.text for moment in play.task("one").timeline]
        assert "attempt 1 on node a:3000 was moved away: the node is being drained; trying again" in texts
        assert not play.task("one").attempts[0].counted
        await play.passes(1)
        assert [node.id for node in play.scheduler.state.nodes.listed()] == ["b-3000"]


async def test_what_runs_there_is_left_to_end():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.drains(placed.node.hostname, deadline_s=0)
        await play.passes(60)
        assert play.task("one").state is TaskState.RUNNING
        assert play.node(placed.node.hostname).acts == []


async def test_a_node_that_does_not_answer_keeps_what_waits_there():
    async with a_play(a=FakeNode()) as play:
        await queued_on_a(play)
        await play.drains("a", deadline_s=0)
        play.node("a").up = False
        await play.passes(5)
        assert play.task("one").state is TaskState.RUNNING


async def test_a_move_that_could_not_be_recorded_costs_no_task():
    async with a_play(a=FakeNode()) as play:
        await queued_on_a(play)
        await play.drains("a", deadline_s=0)
        play.term.end()
        await play.passes(1)
        play.node("a").tasks.clear()
        await play.starts_up()
        await play.probes()
        await play.looks()
        assert play.task("one").state is TaskState.WAITING


async def test_unlocking_ends_a_drain():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.drains("a", deadline_s=5)
        await play.unlocks("a")
        record = play.state_of("a").record
        assert (record.draining, record.drain_until_ms, record.locked) == (False, None, False)


async def test_a_drain_survives_a_restart():
    async with a_play(a=FakeNode()) as play:
        await queued_on_a(play)
        await play.drains("a", deadline_s=30)
        await play.starts_up()
        await play.probes()
        await play.passes(31)
        assert play.task("one").state is TaskState.WAITING


async def test_a_deadline_in_the_past_is_refused():
    async with a_play(a=FakeNode()) as play:
        with pytest.raises(Refused):
            await play.drains("a", deadline_s=-1)
