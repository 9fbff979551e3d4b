"""From commit to a node: the queue, who asks, and late binding, played with fake nodes."""

import msgspec
import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.messages.placement import NotWaiting, Placed, Waiting
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner
from tests.scheduling import GIGABYTE, FakeNode, Play, a_play, settings, task_id


async def test_a_commit_sent_again_gets_the_same_answer_and_nothing_happens_twice():
    async with a_play(a=FakeNode(slots=2)) as play:
        first = await play.commits("one")
        assert await play.commits("one") == first
        assert len(play.told("task.submitted")) == 1


async def test_the_id_of_another_task_is_refused():
    async with a_play() as play:
        await play.commits("one", owner=Owner("me"))
        with pytest.raises(Refused, match=f"^Invalid set-uuid: {task_id('one')}$"):
            await play.commits("one", owner=Owner("you"))


async def test_the_id_of_a_task_that_is_being_removed_is_refused():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.goes_down("a")
        await play.removes("one")
        with pytest.raises(Refused, match="Invalid set-uuid"):
            await play.commits("one")


async def test_what_is_no_uuid_is_refused():
    async with a_play() as play:
        from clusterodm.libs.common.messages.tasks import SubmitTask

        asked = SubmitTask(task="../../etc", name="x", upload_owner="p", created_at_ms=1, images_count=1)
        with pytest.raises(Refused, match="Invalid set-uuid"):
            await play.scheduler.tasks.submit.submit(asked)


async def test_commits_at_once_spread_over_the_nodes():
    async with a_play(a=FakeNode(), b=FakeNode(), c=FakeNode()) as play:
        for name in ("one", "two", "three"):
            await play.commits(name)
        nodes = {(await play.is_placed(name)).node.hostname for name in ("one", "two", "three")}
        assert nodes == {"a", "b", "c"}


async def test_the_same_question_gets_the_same_answer():
    async with a_play(a=FakeNode(slots=2)) as play:
        await play.commits("one")
        first, second = await play.is_placed("one"), await play.is_placed("one")
        assert (first.again, second.again) == (False, True)
        assert msgspec.structs.replace(second, again=False) == first
        assert len(play.task("one").attempts) == 1


async def test_the_first_attempt_bears_the_id_of_the_task_and_later_ones_do_not():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        assert (await play.is_placed("one")).node_task_id == task_id("one")
        await play.reports_failed("one", 1)
        await play.passes(5)
        second = await play.is_placed("one")
        assert second.attempt == 2
        assert second.node_task_id != task_id("one")


async def test_a_task_waits_in_the_cluster_until_a_slot_is_free():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.commits("two")
        first = await play.starts("one")
        assert await play.asks("two") == Waiting(position=1, reason="no free slot (1 of 1 busy)")
        play.node("a").finishes(first.node_task_id)
        await play.looks()
        assert isinstance(await play.asks("two"), Placed)


async def test_who_asks_for_single_tasks_hears_when_that_is_worth_it():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.commits("two")
        placed = await play.starts("one")
        await play.asks("two")
        play.bus.published.clear()
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        await play.passes(1)
        await play.passes(1)
        assert [hint.tasks for hint in play.told("hint.placement_possible")] == [(task_id("two"),)]


async def test_the_oldest_commit_comes_first():
    async with a_play() as play:
        for name in ("one", "two", "three"):
            await play.commits(name)
        assert [(await play.asks(name)).position for name in ("one", "two", "three")] == [1, 2, 3]
        await play.adds("a", FakeNode())
        assert list(await play.polls()) == ["one"]


async def test_a_task_that_fits_nowhere_does_not_hold_up_those_behind_it():
    async with a_play(a=FakeNode(limit=100)) as play:
        await play.commits("huge", images=500)
        await play.commits("small", images=5)
        answer = await play.asks("huge")
        assert isinstance(answer, Waiting)
        assert answer.reason == "no node takes 500 images (largest limit 100)"
        assert isinstance(await play.asks("small"), Placed)


async def test_a_large_task_keeps_its_turn_on_the_only_node_that_takes_it():
    async with a_play(small=FakeNode(limit=100, slots=5), large=FakeNode()) as play:
        await play.commits("running", images=500)
        running = await play.starts("running")
        await play.commits("large", images=500)
        for number in range(6):
            await play.commits(f"young {number}", images=5)
        play.node("large").finishes(running.node_task_id)
        await play.looks()
        answers = await play.polls("young 5")
        assert isinstance(answers["young 5"], Waiting)
        large = answers["large"]
        assert isinstance(large, Placed)
        assert large.node.hostname == "large"


