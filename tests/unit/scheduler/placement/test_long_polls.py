"""Upload owners that keep a question open: who gets what is free, what they hear, and who counts as away."""

import asyncio
from typing import Any

import pytest

from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.messages.buckets import TASKS
from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.messages.placement import NotWaiting, Placed, PlaceTasks, TaskQuery, Waiting
from clusterodm.libs.common.messages.tasks import TASK_PLACED, StagedFiles
from clusterodm.libs.common.model.tasks import AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.services.scheduler.demand.core import demand_of
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, settings, task_id
from tests.waiting import until

OTHER = InstanceId("proxy-2")
AWAY = "its photos lie with a proxy that does not answer"


async def frees(play: Play, node: str, placed: Placed) -> None:
    """Let a task end, and the loops notice."""
    play.node(node).finishes(placed.node_task_id)
    await play.looks()
    await play.sweeps()


async def test_an_open_question_is_answered_when_a_slot_becomes_free():
    async with a_play(a=FakeNode()) as play:
        for name in ("one", "two"):
            await play.commits(name)
        first = await play.starts("one")
        async with play.polling() as question:
            await play.sweeps()
            assert not question.done()
            await frees(play, "a", first)
            answers = await question
        assert list(answers) == ["two"]
        assert isinstance(answers["two"], Placed)


async def test_a_commit_goes_to_a_question_that_is_open_with_what_was_sent_ahead():
    async with a_play(a=FakeNode(slots=1), b=FakeNode(slots=2, limit=1)) as play:
        ahead = StagedFiles(node=NodeId("a-3000"), node_task_id=NodeTaskId("ahead"))
        async with play.polling() as question:
            await play.commits("one", images=5, ahead=ahead)
            answer = (await question)["one"]
        assert isinstance(answer, Placed)
        assert (answer.node_task_id, answer.ahead, answer.again) == ("ahead", True, False)


async def test_one_answer_holds_several_placements_and_no_more_than_its_upload_owner_can_send():
    async with a_play(a=FakeNode(slots=9)) as play:
        for name in ("one", "two", "three"):
            await play.commits(name)
        assert set(await play.polls(places=2)) == {"one", "two"}
        assert await play.polls(places=2, sending={"one": 1, "two": 1}) == {}
        await play.reports_forwarded("one", 1)
        assert set(await play.polls(places=2, sending={"two": 1})) == {"three"}


async def test_the_oldest_task_of_all_who_ask_comes_first():
    async with a_play() as play:
        await play.commits("old", upload_owner=OTHER)
        await play.commits("young")
        await play.adds("a", FakeNode())
        async with play.polling(OTHER) as others:
            assert list(await others) == ["old"]
        answer = (await play.polls("young"))["young"]
        assert isinstance(answer, Waiting)


async def test_a_free_slot_goes_to_who_asks_although_an_older_task_of_a_busy_upload_owner_waits():
    async with a_play(a=FakeNode(slots=2)) as play:
        for name in ("sent slowly", "waits for its proxy"):
            await play.commits(name)
        await play.commits("of another", upload_owner=OTHER)
        assert list(await play.polls(places=1)) == ["sent slowly"]
        async with play.polling(places=1, sending={"sent slowly": 1}) as busy:
            assert list(await play.polls(upload_owner=OTHER)) == ["of another"]
            assert not busy.done()


async def test_an_upload_owner_that_is_busy_for_long_never_counts_as_away():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        for name in ("sent slowly", "waits"):
            await play.commits(name)
        await play.polls(places=1)
        async with play.polling(places=1, sending={"sent slowly": 1}):
            for _ in range(20):
                play.clock.pass_s(5)
                await play.renews("sent slowly", 1)
                await play.sweeps()
                assert UPLOAD_OWNER not in play.scheduler.state.proxies.away
        assert not any("does not answer" in moment.text for moment in play.task("waits").timeline)
        answer = (await play.polls("waits", places=1, sending={"sent slowly": 1}))["waits"]
        assert answer == Waiting(position=1, reason="no free slot (1 of 2 busy)")


async def test_whose_proxy_is_busy_reads_so_and_no_machine_is_wanted_while_a_slot_is_free():
    async with a_play(a=FakeNode(slots=2)) as play:
        for name in ("sent slowly", "waits"):
            await play.commits(name)
        await play.polls(places=1)
        async with play.polling(places=1, sending={"sent slowly": 1}):
            await play.renews("sent slowly", 1)
            await play.passes(2)
        assert "its proxy is sending as many tasks as it may" in play.task("waits").timeline[-1].text
        demand = demand_of(play.scheduler.state, play.now)
        assert (demand.waiting, demand.waiting_count, demand.slot_free_count) == ((), 0, 1)
        assert [task.task for task in demand.slot_free] == [task_id("waits")]


