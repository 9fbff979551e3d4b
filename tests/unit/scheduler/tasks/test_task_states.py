"""What becomes of tasks: forwarding, tracking, loss, the end; played with fake nodes."""

import asyncio

import pytest

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.placement import FinishReported, Waiting
from clusterodm.libs.common.messages.tasks import TASK_ATTEMPT_ENDED, TASK_FINISHED, ListTasks, ReadConsole, TaskRef
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import AttemptState, Cleanup, StatusCode, TaskState
from clusterodm.libs.common.model.values import NodeTaskId, Owner
from clusterodm.libs.common.process.loops import background
from clusterodm.services.scheduler.metrics import ATTEMPTS_ENDED
from clusterodm.services.scheduler.node_client.ports import ObservedTask
from clusterodm.services.scheduler.task_life.attempts import AttemptResult
from clusterodm.services.scheduler.tasks.core.observation import known_of
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, settings, task_id
from tests.waiting import until

# --- forwarding ----------------------------------------------------------------------------------------------------


async def test_a_silent_upload_owner_makes_an_attempt_uncertain_and_the_node_is_asked():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        play.node("a").takes(placed.node_task_id)
        await play.passes(61)
        await play.passes(1)
        assert play.task("one").state is TaskState.RUNNING


async def test_an_upload_owner_that_speaks_keeps_its_attempt():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.is_placed("one")
        for _ in range(5):
            await play.renews("one", 1)
            await play.passes(50)
        assert play.task("one").attempts[-1].state is AttemptState.FORWARDING


async def test_what_the_node_does_not_have_is_tried_again_after_the_commit_had_time_to_settle():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.is_placed("one")
        await play.reports_failed("one", 1, commit_uncertain=True)
        await play.passes(1)
        assert play.task("one").state is TaskState.FORWARDING
        await play.passes(4)
        assert play.task("one").state is TaskState.FORWARDING
        answer = await play.asks("one")
        assert answer == Waiting(position=1, reason="asking a:3000 whether it has the task")
        await play.passes(1)
        assert play.task("one").state is TaskState.WAITING
        assert not play.task("one").attempts[0].counted


async def test_an_uncertain_commit_that_arrived_counts():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.reports_failed("one", 1, commit_uncertain=True)
        play.node("a").takes(placed.node_task_id)
        await play.passes(1)
        assert play.task("one").state is TaskState.RUNNING
        assert len(play.task("one").attempts) == 1


async def test_the_time_in_which_the_scheduler_was_frozen_is_no_silence_of_a_node():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.goes_down(placed.node.hostname)
        failures = play.scheduler.nodes.failures
        await failures.watch()
        for frozen_s in (100, 300):
            play.clock.pass_s(frozen_s)
            await failures.watch()
        assert play.task("one").state is TaskState.RUNNING
        for _ in range(239):
            play.clock.pass_s(0.5)
            await failures.watch()
        assert play.task("one").state is TaskState.RUNNING
        for _ in range(3):
            play.clock.pass_s(0.5)
            await failures.watch()
        assert play.task("one").state is TaskState.WAITING


async def test_a_node_that_comes_back_has_time_to_take_in_the_commit_in_its_mailbox():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.reports_failed("one", 1, commit_uncertain=True)
        node = play.api.reach(placed.node)
        node.up = False
        await play.passes(30)
        node.up = True
        await play.passes(1)
        assert play.task("one").state is TaskState.FORWARDING  # it denies, for the first time
        node.up = False
        await play.passes(10)
        node.up = True
        await play.passes(1)
        assert play.task("one").state is TaskState.FORWARDING  # what it said before it was away again does not count
        node.takes(placed.node_task_id)
        await play.passes(1)
        assert play.task("one").state is TaskState.RUNNING
        assert len(play.task("one").attempts) == 1


async def test_nothing_else_happens_while_the_node_of_an_uncertain_attempt_cannot_be_asked():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.reports_failed("one", 1, commit_uncertain=True)
        await play.goes_down(placed.node.hostname)
        await play.passes(100)
        assert play.task("one").state is TaskState.FORWARDING
        await play.passes(30)
        assert play.task("one").state is TaskState.WAITING
        assert play.task("one").attempts[0].cleanup is Cleanup.REMOVE


async def test_a_node_that_refuses_counts_and_its_words_are_the_error():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        for number in (1, 2, 3):
            await play.passes(60)
            await play.is_placed("one")
            await play.reports_failed("one", number, "Invalid option", node_refused=True)
        assert (play.task("one").state, play.task("one").error) == (TaskState.FAILED, "Invalid option")


