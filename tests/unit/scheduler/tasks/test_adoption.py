"""A task whose record is lost, or older than what has happened, is submitted again by its upload owner; it never runs twice."""

from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from clusterodm.libs.common.errors import Refused, Removed
from clusterodm.libs.common.messages.placement import NotWaiting
from clusterodm.libs.common.messages.tasks import AttemptStage, KnownAttempt, KnownEnd, TaskRef
from clusterodm.libs.common.model.tasks import AttemptState, Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId
from tests.scheduling import NOW_MS, FakeNode, a_play, settings, task_id

GRACE_S = settings().node_grace_s
SETTLE_S = settings().commit_settle_s


def attempt(
    name: str, node: str, number: int = 1, stage: AttemptStage = AttemptStage.COMMITTED, node_task: str = ""
) -> KnownAttempt:
    """Make an attempt as the upload owner of a task knows it."""
    return KnownAttempt(
        number=number,
        node=NodeId(f"{node}-3000"),
        hostname=node,
        port=3000,
        node_task_id=NodeTaskId(node_task or task_id(name)),
        stage=stage,
        started_at_ms=NOW_MS,
        running_at_ms=NOW_MS if stage is AttemptStage.COMMITTED else None,
    )


def node_task(name: str) -> NodeTaskId:
    return NodeTaskId(task_id(name))


def last_of(task: Task) -> Any:
    assert task.attempt
    return task.attempt


# --- the store is lost -----------------------------------------------------------------------------------------------


async def test_a_task_that_had_waited_waits_again_in_its_old_place():
    async with a_play() as play:
        younger = await play.commits("younger")
        await play.loses_the_store()
        await play.adopts("younger", committed_at_ms=younger.committed_at_ms)
        await play.adopts("elder", committed_at_ms=younger.committed_at_ms - 5)
        assert list(play.scheduler.state.index.waiting) == [task_id("elder"), task_id("younger")]
        assert play.task("younger").state is TaskState.WAITING


async def test_what_still_runs_on_its_node_is_found_there_and_goes_on():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.loses_the_store()
        await play.adds("a", play.node("a"))
        await play.adopts("one", attempt("one", "a"))
        assert play.task("one").state is TaskState.RUNNING
        play.node("a").finishes(node_task("one"))
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED
        assert len(play.task("one").attempts) == 1


async def test_what_was_completed_meanwhile_is_found_and_its_result_is_reached_on_its_node():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        play.node("a").finishes(node_task("one"))
        await play.loses_the_store()
        await play.adds("a", play.node("a"))
        await play.adopts("one", attempt("one", "a"))
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED
        assert last_of(play.task("one")).running_at_ms is not None


async def test_a_task_whose_commit_may_have_been_sent_runs_where_its_node_says_that_it_has_it():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        play.node("a").takes(node_task("one"))
        task = await play.adopts("one", attempt("one", "a", stage=AttemptStage.COMMITTING))
        assert (task.state, last_of(task).state) == (TaskState.FORWARDING, AttemptState.UNCERTAIN)
        await play.passes(1)
        assert play.task("one").state is TaskState.RUNNING
        assert len(play.task("one").attempts) == 1


async def test_a_task_whose_commit_never_came_to_its_node_gets_another_attempt_under_a_fresh_id():
    async with a_play(a=FakeNode()) as play:
        await play.adopts("one", attempt("one", "a", stage=AttemptStage.COMMITTING))
        await play.passes(1)
        await play.passes(SETTLE_S + 1)
        await play.passes(60)
        placed = await play.is_placed("one")
        assert placed.attempt == 2
        assert placed.node_task_id != node_task("one")


async def test_what_was_cut_off_while_it_was_sent_is_removed_from_its_node_and_sent_again_under_a_fresh_id():
    async with a_play(a=FakeNode()) as play:
        await play.adopts("one", attempt("one", "a", stage=AttemptStage.SENDING))
        placed = await play.is_placed("one")
        assert (placed.attempt, placed.node_task_id != node_task("one")) == (2, True)
        await play.passes(1)
        assert ("remove", node_task("one")) in play.node("a").acts