async def test_a_task_whose_upload_owner_is_away_orders_no_machine():
    async with a_play() as play:
        await play.commits("one", upload_owner=OTHER)
        await play.commits("two")
        await play.passes(1)
        assert demand_of(play.scheduler.state, play.now).waiting_count == 2
        await play.passes(16)
        demand = demand_of(play.scheduler.state, play.now)
        assert [task.task for task in demand.waiting] == [task_id("two")]
        assert (demand.waiting_count, demand.upload_owner_away_count) == (1, 1)
        assert (await play.polls("one", upload_owner=OTHER))["one"] == Waiting(
            position=1, reason="no node is registered"
        )
        assert demand_of(play.scheduler.state, play.now).waiting_count == 2


async def test_an_upload_owner_is_away_when_it_neither_asks_nor_sends_for_a_while():
    async with a_play(chosen=settings(holder_silence_s=2)) as play:
        await play.commits("one", upload_owner=OTHER)
        async with play.polling(OTHER):
            await play.passes(60)
            assert play.task("one").waiting_because != AWAY
        await play.passes(1)
        await play.passes(1)
        assert play.task("one").waiting_because != AWAY
        await play.passes(1)
        assert play.task("one").waiting_because == AWAY


async def test_no_step_of_the_wall_clock_makes_an_upload_owner_be_away():
    async with a_play() as play:
        await play.commits("one", upload_owner=OTHER)
        for hours in (2, -4):
            play.clock.step_wall_s(hours * 3600)
            await play.sweeps()
            assert OTHER not in play.scheduler.state.proxies.away


async def test_a_question_is_answered_when_its_task_is_canceled_or_removed():
    async with a_play() as play:
        for name in ("one", "two"):
            await play.commits(name)
        async with play.polling() as question:
            await play.cancels("one")
            assert await question == {"one": NotWaiting(state=TaskState.CANCELED)}
        async with play.polling() as question:
            await play.removes("two")
            answers = await question
        assert list(answers.values()) == [NotWaiting(state=None, removed=True)]


async def test_named_tasks_are_answered_at_once_whatever_they_are():
    async with a_play(a=FakeNode()) as play:
        for name in ("runs", "waits"):
            await play.commits(name)
        await play.starts("runs")
        await play.commits("of another", upload_owner=OTHER)
        answers = await play.polls("runs", "waits", "unknown", "of another", hold_s=20)
        assert answers == {
            "runs": NotWaiting(state=TaskState.RUNNING),
            "waits": Waiting(position=1, reason="no free slot (1 of 1 busy)"),
            task_id("unknown"): NotWaiting(state=None),
            "of another": NotWaiting(state=TaskState.WAITING, held_by=OTHER),
        }


async def test_when_there_is_nothing_to_say_position_and_reason_are_said_after_a_while():
    async with a_play() as play:
        await play.commits("one")
        assert await play.polls(hold_s=0.01) == {"one": Waiting(position=1, reason="no node is registered")}


async def test_an_attempt_of_which_its_upload_owner_has_not_heard_is_answered_again_until_it_is_over():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        first = (await play.polls())["one"]
        again = (await play.polls(hold_s=20))["one"]
        assert isinstance(first, Placed)
        assert isinstance(again, Placed)
        assert (again.attempt, again.node_task_id, again.again) == (first.attempt, first.node_task_id, True)
        assert await play.polls(sending={"one": 1}) == {}
        await play.reports_failed("one", 1)
        assert await play.polls() == {}


async def test_a_newer_question_of_an_upload_owner_ends_the_one_before():
    async with a_play() as play:
        await play.commits("one")
        async with play.polling() as first, play.polling() as second:
            await until(first.done)
            assert not second.done()


async def test_what_an_earlier_run_of_a_proxy_has_asked_counts_no_more():
    async with a_play() as play:
        await play.commits("one")
        async with play.polling(run="before") as before:
            await play.polls("one", run="after")
            await until(before.done)
            await play.adds("a", FakeNode())
            await play.sweeps()
            assert play.task("one").state is TaskState.WAITING


async def test_a_proxy_that_is_about_to_stop_gets_nothing_any_more():
    async with a_play() as play:
        await play.commits("one")
        async with play.polling() as question:
            assert await play.polls(places=0) == {}
            await until(question.done)
            await play.adds("a", FakeNode())
            await play.sweeps()
        assert play.task("one").state is TaskState.WAITING