async def test_a_node_that_nobody_reaches_does_not_count():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        for number in range(1, 11):
            await play.passes(60)
            await play.is_placed("one")
            await play.reports_failed("one", number, "unreachable")
        assert play.task("one").state is TaskState.WAITING


async def test_a_report_on_an_attempt_that_is_over_changes_nothing_and_its_node_is_cleaned_up():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        first = await play.is_placed("one")
        await play.reports_failed("one", 1)
        await play.passes(2)
        await play.starts("one")
        play.api.reach(first.node).takes(first.node_task_id)
        with pytest.raises(Refused, match="no longer counts"):
            await play.reports_forwarded("one", 1)
        with pytest.raises(Refused, match="no longer counts"):
            await play.renews("one", 1)
        await play.passes(5)
        assert first.node_task_id not in play.api.reach(first.node).tasks
        assert play.task("one").state is TaskState.RUNNING


async def test_the_same_report_again_is_a_success():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.reports_forwarded("one", 1)
        assert len(play.told("task.started")) == 1


# --- tracking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observation", "state", "error"),
    [
        pytest.param(ObservedTask(StatusCode.COMPLETED), TaskState.COMPLETED, "", id="completed"),
        pytest.param(ObservedTask(StatusCode.FAILED, error="Cannot process dataset"), TaskState.FAILED, "Cannot process dataset", id="failed"),
        pytest.param(ObservedTask(StatusCode.CANCELED), TaskState.CANCELED, "", id="canceled by someone else"),
        pytest.param(ObservedTask(StatusCode.QUEUED), TaskState.RUNNING, "", id="queued there"),
        pytest.param(ObservedTask(StatusCode.RUNNING), TaskState.RUNNING, "", id="running"),
    ],
)  # fmt: skip
async def test_a_task_goes_as_its_node_says(observation: ObservedTask, state: TaskState, error: str):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").tasks[placed.node_task_id] = observation
        await play.looks()
        assert (play.task("one").state, play.task("one").error) == (state, error)
        assert play.state_of("a").ours_count == (0 if state.ended else 1)
        assert len(play.told("task.finished")) == (1 if state.ended else 0)


async def test_the_record_is_written_only_when_something_has_changed():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.looks()
        revision = play.scheduler.records.tasks.record(task_id("one")).revision
        await play.looks()
        await play.looks()
        assert play.scheduler.records.tasks.record(task_id("one")).revision == revision


async def test_the_console_grows_with_every_look():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.looks()
        play.node("a").console[placed.node_task_id] += ["second", "third"]
        await play.looks()
        known = play.task("one").known
        assert known is not None
        assert (known.console_count, known.console_tail) == (3, ("started", "second", "third"))


async def test_a_task_that_its_node_forgot_is_tried_again_under_another_id():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        first = await play.starts("one")
        play.node("a").tasks.clear()
        await play.looks()
        assert play.task("one").state is TaskState.WAITING
        await play.passes(2)
        second = await play.starts("one")
        assert second.node_task_id != first.node_task_id
        play.node("a").finishes(second.node_task_id)
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED
        assert any("the node does not know the task any more" in line.text for line in play.task("one").timeline)


async def test_a_hint_makes_the_task_due_at_once_and_a_false_one_does_no_harm():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        tracker = play.scheduler.tasks.tracker
        await tracker.hint(FinishReported(node_task_id=placed.node_task_id))
        await tracker.hint(FinishReported(node_task_id=NodeTaskId("nobody")))
        await play.looks()
        assert play.task("one").state is TaskState.RUNNING


async def test_a_task_that_has_just_started_is_not_looked_at_before_its_node_has_something_to_tell():
    async with a_play(a=FakeNode(slots=2)) as play, background(play.scheduler.tasks.tracker.run, "track"):
        await asyncio.sleep(0)  # it begins with what runs already: nothing
        await play.commits("one")
        await play.commits("two")
        await play.starts("one")
        second = await play.starts("two")
        await play.scheduler.tasks.tracker.hint(FinishReported(node_task_id=second.node_task_id))
        await until(lambda: play.task("two").known is not None, what="a look at the one of which there is a hint")
        assert play.task("one").known is None
        play.clock.pass_s(play.settings.poll_first_s)
        await until(lambda: play.task("one").known is not None, what="a look at the other one")