async def test_no_slot_is_kept_for_an_upload_owner_that_does_not_ask():
    async with a_play(a=FakeNode()) as play:
        await play.commits("dead", upload_owner=InstanceId("dead proxy"))
        await play.commits("alive")
        assert play.state_of("a").ours_count == 0
        assert isinstance(await play.asks("alive"), Placed)


async def test_a_node_that_is_locked_or_offline_is_offered_to_nobody():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.locks("a")
        assert await play.asks("one") == Waiting(position=1, reason="the only node online is locked")
        await play.unlocks("a")
        await play.goes_down("a")
        assert await play.asks("one") == Waiting(position=1, reason="no node is online")
        await play.comes_back("a")
        assert isinstance(await play.asks("one"), Placed)


async def test_tasks_that_others_sent_to_a_node_take_slots_there():
    async with a_play(a=FakeNode(slots=2, foreign=1)) as play:
        await play.commits("one")
        await play.commits("two")
        assert isinstance(await play.asks("one"), Placed)
        answer = await play.asks("two")
        assert answer == Waiting(position=1, reason="no free slot (2 of 2 busy)")


async def test_files_are_sent_ahead_only_when_that_is_set():
    async with a_play(chosen=settings(send_ahead_count=1), a=FakeNode()) as play:
        for name in ("one", "two", "three"):
            await play.commits(name)
        await play.starts("one")
        assert isinstance(await play.asks("two"), Placed)
        assert isinstance(await play.asks("three"), Waiting)


async def test_there_is_nothing_to_place_for_a_task_that_runs_has_ended_or_is_unknown():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        assert await play.asks("one") == NotWaiting(state=TaskState.RUNNING)
        await play.cancels("one")
        assert await play.asks("one") == NotWaiting(state=TaskState.CANCELED)
        assert await play.asks("unknown") == NotWaiting(state=None)


async def test_only_the_upload_owner_may_place_a_task():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        with pytest.raises(Refused, match="another proxy"):
            await play.asks("one", InstanceId("someone else"))


async def test_why_it_waits_is_told_in_the_timeline_but_sparingly():
    async with a_play() as play:
        await play.commits("one")
        await play.adds("a", FakeNode(limit=1))
        await play.sweeps()
        assert len(play.task("one").timeline) == 1
        await play.passes(31)
        await play.sweeps()
        assert [line.text for line in play.task("one").timeline] == [
            "Waiting for a node: no node is registered",
            "Waiting for a node: no node takes 3 images (largest limit 1)",
        ]


async def test_a_task_that_was_short_of_memory_goes_to_a_bigger_node():
    async with a_play(a=FakeNode(limit=10, memory=8 * GIGABYTE), b=FakeNode(memory=64 * GIGABYTE)) as play:
        await play.commits("one")
        first = await play.starts("one")
        assert first.node.hostname == "a"
        play.node("a").fails(first.node_task_id, "Not enough memory")
        await play.looks()
        await play.passes(2)
        assert (await play.is_placed("one")).node.hostname == "b"
        assert ("remove", first.node_task_id) in play.node("a").acts


async def test_after_a_failed_transfer_another_node_is_preferred():
    async with a_play(a=FakeNode(limit=10), b=FakeNode()) as play:
        await play.commits("one")
        assert (await play.is_placed("one")).node.hostname == "a"
        await play.reports_failed("one", 1)
        answer = await play.asks("one")
        assert isinstance(answer, Waiting)
        assert answer.reason == "trying again in 1 s"
        await play.passes(2)
        assert (await play.is_placed("one")).node.hostname == "b"


async def test_a_write_that_fails_leaves_the_slot_reserved_until_that_is_cleared_up():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        play.bus.connected = False
        with pytest.raises(BusFailed):
            await play.asks("one")
        assert play.state_of("a").ours_count == 1
        play.bus.connected = True
        await play.passes(1)
        assert isinstance(await play.asks("one"), Placed)
        assert play.state_of("a").ours_count == 1


async def test_a_write_whose_answer_was_lost_counts():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await write_unseen(play)
        again = await play.is_placed("one")
        assert again.attempt == 1
        assert len(play.task("one").attempts) == 1


async def write_unseen(play: Play) -> None:
    """Let the store take an attempt of which the index hears nothing."""
    from clusterodm.libs.common.messages.buckets import TASKS
    from clusterodm.services.scheduler.task_life.transitions import placed

    bucket = await play.bus.bucket(TASKS)
    entry = await bucket.get(task_id("one"))
    assert entry is not None
    node = play.state_of("a").record
    await bucket.update(entry.key, placed(entry.value, node, task_id("one"), play.now_ms), entry.revision)


async def test_a_task_of_another_owner_is_not_found():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", owner=Owner("me"))
        with pytest.raises(NotFound, match=f"^{task_id('one')} not found$"):
            await play.cancels("one", owner=Owner("you"))