async def test_a_scheduler_that_is_about_to_stop_answers_what_is_open():
    async with a_play() as play:
        await play.commits("one")
        async with play.polling() as question:
            play.scheduler.placement.placement_loop.close()
            await question
        with pytest.raises(BusFailed):
            await play.polls()


async def test_who_takes_over_says_so():
    async with a_play() as play:
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(play.scheduler.placement.placement_loop.run())
            await until(lambda: play.told("hint.placement_possible"))
            loop.cancel()
        assert [(hint.tasks, hint.epoch) for hint in play.told("hint.placement_possible")] == [((), play.term.epoch)]


async def test_a_question_that_is_cut_off_leaves_no_slot_reserved():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        async with asyncio.TaskGroup() as group, play.scheduler.records.tasks.holding(task_id("one")):
            question = group.create_task(play.polls())
            await until(lambda: play.state_of("a").ours_count == 1)
            question.cancel()
        assert play.state_of("a").ours_count == 0
        assert list(await play.polls()) == ["one"]


async def test_what_is_placed_with_a_question_that_another_has_followed_is_told_to_that_one():
    async with a_play(a=FakeNode()) as play, asyncio.TaskGroup() as group:
        await play.commits("one")
        async with play.scheduler.records.tasks.holding(task_id("one")):
            first = group.create_task(play.polls(hold_s=20, renews_first=True))
            await until(lambda: play.state_of("a").ours_count == 1)
            second = group.create_task(play.polls(hold_s=20, renews_first=True))
            await asyncio.sleep(0)
            assert not first.done()
        placed, told = (await first)["one"], (await second)["one"]
        assert isinstance(placed, Placed)
        assert isinstance(told, Placed)
        assert (told.attempt, told.node_task_id) == (placed.attempt, placed.node_task_id)


@pytest.mark.parametrize(("number", "state"), [(1, TaskState.WAITING), (2, TaskState.FORWARDING)])
async def test_a_question_that_comes_twice_gets_nothing_new_the_second_time(number: int, state: TaskState):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        first = (await play.polls("one", run="r", number=1))["one"]
        await play.commits("two")
        await play.adds("b", FakeNode())
        again = (await play.polls("one", run="r", number=number))["one"]
        assert isinstance(first, Placed)
        assert isinstance(again, Placed)
        assert (again.attempt, again.node_task_id) == (first.attempt, first.node_task_id)
        assert play.task("two").state is state


async def test_the_questions_of_another_run_are_counted_anew():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.polls("unknown", run="before", number=9)
        assert isinstance((await play.polls("one", run="after", number=1))["one"], Placed)


async def test_a_task_that_cannot_be_written_holds_up_no_other_of_the_same_question():
    async with a_play(a=FakeNode(slots=2)) as play:
        await play.commits("one")
        await play.commits("two")
        bucket = await play.bus.bucket(TASKS)
        await bucket.delete(task_id("one"))
        answers = await play.polls()
        assert "two" in answers


async def test_names_of_tasks_come_with_what_was_sent_ahead_of_them():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        ahead = StagedFiles(node=NodeId("a-3000"), node_task_id=NodeTaskId("ahead"))
        asked = PlaceTasks(
            upload_owner=UPLOAD_OWNER, places_count=1, tasks=(TaskQuery(task=task_id("one"), ahead=ahead),)
        )
        answer = (await play.scheduler.placement.placement_loop.place_tasks(asked)).tasks[0].answer
        assert isinstance(answer, Placed)
        assert (answer.node_task_id, answer.ahead) == ("ahead", True)


async def test_an_answer_that_was_lost_with_its_proxy_keeps_its_slot_for_three_seconds():
    async with a_play(a=FakeNode()) as play:
        await play.commits("lost")
        await play.commits("of another", upload_owner=OTHER)
        await play.polls(renews_first=True)
        async with play.polling(OTHER, renews_first=True) as others:
            play.clock.pass_s(2.9)
            await play.sweeps()
            assert not others.done()
            play.clock.pass_s(0.2)
            await play.sweeps()
            assert list(await others) == ["of another"]
        assert play.task("lost").state is TaskState.WAITING
        assert "its proxy has not taken it up within 3 s" in play.task("lost").timeline[-1].text
        assert [(each.task, each.attempt) for each in play.told("task.attempt_ended")] == [(task_id("lost"), 1)]
        with pytest.raises(Refused):
            await play.renews("lost", 1)
        assert not play.task("lost").attempts[-1].counted
        assert play.node("a").acts == []