async def test_a_hint_during_a_look_has_the_task_looked_at_again_at_once():
    async with a_play(a=FakeNode()) as play, background(play.scheduler.tasks.tracker.run, "track"):
        node = play.node("a")
        node.gate = asyncio.Event()
        await play.commits("one")
        asked_count = node.asked_count
        placed = await play.starts("one")
        play.clock.pass_s(play.settings.poll_first_s)
        await until(lambda: node.asked_count > asked_count, what="a look that is under way")
        node.finishes(placed.node_task_id)
        await play.scheduler.tasks.tracker.hint(FinishReported(node_task_id=placed.node_task_id))
        node.gate.set()
        await until(
            lambda: play.task("one").state is TaskState.COMPLETED,
            what="the end, before any timer: the clock of the test stands still",
        )


# --- loss ----------------------------------------------------------------------------------------------------------


async def test_a_task_on_a_node_that_is_silent_for_too_long_goes_elsewhere_and_the_old_node_is_told():
    async with a_play(a=FakeNode(limit=10), b=FakeNode()) as play:
        await play.commits("one")
        first = await play.starts("one")
        assert first.node.hostname == "a"
        await play.goes_down("a")
        await play.passes(100)
        assert play.task("one").state is TaskState.RUNNING
        await play.passes(30)
        assert play.task("one").state is TaskState.WAITING
        await play.passes(2)
        second = await play.starts("one")
        assert second.node.hostname == "b"
        await play.comes_back("a")
        assert first.node_task_id in play.node("a").tasks
        await play.passes(5)
        assert first.node_task_id not in play.node("a").tasks
        assert play.task("one").attempts[0].cleanup is Cleanup.NONE
        assert play.task("one").state is TaskState.RUNNING


async def test_a_node_that_is_back_within_its_grace_keeps_its_task():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.goes_down(placed.node.hostname)
        await play.passes(110)
        await play.comes_back(placed.node.hostname)
        await play.passes(110)
        assert len(play.task("one").attempts) == 1
        assert play.task("one").state is TaskState.RUNNING


async def test_a_task_that_was_lost_too_often_has_failed_with_every_reason():
    async with a_play(chosen=settings(max_attempts=2), a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        play.node("a").tasks.clear()
        await play.looks()
        await play.passes(60)
        await play.probes()
        await play.starts("one")
        await play.goes_down("a")
        await play.passes(121)
        task = play.task("one")
        assert task.state is TaskState.FAILED
        assert task.error == (
            "attempt 1: the node does not know the task any more; attempt 2: the node has been silent for 121 s"
        )


async def test_a_lost_task_keeps_its_place_in_the_queue():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.commits("two")
        play.node("a").tasks.clear()
        await play.looks()
        answer = await play.asks("one")
        assert isinstance(answer, Waiting)
        assert answer.position == 1


# --- cancel --------------------------------------------------------------------------------------------------------


async def test_a_waiting_task_is_canceled_at_once():
    async with a_play() as play:
        await play.commits("one")
        assert (await play.cancels("one")).state is TaskState.CANCELED
        assert len(play.scheduler.state.index.waiting) == 0


async def test_a_reserved_slot_is_free_after_a_cancel():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.cancels("one")
        assert play.state_of("a").ours_count == 0


async def test_a_running_task_is_canceled_on_its_node():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        task = await play.cancels("one")
        assert play.node("a").acts == [("cancel", placed.node_task_id)]
        assert task.attempts[-1].cleanup is Cleanup.NONE


async def test_a_task_on_a_node_that_is_away_is_canceled_and_the_node_is_told_later():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.goes_down("a")
        task = await play.cancels("one")
        assert (task.state, task.attempts[-1].cleanup) == (TaskState.CANCELED, Cleanup.CANCEL)
        await play.comes_back("a")
        await play.passes(5)
        assert play.node("a").tasks[placed.node_task_id].code is StatusCode.CANCELED
        assert play.task("one").attempts[-1].cleanup is Cleanup.NONE


async def test_no_other_task_is_sent_to_a_node_that_has_still_to_be_told_of_a_cancel():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        play.node("a").refuses = "busy"
        await play.cancels("one")
        await play.commits("two")
        assert isinstance(await play.asks("two"), Waiting)
        await play.passes(5)
        assert play.task("one").attempts[-1].cleanup is Cleanup.NONE
        await play.starts("two")


async def test_a_task_that_is_canceled_while_it_is_sent_is_removed_from_its_node_even_when_it_arrives_late():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.cancels("one")
        await play.passes(5)
        play.node("a").takes(placed.node_task_id)
        await play.passes(5)
        assert placed.node_task_id not in play.node("a").tasks
        assert play.task("one").state is TaskState.CANCELED


@pytest.mark.parametrize("code", [StatusCode.COMPLETED, StatusCode.FAILED])
async def test_what_has_ended_is_canceled_too_and_restarts_from_there(code: StatusCode):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").says(
            placed.node_task_id, code=code, error="" if code is StatusCode.COMPLETED else "Cannot process dataset"
        )
        await play.looks()
        canceled = await play.cancels("one")
        assert canceled.state is TaskState.CANCELED
        assert (canceled.known.code, canceled.known.processing_time_ms, canceled.error) == (code, -1, "")
        assert play.node("a").tasks[placed.node_task_id].code is code
        assert await play.cancels("one") == canceled
        assert (await play.restarts("one")).state is TaskState.RUNNING