@pytest.mark.parametrize("stage", [AttemptStage.COMMITTING, AttemptStage.COMMITTED])
async def test_a_node_that_is_not_registered_yet_is_waited_for(stage: AttemptStage):
    async with a_play(b=FakeNode()) as play:
        await play.adopts("one", attempt("one", "a", stage=stage))
        for _ in range(3):
            await play.passes(GRACE_S / 4)
            await play.looks()
        assert play.task("one").state in {TaskState.RUNNING, TaskState.FORWARDING}
        late = FakeNode()
        late.takes(node_task("one"))
        await play.adds("a", late)
        await play.passes(1)
        await play.looks()
        assert play.task("one").state is TaskState.RUNNING
        assert play.state_of("a").ours_count == 1


@pytest.mark.parametrize("stage", [AttemptStage.COMMITTING, AttemptStage.COMMITTED])
async def test_a_node_that_never_comes_loses_the_attempt_and_removes_it_should_it_come_after_all(stage: AttemptStage):
    async with a_play(b=FakeNode()) as play:
        await play.adopts("one", attempt("one", "a", stage=stage))
        await play.passes(1)
        await play.looks()
        await play.passes(GRACE_S + 1)
        await play.looks()
        await play.passes(60)
        placed = await play.is_placed("one")
        assert placed.node.hostname == "b"
        late = FakeNode()
        late.takes(node_task("one"))
        await play.adds("a", late)
        await play.passes(1)
        assert node_task("one") not in late.tasks


async def test_earlier_attempts_are_removed_from_their_nodes():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        for node in ("a", "b"):
            play.node(node).takes(NodeTaskId(f"on-{node}"))
        await play.adopts("one", attempt("one", "a", 1, node_task="on-a"), attempt("one", "b", 2, node_task="on-b"))
        assert [each.cleanup for each in play.task("one").attempts] == [Cleanup.REMOVE, Cleanup.NONE]
        await play.passes(1)
        assert NodeTaskId("on-a") not in play.node("a").tasks
        assert NodeTaskId("on-b") in play.node("b").tasks


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELED, TaskState.COMPLETED])
async def test_a_task_that_had_ended_does_not_run_again(state: TaskState):
    async with a_play(a=FakeNode()) as play:
        end = KnownEnd(state=state, at_ms=NOW_MS, error="why" if state is TaskState.FAILED else "")
        await play.adopts("one", attempt("one", "a"), end=end)
        await play.passes(GRACE_S)
        assert (play.task("one").state, play.task("one").error) == (state, end.error)
        assert await play.asks("one") == NotWaiting(state=state)


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELED])
async def test_a_task_that_had_ended_before_it_was_anywhere_does_not_run_at_all(state: TaskState):
    async with a_play(a=FakeNode()) as play:
        await play.adopts("one", end=KnownEnd(state=state, at_ms=NOW_MS))
        assert play.task("one").state is state


LINGER_S = settings().forward_silence_s
CANCELED = KnownEnd(state=TaskState.CANCELED, at_ms=NOW_MS)
COMPLETED = KnownEnd(state=TaskState.COMPLETED, at_ms=NOW_MS)
REFUSED = KnownEnd(state=TaskState.FAILED, at_ms=NOW_MS, error="its node said so")
LOST = KnownEnd(state=TaskState.FAILED, at_ms=NOW_MS, error="its node was silent", cleanup=Cleanup.REMOVE)


