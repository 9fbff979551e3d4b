"""A scheduler decides only while it leads, and two of them never do the same thing."""

import asyncio

import pytest

from clusterodm.libs.common.errors import BusDenied, BusFailed, NotFound
from clusterodm.libs.common.messages.placement import RenewAttempt
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.process.loops import Loops, background, watched
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.scheduler.leadership import suppress_transient
from tests.scheduling import UPLOAD_OWNER, FakeNode, a_play, task_id


async def test_nothing_is_written_when_the_term_is_over():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        play.term.end()
        with pytest.raises(BusFailed, match="no longer the leader"):
            await play.commits("two")
        with pytest.raises(BusFailed, match="no longer the leader"):
            await play.asks("one")
        with pytest.raises(BusFailed, match="no longer the leader"):
            await play.locks("a")
        await play.starts_up()
        assert not play.has("two")
        assert play.task("one").state is TaskState.WAITING


async def test_no_node_is_told_anything_when_the_term_is_over():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        play.term.end()
        with pytest.raises(BusFailed):
            await play.cancels("one")
        assert play.node("a").acts == []


async def test_of_two_schedulers_that_place_the_same_task_one_follows_the_other():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        old = play.scheduler
        await play.starts_up()
        await play.probes()
        new_place = await play.is_placed("one")
        play.scheduler = old
        old_place = await play.is_placed("one")
        assert (old_place.node.id, old_place.node_task_id) == (new_place.node.id, new_place.node_task_id)
        assert len(play.task("one").attempts) == 1


async def test_placements_carry_the_epoch_of_who_answers_and_attempts_of_who_began_them():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        first = await play.is_placed("one")
        await play.starts_up()
        await play.probes()
        again = await play.is_placed("one")
        assert again.epoch == first.epoch + 1
        assert play.task("one").attempts[0].epoch == first.epoch


async def test_a_scheduler_that_hears_of_a_later_one_refuses():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        asked = RenewAttempt(task=task_id("one"), attempt=1, upload_owner=UPLOAD_OWNER, epoch=placed.epoch + 1)
        with pytest.raises(BusFailed, match="a later scheduler leads"):
            await play.scheduler.forwarding.reports.renew(asked)


@pytest.mark.parametrize(
    ("error", "failures_count"),
    [
        pytest.param(BusDenied("tasks/t not updated: NATS has refused: publish to $KV.tasks.>"), 1, id="refused"),
        pytest.param(BusFailed("tasks/t not updated"), 0, id="away"),
        pytest.param(NotFound("no such task"), 0, id="gone"),
    ],
)
async def test_what_is_done_beside_a_loop_counts_as_its_failure_where_nats_refuses_a_right(
    error: Exception, failures_count: int
):
    done = asyncio.Event()

    async def fails() -> None:
        raise error

    async def loop() -> None:
        async with asyncio.TaskGroup() as beside:
            beside.create_task(suppress_transient(fails, "track tasks")())
        done.set()
        await asyncio.Event().wait()

    with watched(Loops(FakeClock())) as loops:
        async with background(loop, "track tasks"):
            await done.wait()
            [said] = loops.report()
            assert said.failures_count == failures_count
            assert said.error == (f"BusDenied: {error}" if failures_count else "")