# --- remove --------------------------------------------------------------------------------------------------------


async def test_a_removed_task_is_gone_from_everywhere():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.removes("one")
        assert not play.has("one")
        assert play.node("a").tasks == {}
        with pytest.raises(NotFound, match="was removed"):
            await play.removes("one")


async def test_a_removed_task_on_a_node_that_is_away_is_invisible_until_its_node_was_told():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.goes_down("a")
        await play.removes("one")
        with pytest.raises(NotFound):
            await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one")))
        assert (await play.scheduler.tasks.reader.list_tasks(ListTasks())).tasks == ()
        assert play.has("one")
        await play.comes_back("a")
        await play.passes(5)
        assert not play.has("one")
        assert play.node("a").tasks == {}


async def test_a_waiting_task_is_removed_at_once():
    async with a_play() as play:
        await play.commits("one")
        await play.removes("one")
        assert not play.has("one")


# --- restart -------------------------------------------------------------------------------------------------------


async def ended(play: Play) -> NodeTaskId:
    await play.commits("one")
    placed = await play.starts("one")
    play.node("a").finishes(placed.node_task_id)
    await play.looks()
    return placed.node_task_id


async def test_an_ended_task_runs_again_on_its_node():
    async with a_play(a=FakeNode()) as play:
        node_task = await ended(play)
        task = await play.restarts("one", (OptionValue("dsm", True),))
        assert (task.state, task.known, task.options) == (TaskState.RUNNING, None, (OptionValue("dsm", True),))
        assert play.node("a").acts == [("restart", node_task)]
        assert play.state_of("a").ours_count == 1


async def test_a_look_that_was_under_way_during_a_restart_does_not_end_the_task():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        tracker, running = play.scheduler.tasks.tracker, play.task("one")
        old_look = ObservedTask(StatusCode.COMPLETED)
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        await play.restarts("one")
        await tracker._seen(running, known_of(None, old_look, 0), play.state_of("a"), None)
        assert play.task("one").state is TaskState.RUNNING
        assert play.task("one").known is None


@pytest.mark.parametrize("said", [StatusCode.COMPLETED, StatusCode.FAILED, StatusCode.RUNNING])
async def test_a_look_that_was_under_way_during_a_cancel_tells_of_no_second_end(said: StatusCode):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        tracker, running = play.scheduler.tasks.tracker, play.task("one")
        await play.cancels("one")
        await tracker._seen(running, known_of(None, ObservedTask(said), 0), play.state_of("a"), None)
        assert play.task("one").state is TaskState.CANCELED
        assert [event.state for event in play.told(TASK_FINISHED.name)] == [TaskState.CANCELED]


async def test_a_loss_that_was_noticed_during_a_cancel_tells_of_no_second_end():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        tracker, attempt = play.scheduler.tasks.tracker, play.task("one").attempts[-1]
        await play.cancels("one")
        await tracker._lost(task_id("one"), attempt, "the node does not know the task any more")
        assert len(play.told(TASK_FINISHED.name)) == 1
        assert play.told(TASK_ATTEMPT_ENDED.name) == []


async def test_an_answer_about_an_uncertain_attempt_that_comes_after_a_cancel_tells_of_no_second_end():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.is_placed("one")
        await play.reports_failed("one", 1, commit_uncertain=True)
        asked = play.task("one")
        await play.cancels("one")
        told = len(play.told(TASK_ATTEMPT_ENDED.name))
        await play.scheduler.forwarding.uncertain._end(asked, AttemptResult("the node does not have the task"))
        assert len(play.told(TASK_FINISHED.name)) == 1
        assert len(play.told(TASK_ATTEMPT_ENDED.name)) == told