async def test_any_word_of_an_upload_owner_keeps_what_it_has_still_to_take_up_but_not_for_ever():
    async with a_play(a=FakeNode(slots=2)) as play:
        await play.commits("taken up")
        await play.commits("lost")
        await play.polls(renews_first=True)
        await play.renews("taken up", 1)
        for _ in range(7):
            play.clock.pass_s(2)
            await play.renews("taken up", 1)
            await play.sweeps()
            assert play.task("lost").state is TaskState.FORWARDING
        play.clock.pass_s(2)
        await play.renews("taken up", 1)
        await play.sweeps()
        assert play.task("lost").state is TaskState.WAITING
        assert play.task("taken up").state is TaskState.FORWARDING


async def test_a_time_in_which_the_scheduler_did_not_listen_is_nobodys_silence():
    async with a_play(a=FakeNode()) as play, TaskLimiter(10, grace_s=5) as limiter:
        await play.commits("one")
        await play.polls(renews_first=True)
        watch = play.scheduler.forwarding.uncertain.watch
        await watch(limiter)
        play.clock.pass_s(10)
        await watch(limiter)
        await play.renews("one", 1)
        assert play.task("one").state is TaskState.FORWARDING


async def test_an_answer_that_was_lost_with_a_proxy_of_an_earlier_version_keeps_its_slot_until_the_node_was_asked():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.polls()
        await play.passes(14)
        assert play.task("one").attempts[-1].state is AttemptState.FORWARDING
        await play.passes(2)
        await play.sweeps()
        await play.passes(30)
        assert play.task("one").state is TaskState.WAITING
        assert play.state_of("a").ours_count == 0


async def test_a_question_about_a_task_that_does_not_renew_first_counts_for_its_first_renewal():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.polls("one")
        await play.passes(59)
        assert play.task("one").attempts[-1].state is AttemptState.FORWARDING
        await play.passes(2)
        assert play.task("one").attempts[-1].state is AttemptState.UNCERTAIN
        await play.sweeps()
        await play.passes(play.settings.commit_settle_s + 1)
        assert play.task("one").state is TaskState.WAITING
        assert play.state_of("a").ours_count == 0


async def test_a_question_about_a_task_that_renews_first_keeps_its_slot_for_three_seconds():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.polls("one", renews_first=True)
        play.clock.pass_s(3.1)
        await play.sweeps()
        assert play.task("one").state is TaskState.WAITING


async def test_what_else_a_question_about_a_task_is_answered_with_it_has_not_renewed():
    async with a_play(a=FakeNode(slots=2)) as play:
        await play.commits("one")
        await play.commits("two")
        assert {*await play.polls("two")} == {"one", "two"}
        await play.passes(16)
        states = [play.task(name).attempts[-1].state for name in ("one", "two")]
        assert states == [AttemptState.UNCERTAIN, AttemptState.FORWARDING]


async def test_an_attempt_that_was_renewed_may_be_silent_for_longer():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.polls()
        await play.renews("one", 1)
        await play.passes(59)
        assert play.task("one").attempts[-1].state is AttemptState.FORWARDING
        await play.passes(2)
        assert play.task("one").attempts[-1].state is AttemptState.UNCERTAIN


async def test_a_renewal_that_comes_while_the_end_of_its_attempt_is_being_written_is_refused():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.polls(renews_first=True)
        play.clock.pass_s(3.1)
        tasks, written = play.scheduler.records.tasks, asyncio.Event()
        update = tasks.records.update

        async def update_slowly(key: str, value: Task, revision: int) -> int:
            await written.wait()
            return await update(key, value, revision)

        tasks.records.update = update_slowly  # type: ignore[method-assign,assignment]
        async with asyncio.TaskGroup() as group:
            group.create_task(play.sweeps())
            await until(lambda: tasks.is_being_written(task_id("one")))
            asyncio.get_running_loop().call_soon(written.set)
            with pytest.raises(Refused):
                await play.renews("one", 1)
        assert play.task("one").state is TaskState.WAITING


async def test_an_attempt_that_another_question_has_begun_meanwhile_is_answered_as_one_of_before():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        publish = play.bus.publish

        async def begin_anew_meanwhile(event: Event[Any], message: Any) -> None:
            await publish(event, message)
            if event is TASK_PLACED:
                play.bus.publish = publish  # type: ignore[method-assign]
                await play.cancels("one")
                await play.restarts("one")
                assert "one" in await play.polls(renews_first=True)

        play.bus.publish = begin_anew_meanwhile  # type: ignore[method-assign,assignment]
        answer = (await play.polls("one"))["one"]
        assert isinstance(answer, Placed)
        assert (answer.attempt, answer.again) == (2, True)