@pytest.mark.parametrize(
    ("stage", "end", "act"),
    [
        pytest.param(AttemptStage.COMMITTED, CANCELED, "cancel", id="canceled while it ran"),
        pytest.param(AttemptStage.COMMITTING, CANCELED, "remove", id="canceled while it was committed"),
        pytest.param(AttemptStage.SENDING, CANCELED, "remove", id="canceled while it was sent"),
        pytest.param(AttemptStage.COMMITTED, LOST, "remove", id="failed, and its node was still to be told"),
        pytest.param(AttemptStage.COMMITTED, REFUSED, None, id="failed on its node"),
        pytest.param(AttemptStage.COMMITTED, COMPLETED, None, id="completed"),
        pytest.param(AttemptStage.COMMITTED, replace(CANCELED, removed=True), "remove", id="removed while it ran"),
        pytest.param(AttemptStage.COMMITTING, replace(CANCELED, removed=True), "remove", id="removed on its way"),
        pytest.param(AttemptStage.COMMITTED, replace(COMPLETED, removed=True), "remove", id="removed after its end"),
    ],
)
@pytest.mark.parametrize("joins_late", [False, True], ids=["its node is there", "its node joins later"])
@pytest.mark.parametrize("recorded", [False, True], ids=["the store was lost", "an older backup was restored"])
async def test_the_node_of_a_task_that_had_ended_is_told_what_it_may_not_know(
    stage: AttemptStage, end: KnownEnd, act: str | None, *, joins_late: bool, recorded: bool
):
    node = FakeNode()
    node.takes(node_task("one"))
    async with a_play(**({} if joins_late else {"a": node})) as play:
        if recorded:
            await play.commits("one")
        with suppress(Removed):
            await play.adopts("one", attempt("one", "a", stage=stage), end=end)
        await play.passes(1)
        if joins_late:
            assert node.acts == []
            await play.adds("a", node)
        await play.passes(1)
        await play.passes(LINGER_S + 1)
        assert {verb for verb, _ in node.acts} == ({act} if act else set())
        if end.removed:
            assert await play.asks("one") == NotWaiting(state=None, removed=True)
        else:
            assert not play.task("one").is_untold


@pytest.mark.parametrize(
    ("removed", "act"), [(False, "cancel"), (True, "remove")], ids=["canceled since", "removed since"]
)
async def test_a_task_that_runs_in_the_record_is_ended_on_its_node_as_its_upload_owner_says(act: str, *, removed: bool):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        with suppress(Removed):
            await play.adopts("one", attempt("one", "a"), end=replace(CANCELED, at_ms=play.now_ms, removed=removed))
        await play.passes(1)
        assert play.node("a").acts == [(act, node_task("one"))]
        assert play.has("one") is not removed


async def test_what_was_removed_is_said_to_be_so_and_waits_for_a_node_that_is_not_there_no_longer_than_records_are_kept():
    async with a_play(chosen=settings(task_retention_h=1)) as play:
        with pytest.raises(Removed):
            await play.adopts("one", attempt("one", "a"), end=replace(CANCELED, at_ms=play.now_ms, removed=True))
        with pytest.raises(Removed):
            await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one")))
        assert await play.asks("one") == NotWaiting(state=None, removed=True, untold=True)
        await play.passes(3601)
        assert await play.asks("one") == NotWaiting(state=None, removed=True)


async def test_what_was_removed_stays_so_though_its_record_was_restarted_by_a_clock_that_is_ahead():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.cancels("one")
        await play.passes(60)
        await play.restarts("one")
        with pytest.raises(Removed):
            await play.adopts("one", attempt("one", "a"), end=replace(CANCELED, removed=True))


async def test_no_other_task_is_sent_to_a_node_while_what_was_canceled_before_the_loss_runs_there():
    node = FakeNode()
    node.takes(node_task("one"))
    async with a_play(a=node) as play:
        node.refuses = "busy"
        await play.adopts("one", attempt("one", "a"), end=CANCELED)
        await play.passes(1)
        assert play.state_of("a").free_count == 0
        await play.passes(1)
        await play.probes()
        assert play.state_of("a").free_count == 1


async def test_a_task_whose_photos_were_given_up_fails_with_a_reason_when_it_cannot_be_found():
    async with a_play(a=FakeNode()) as play:
        await play.adopts("one", inputs_kept=False)
        assert play.task("one").state is TaskState.FAILED
        assert "inputs" in play.task("one").error


async def test_submitted_again_twice_nothing_happens_the_second_time():
    async with a_play(a=FakeNode()) as play:
        first = await play.adopts("one", attempt("one", "a"))
        assert await play.adopts("one", attempt("one", "a")) == first


async def test_a_tombstone_speaks_against_it():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.removes("one")
        with pytest.raises(Removed):
            await play.adopts("one", attempt("one", "a"))
        assert not play.has("one")