async def test_each_attempt_is_counted_once():
    async with a_play(a=FakeNode()) as play:
        before = sum(ATTEMPTS_ENDED.values.values())
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.reports_failed("one", 1, commit_uncertain=True)
        assert sum(ATTEMPTS_ENDED.values.values()) == before  # nobody knows whether it has ended
        play.node("a").takes(placed.node_task_id)
        await play.passes(1)
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert sum(ATTEMPTS_ENDED.values.values()) == before + 1


async def test_a_task_that_has_not_ended_cannot_be_restarted():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        with pytest.raises(Refused, match=r"^Task cannot be restarted$"):
            await play.restarts("one")


async def test_a_canceled_task_whose_slot_went_to_another_waits_for_one_when_it_is_restarted():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.cancels("one")
        await play.commits("two")
        second = await play.starts("two")
        assert (await play.restarts("one")).state is TaskState.WAITING
        assert play.state_of("a").used_count == 1
        assert isinstance(await play.asks("one"), Waiting)
        play.node("a").finishes(second.node_task_id)
        await play.looks()
        assert (await play.starts("one")).attempt == 2


async def test_a_canceled_task_is_restarted_in_its_slot_where_that_is_still_free():
    async with a_play(a=FakeNode(slots=2)) as play:
        for name in ("one", "two"):
            await play.commits(name)
            await play.starts(name)
        await play.cancels("one")
        assert (await play.restarts("one")).state is TaskState.RUNNING
        assert play.state_of("a").used_count == 2


async def test_nobody_else_gets_a_slot_while_a_node_is_asked_to_restart_a_task_in_it():
    async with a_play(a=FakeNode()) as play, asyncio.TaskGroup() as group:
        await play.commits("one")
        await play.starts("one")
        await play.cancels("one")
        play.node("a").gate = asyncio.Event()
        restart = group.create_task(play.restarts("one"))
        await until(lambda: play.node("a").acts[-1][0] == "restart")
        await play.commits("two")
        assert isinstance(await play.asks("two"), Waiting)
        play.node("a").gate.set()
        assert (await restart).state is TaskState.RUNNING
        assert play.state_of("a").used_count == 1


async def test_a_restart_that_its_node_refuses_leaves_the_slot_to_others():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.cancels("one")
        play.node("a").refuses = "Invalid value"
        with pytest.raises(Refused, match="Invalid value"):
            await play.restarts("one")
        await play.commits("two")
        await play.starts("two")


async def test_what_has_failed_waits_in_the_queue_of_its_node_which_has_what_was_worked_out():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        first = await play.starts("one")
        play.node("a").fails(first.node_task_id, "Cannot process dataset")
        await play.looks()
        await play.commits("two")
        await play.starts("two")
        assert (await play.restarts("one")).state is TaskState.RUNNING
        assert play.node("a").tasks[first.node_task_id].code is StatusCode.QUEUED


async def test_a_task_that_never_reached_a_node_cannot_be_restarted_without_its_inputs():
    async with a_play() as play:
        await play.commits("one")
        await play.cancels("one")
        await play.loses_inputs("one")
        with pytest.raises(Refused, match=r"^Action not supported. Please create a new task.$"):
            await play.restarts("one")


async def test_a_task_that_its_node_has_forgotten_cannot_be_restarted():
    async with a_play(a=FakeNode()) as play:
        await ended(play)
        play.node("a").tasks.clear()
        with pytest.raises(Refused, match=r"^Action not supported"):
            await play.restarts("one")
        assert play.task("one").state is TaskState.COMPLETED


async def test_a_restart_that_came_through_although_its_answer_was_lost_counts():
    async with a_play(a=FakeNode()) as play:
        node_task = await ended(play)
        play.node("a").says(node_task, code=StatusCode.RUNNING)
        play.node("a").refuses = "Task cannot be restarted"
        assert (await play.restarts("one")).state is TaskState.RUNNING


async def test_the_words_of_a_node_that_refuses_a_restart_are_passed_on():
    async with a_play(a=FakeNode()) as play:
        await ended(play)
        play.node("a").refuses = '[{"name":"dsm","error":"Invalid value"}]'
        with pytest.raises(Refused, match="Invalid value"):
            await play.restarts("one")


# --- imports, lists, consoles, retention ---------------------------------------------------------------------------


async def test_a_route_of_the_original_is_taken_over_and_followed():
    async with a_play(a=FakeNode()) as play:
        play.node("a").takes(NodeTaskId(task_id("one")))
        task = await play.imports("one", "a")
        assert (task.state, task.name, task.images_count) == (TaskState.RUNNING, "on the node", 3)
        assert await play.imports("one", "a") == task
        play.node("a").finishes(NodeTaskId(task_id("one")))
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED


async def test_a_route_to_a_task_that_its_node_does_not_have_is_not_taken_over():
    async with a_play(a=FakeNode()) as play:
        with pytest.raises(NotFound):
            await play.imports("one", "a")
        with pytest.raises(NotFound, match="There is no node"):
            await play.imports("one", "b")


async def test_tasks_are_listed_in_pages_in_the_order_of_their_commits():
    async with a_play(a=FakeNode()) as play:
        for number in range(5):
            await play.commits(f"task {number}", owner=Owner("me" if number % 2 == 0 else "you"))
        reads = play.scheduler.tasks.reader
        first = await reads.list_tasks(ListTasks(limit_count=2))
        rest = await reads.list_tasks(ListTasks(after=first.tasks[-1].id))
        assert [task.name for task in first.tasks] == ["task 0", "task 1"]
        assert first.more
        assert [task.name for task in rest.tasks] == ["task 2", "task 3", "task 4"]
        assert not rest.more
        mine = await reads.list_tasks(ListTasks(owner=Owner("me")))
        assert [task.name for task in mine.tasks] == ["task 0", "task 2", "task 4"]
        assert mine.tasks[1].position == 3


async def test_tasks_of_a_node_are_listed():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        await play.commits("two")
        placed = await play.starts("one")
        listed = await play.scheduler.tasks.reader.list_tasks(ListTasks(node=placed.node.id))
        assert [(task.name, task.node_name) for task in listed.tasks] == [("one", placed.node.name)]


async def test_the_console_is_the_nodes_or_what_was_last_seen_of_it():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.looks()
        asked = ReadConsole(task=task_id("one"), from_line=-1)
        assert (await play.scheduler.tasks.reader.read_console(asked)).lines == ("started",)
        play.node("a").console[NodeTaskId(task_id("one"))].append("unseen")
        assert (await play.scheduler.tasks.reader.read_console(asked)).lines == ("unseen",)
        await play.goes_down("a")
        assert (await play.scheduler.tasks.reader.read_console(asked)).lines == ("started",)


async def test_a_console_that_is_too_long_for_a_message_is_cut_where_it_goes_on():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        play.node("a").console[NodeTaskId(task_id("one"))] = [f"{number:09} {'x' * 990}" for number in range(3000)]
        reads = play.scheduler.tasks.reader
        first = (await reads.read_console(ReadConsole(task=task_id("one")))).lines
        last = (await reads.read_console(ReadConsole(task=task_id("one"), from_line=-3000))).lines
        assert 600 < len(first) < 800
        assert last[-1].startswith("000002999")
        assert 600 < len(last) < 800


async def test_the_record_of_a_task_that_ended_long_ago_is_forgotten():
    async with a_play(chosen=settings(task_retention_h=1), a=FakeNode()) as play:
        await ended(play)
        await play.passes(3500)
        assert play.has("one")
        await play.passes(200)
        assert not play.has("one")


async def test_every_state_survives_a_restart_of_the_scheduler():
    async with a_play(a=FakeNode(slots=2), b=FakeNode(slots=2)) as play:
        for name in ("running", "forwarding", "uncertain", "done", "waiting"):
            await play.commits(name)
        await play.starts("running")
        await play.is_placed("forwarding")
        uncertain = await play.is_placed("uncertain")
        await play.reports_failed("uncertain", uncertain.attempt, commit_uncertain=True)
        done = await play.starts("done")
        play.api.reach(done.node).finishes(done.node_task_id)
        await play.looks()
        await play.locks("a")
        names = ("running", "forwarding", "uncertain", "done", "waiting")
        before = {name: play.task(name) for name in names}
        used = {name: len(play.state_of(name).tasks) for name in ("a", "b")}
        await play.starts_up()
        assert {name: play.task(name) for name in names} == before
        assert {name: len(play.state_of(name).tasks) for name in ("a", "b")} == used
        assert play.state_of("a").record.locked
        await play.probes()
        await play.passes(1)
        await play.passes(6)
        assert play.task("uncertain").state is TaskState.WAITING
        assert (await play.is_placed("forwarding")).attempt == 1
        await play.starts("waiting", UPLOAD_OWNER)