async def test_the_tombstone_of_an_earlier_task_of_the_same_id_does_not():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", owner="someone")
        await play.removes("one")
        await play.adopts("one")
        assert play.has("one")


async def test_a_task_that_another_proxy_holds_is_not_taken_over_by_a_copy_of_its_spool():
    async with a_play() as play:
        await play.commits("one")
        with pytest.raises(Refused):
            await play.adopts("one", upload_owner=InstanceId("a copy"))


async def test_a_removed_task_whose_node_has_still_to_be_told_stays_removed():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.goes_down("a")
        await play.removes("one")
        with pytest.raises(Removed):
            await play.adopts("one", attempt("one", "a"))


# --- an older store is restored --------------------------------------------------------------------------------------


async def test_a_task_that_the_record_has_waiting_goes_on_where_its_upload_owner_has_sent_it():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        play.node("b").takes(NodeTaskId("second"))
        await play.adopts("one", attempt("one", "a", 1), attempt("one", "b", 2, node_task="second"))
        assert play.task("one").state is TaskState.RUNNING
        assert last_of(play.task("one")).node_task_id == "second"
        assert await play.asks("one") == NotWaiting(state=TaskState.RUNNING)


async def test_an_attempt_that_the_record_has_running_gives_way_to_a_later_one():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        first = await play.starts("one")
        here, there = ("a", "b") if first.node.hostname == "a" else ("b", "a")
        play.node(there).takes(NodeTaskId("second"))
        await play.adopts("one", attempt("one", here, 1), attempt("one", there, 2, node_task="second"))
        await play.passes(1)
        assert node_task("one") not in play.node(here).tasks
        assert play.task("one").state is TaskState.RUNNING
        assert last_of(play.task("one")).number == 2


async def test_what_the_record_knows_beyond_its_upload_owner_stays():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        record = play.task("one")
        assert await play.adopts("one") == record


async def test_an_attempt_under_the_same_number_on_another_node_is_another_attempt():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        other = "b" if placed.node.hostname == "a" else "a"
        play.node(other).takes(node_task("one"))
        await play.adopts("one", attempt("one", other, 1))
        numbers = [each.number for each in play.task("one").attempts]
        assert numbers == [1, 2]
        assert last_of(play.task("one")).node == NodeId(f"{other}-3000")


async def test_a_task_that_was_canceled_after_the_backup_stays_canceled():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.adopts("one", end=KnownEnd(state=TaskState.CANCELED, at_ms=play.now_ms + 5))
        assert play.task("one").state is TaskState.CANCELED


async def test_a_canceled_task_stays_canceled_whatever_was_written_of_it_since():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        canceled_at_ms = play.now_ms
        await play.passes(60)
        await play.is_placed("one")
        assert play.task("one").timeline[-1].at_ms > canceled_at_ms, (
            "the older store's scheduler knows no end, and goes on"
        )
        await play.adopts("one", end=KnownEnd(state=TaskState.CANCELED, at_ms=canceled_at_ms))
        assert play.task("one").state is TaskState.CANCELED


async def test_a_restart_is_later_than_the_end_before_it_though_the_clock_went_back():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.cancels("one")
        ended_at_ms = play.task("one").ended_at_ms
        assert ended_at_ms
        play.clock.step_wall_s(-7_200)
        await play.restarts("one")
        assert play.task("one").restarted_at_ms > ended_at_ms
        await play.adopts("one", end=KnownEnd(state=TaskState.CANCELED, at_ms=ended_at_ms))
        assert play.task("one").state is TaskState.WAITING


async def test_an_end_that_the_record_has_gone_beyond_is_none():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.cancels("one")
        ended_at_ms = play.task("one").ended_at_ms
        assert ended_at_ms
        await play.passes(1)
        await play.restarts("one")
        await play.adopts("one", end=KnownEnd(state=TaskState.CANCELED, at_ms=ended_at_ms))
        assert play.task("one").state is TaskState.WAITING


async def test_users_see_in_the_console_that_the_record_was_lost():
    async with a_play(a=FakeNode()) as play:
        await play.adopts("one", attempt("one", "a"))
        record = (await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one")))).task
        assert "had been lost" in record.timeline[0].text
