"""forwarding/handlers, finishing/handlers.py and uploads/handlers/expire.py: held tasks, with a scheduler and nodes played by the test."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusFailed, NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.placement import PLACEMENT_POSSIBLE, RENEW_ATTEMPT, PlacementPossible, RenewAttempt
from clusterodm.libs.common.messages.tasks import AttemptStage
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import AttemptState, TaskState, Upload
from clusterodm.libs.common.model.values import InstanceId, NodeTaskId, TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.services.proxy.spool.core.upload import Draft, Mark
from clusterodm.services.proxy.uploads.handlers.expire import HOUR_S, UploadExpiry
from tests.forwarding import FILES, NODE, OTHER_NODE, TASK, World
from tests.waiting import passed, until


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with made.bus.serve("scheduler", made.scheduler.handlers):
        yield made


def held_marks(world: World) -> frozenset[Mark]:
    held = world.spool.find(TASK)
    return held.marks if held else frozenset()


# --- forwarding ----------------------------------------------------------------------------------------------------


async def test_a_committed_task_is_sent_once_and_its_inputs_stay_while_it_runs(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await forwarder.adopt(TASK)
        first = NodeTaskId(f"{TASK}#1")
        assert world.nodes.begun == world.nodes.committed == [first]
        assert sorted(world.nodes.sent) == sorted((first, name, content) for name, content in FILES.items())
        assert world.spool.find(TASK) is not None
        assert Mark.SUBMITTED in world.spool.find(TASK).marks  # type: ignore[union-attr]


async def test_files_go_in_parallel_up_to_the_limit(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="two files are under way")
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.most_sending_count == 2


async def test_no_more_tasks_are_sent_at_once_than_the_limit(world: World) -> None:
    async with world.proxy(tasks_count=1) as forwarder:
        world.nodes.gate.clear()
        tasks = [TaskId(f"task-{number}") for number in range(3)]
        for task in tasks:
            await world.commit(task)
            world.scheduler.submit(task)
            await forwarder.adopt(task)
        await until(lambda: world.nodes.sending_count == 2, what="the first is under way")
        assert len(world.nodes.begun) == 1
        world.nodes.gate.set()
        for task in tasks:
            await world.reaches(TaskState.RUNNING, task)


async def test_a_task_by_url_has_nothing_to_send(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, zip_url="http://x/y.zip")
    assert world.nodes.zips == [(f"{TASK}#1", "http://x/y.zip")]
    assert world.nodes.sent == world.nodes.begun == []


async def test_a_waiting_task_asks_again_when_a_place_becomes_possible(world: World) -> None:
    async with world.proxy() as forwarder:
        world.scheduler.slots_count = 0
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.scheduler.asked[TASK] == 1, what="it has asked")
        world.scheduler.slots_count = 1
        await world.bus.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(TaskId("another"), TASK)))
        await until(lambda: world.nodes.committed, timeout_s=3, what="it was sent")


async def test_the_attempt_is_renewed_while_files_are_under_way(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: len(world.scheduler.renewed) >= 3, what="renewals")
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    last = world.scheduler.renewed[-1]
    assert (last.attempt, last.sent_count, last.sent_bytes) == (1, 3, 6)


async def test_a_task_canceled_while_it_is_sent_stops_at_once_and_is_never_committed(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.scheduler.change(state=TaskState.CANCELED)
        await world.lets_go()
        assert world.nodes.sending_count == 0
    assert world.nodes.committed == []
    assert world.scheduler.failed == world.scheduler.forwarded == []


async def test_a_task_canceled_just_before_its_commit_is_not_committed(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()

        async def cancel_instead_of_begin(node: Node, attempt: NodeTaskId, draft: Draft) -> None:
            world.scheduler.listeners.clear()
            world.scheduler.change(state=TaskState.CANCELED)

        world.nodes.begin = cancel_instead_of_begin  # type: ignore[method-assign]
        await forwarder.adopt(TASK)
        await world.lets_go()
    assert world.nodes.committed == []


async def test_a_node_that_was_not_reached_is_tried_again_under_the_same_id(world: World) -> None:
    world.nodes.trouble("begin", NodeUnreachable("n1 cannot be reached"))
    world.nodes.trouble("send", NodeUnreachable("n1 cannot be reached"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert world.scheduler.failed == []


async def test_a_commit_is_confirmed_anew_before_each_try(world: World) -> None:
    world.nodes.trouble("commit", NodeUnreachable("n1 was reached too late"), NodeUnreachable("n1 cannot be reached"))
    limits_s: list[float] = []
    commit = world.nodes.commit

    async def noted(node: Node, attempt: NodeTaskId, by: Instant) -> None:
        limits_s.append(by)
        await commit(node, attempt, by)

    world.nodes.commit = noted  # type: ignore[method-assign,assignment]
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert limits_s == sorted(set(limits_s))
    assert len(limits_s) == 3


async def test_a_commit_that_was_not_sent_is_not_tried_again_when_it_no_longer_counts(world: World) -> None:
    commit = world.nodes.commit

    async def come_too_late(node: Node, attempt: NodeTaskId, by: Instant) -> None:
        if world.scheduler.tasks[TASK].state is TaskState.FORWARDING:
            world.scheduler.change(state=TaskState.CANCELED)
            raise NodeUnreachable("n1 was reached too late")
        await commit(node, attempt, by)

    world.nodes.commit = come_too_late  # type: ignore[method-assign,assignment]
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.lets_go()
    assert world.nodes.committed == []


async def test_a_file_in_doubt_ends_the_attempt_and_the_next_has_a_fresh_id(world: World) -> None:
    world.nodes.trouble("send", NodeFailed("n1 did not answer (timed out)"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert [(report.attempt, report.reason) for report in world.scheduler.failed] == [
        (1, "n1 did not answer (timed out)")
    ]
    assert not world.scheduler.failed[0].commit_uncertain
    assert world.nodes.committed == [f"{TASK}#2"]
    second = sorted(name for attempt, name, _ in world.nodes.sent if attempt == f"{TASK}#2")
    assert second == sorted(FILES)
    assert max(Counter((attempt, name) for attempt, name, _ in world.nodes.sent).values()) == 1


async def test_a_commit_in_doubt_is_reported_as_uncertain(world: World) -> None:
    world.nodes.trouble("commit", NodeFailed("n1 did not answer (timed out)"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert [report.commit_uncertain for report in world.scheduler.failed] == [True]


async def test_a_refusal_is_reported_with_the_nodes_words(world: World) -> None:
    world.nodes.trouble("commit", NodeRefused("too many images"))
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.lets_go()
    (report,) = world.scheduler.failed
    assert (report.reason, report.node_refused, report.commit_uncertain) == ("too many images", True, False)


async def test_a_report_is_repeated_until_nats_is_back(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()

        async def commit_and_lose_nats(_node: Node, attempt: NodeTaskId, _by: Instant) -> None:
            world.nodes.committed.append(attempt)
            world.bus.connected = False

        world.nodes.commit = commit_and_lose_nats  # type: ignore[method-assign]
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.committed, what="the commit")
        await passed()
        assert world.scheduler.forwarded == []
        world.bus.connected = True
        await world.reaches(TaskState.RUNNING)
    assert len(world.scheduler.forwarded) == 1
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_nothing_is_committed_while_nobody_can_say_that_the_attempt_counts(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.bus.connected = False
        world.nodes.gate.set()
        await until(lambda: len(world.nodes.sent) == 3, what="all files are sent")
        await passed()
        assert world.nodes.committed == []
        world.bus.connected = True
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_lost_task_is_sent_again_from_the_kept_inputs(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.change(state=TaskState.WAITING)
        await until(lambda: len(world.nodes.committed) == 2, what="the second attempt")
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1", f"{TASK}#2"]


async def test_progress_of_a_running_task_costs_no_question(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await until(lambda: world.scheduler.asked[TASK] == 2, what="it rests")
        for size in range(20):
            world.scheduler.change(size_bytes=size)
            await asyncio.sleep(0)
        await passed()
        assert world.scheduler.asked[TASK] <= 3


async def test_a_mistake_of_ours_ends_the_attempt_and_no_file_is_sent_twice_under_one_id(world: World) -> None:
    world.nodes.trouble("send", RuntimeError("a mistake"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert [report.commit_uncertain for report in world.scheduler.failed] == [True]
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_an_attempt_that_was_stopped_is_never_begun_again(world: World) -> None:
    async with world.proxy() as forwarder:
        refusals = [Refused("a moment of confusion")]

        async def refuse_once(asked: RenewAttempt) -> Done:
            if world.nodes.begun and refusals:
                raise refusals.pop()
            return await world.scheduler.renew(asked)

        async with world.bus.serve("scheduler", world.scheduler.handlers | {RENEW_ATTEMPT: refuse_once}):
            await world.forwarded(forwarder)
    assert world.nodes.begun == [f"{TASK}#1", f"{TASK}#2"]
    assert [(report.attempt, report.commit_uncertain) for report in world.scheduler.failed] == [(1, True)]


async def test_an_attempt_that_is_refused_before_it_begins_sends_nothing_and_is_never_begun(world: World) -> None:
    async with world.proxy() as forwarder:
        refusals = [Refused("the slot was given to another")]

        async def refuse_once(asked: RenewAttempt) -> Done:
            if refusals:
                assert world.nodes.met == set()
                raise refusals.pop()
            return await world.scheduler.renew(asked)

        async with world.bus.serve("scheduler", world.scheduler.handlers | {RENEW_ATTEMPT: refuse_once}):
            await world.forwarded(forwarder)
    assert world.nodes.begun == world.nodes.committed == [f"{TASK}#2"]


async def test_nothing_goes_to_a_node_before_the_scheduler_has_heard_that_the_attempt_begins(world: World) -> None:
    back = asyncio.Event()

    async def is_away(asked: RenewAttempt) -> Done:
        answer = await world.scheduler.renew(asked)
        if not back.is_set():
            raise BusFailed("NATS is away")
        return answer

    async with (
        world.proxy() as forwarder,
        world.bus.serve("scheduler", world.scheduler.handlers | {RENEW_ATTEMPT: is_away}),
    ):
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: len(world.scheduler.renewed) >= 3, what="it says so again and again")
        assert world.nodes.met == set()
        back.set()
        await world.reaches(TaskState.RUNNING)


async def test_missing_inputs_end_the_task_with_a_reason(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.lose(TASK, "b.jpg")
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.lets_go()
    assert "cannot be read" in world.scheduler.failed[0].reason
    assert world.nodes.committed == []


# --- after a restart -----------------------------------------------------------------------------------------------


async def test_a_restart_takes_up_a_waiting_task(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
    world.scheduler.submit()
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_restart_takes_up_a_task_also_when_nats_comes_later(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
    world.scheduler.submit()
    world.bus.connected = False
    async with world.proxy():
        await passed()
        assert world.nodes.begun == []
        world.bus.connected = True
        await world.reaches(TaskState.RUNNING)


async def test_a_graceful_stop_reports_the_attempt_that_it_cuts_off(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
    assert world.scheduler.tasks[TASK].state is TaskState.WAITING
    assert [(report.attempt, report.commit_uncertain) for report in world.scheduler.failed] == [(1, False)]
    world.nodes.gate.set()
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_a_task_whose_work_is_cancelled_by_mistake_is_sent_all_the_same(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count, what="a file is under way")
        [work] = [each for each in asyncio.all_tasks() if each.get_name() == f"forward {TASK}"]
        work.cancel()
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)


async def test_an_attempt_cut_off_by_a_kill_is_uncertain_and_a_fresh_one_follows(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.bus.connected = False  # as after a kill, nobody hears of it
    world.bus.connected = True
    assert world.scheduler.tasks[TASK].attempt.state is AttemptState.FORWARDING  # type: ignore[union-attr]
    world.nodes.gate.set()
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)
    assert [(report.attempt, report.commit_uncertain) for report in world.scheduler.failed] == [(1, True)]
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_a_commit_that_never_reached_the_scheduler_stays_and_may_be_committed_again(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
    async with world.proxy() as forwarder:
        await until(lambda: "held=0" in repr(forwarder), what="it was looked at")
        assert (await world.spool.commit(TASK, at_ms=9)).committed_at_ms == 2
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.reaches(TaskState.RUNNING)


async def test_a_task_removed_while_the_proxy_was_away_leaves_nothing(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    world.scheduler.remove()
    async with world.proxy():
        await world.lets_go()


async def test_a_task_that_the_scheduler_has_lost_is_submitted_again_and_does_not_run_twice(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.loses()
        await world.reaches_again(TaskState.RUNNING)
        assert "a.jpg" in stored(world)
    assert world.nodes.committed == [f"{TASK}#1"]
    told = world.scheduler.adopted[0]
    assert [(each.node, each.node_task_id, each.stage) for each in told.attempts] == [
        (NODE.id, f"{TASK}#1", AttemptStage.COMMITTED)
    ]
    assert (told.committed_at_ms, told.submission.images_count) == (2, 2)


async def test_a_restarted_proxy_submits_again_what_the_scheduler_has_lost(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    world.scheduler.loses()
    async with world.proxy():
        await world.reaches_again(TaskState.RUNNING)
        assert "a.jpg" in stored(world)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_waiting_task_that_the_scheduler_has_lost_runs_in_the_end(world: World) -> None:
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.scheduler.asked[TASK], what="it was asked for")
        world.scheduler.slots_count = 1
        world.scheduler.loses()
        await world.reaches_again(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_commit_that_may_have_been_sent_is_told_before_it_is_sent(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.trouble("commit", NodeFailed("no answer"))
        world.scheduler.stays_in_doubt = True
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.scheduler.failed, what="the attempt is over")
    world.scheduler.loses()
    async with world.proxy():
        await until(lambda: world.scheduler.adopted, what="it is submitted again")
    assert world.scheduler.adopted[0].attempts[-1].stage is AttemptStage.COMMITTING
    assert world.scheduler.tasks[TASK].attempts[-1].state is AttemptState.UNCERTAIN


async def test_an_attempt_that_was_cut_off_before_its_commit_is_told_as_such(world: World) -> None:
    world.nodes.gate.clear()
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await until(lambda: world.nodes.sending_count, what="a file is under way")
        world.bus.connected = False
    world.bus.connected = True
    world.scheduler.loses()
    world.nodes.gate.set()
    async with world.proxy():
        await world.reaches_again(TaskState.RUNNING)
    assert world.scheduler.adopted[0].attempts[-1].stage is AttemptStage.SENDING
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_a_failed_task_whose_record_is_lost_does_not_run_again_and_its_client_is_not_told_twice(
    world: World,
) -> None:
    world.keep_failed_s = 3600
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.FAILED, ended_at_ms=world.now_ms, error="why")
        await until(lambda: world.client.told, what="its client was told")
        await until(lambda: Mark.WEBHOOK_DONE in held_marks(world), what="that is noted")
        world.scheduler.loses()
        await world.reaches_again(TaskState.FAILED)
    assert world.scheduler.tasks[TASK].error == "why"
    world.scheduler.loses()
    async with world.proxy():
        await world.reaches_again(TaskState.FAILED)
        assert "a.jpg" in stored(world)
    assert len(world.client.told) == 1
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_removed_task_of_which_only_a_tombstone_is_left_is_dropped(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.removed.add(TASK)
        world.scheduler.loses()
        await world.lets_go()
    assert world.scheduler.adopted == []


async def test_a_record_that_is_older_than_what_was_done_is_caught_up(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()
        backup = world.scheduler.tasks[TASK]
        await forwarder.adopt(TASK)
        await world.reaches(TaskState.RUNNING)
    world.scheduler.put(backup)
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_running_proxy_does_not_follow_a_placement_from_older_records(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.commit()
        world.scheduler.submit()
        backup = world.scheduler.tasks[TASK]
        await forwarder.adopt(TASK)
        await world.reaches(TaskState.RUNNING)
        world.scheduler.places_on = OTHER_NODE
        world.scheduler.put(backup)
        await until(lambda: world.scheduler.adopted, what="it is told again")
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_what_an_earlier_version_has_left_gets_its_history_from_the_record(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.spool.entries[TASK].history = None
    last = world.scheduler.tasks[TASK].attempts[-1]
    named = msgspec.structs.replace(last, node_name="n1:3000", running_at_ms=3)
    world.scheduler.change(attempts=(named,))
    async with world.proxy():
        await until(lambda: (held := world.spool.find(TASK)) and held.history, what="its history is there")
        world.scheduler.loses()
        await world.reaches_again(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_inputs_stay_while_the_scheduler_does_not_take_a_task_again(world: World) -> None:
    world.scheduler.refuses_again = True
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.loses()
        await until(lambda: len(world.scheduler.adopted) > 1, what="it was told twice")
        assert "a.jpg" in stored(world)


async def test_the_disk_is_not_relieved_by_a_task_that_the_scheduler_has_lost(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.tasks.pop(TASK)
        assert not await world.inputs.give_up(TASK, "the disk is full")
        assert "a.jpg" in stored(world)


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED])
async def test_when_a_task_has_ended_its_client_is_told_and_its_inputs_go(world: World, state: TaskState) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/hook?key=1")
        world.scheduler.change(state=state)
        await world.lets_go()
    body = {"uuid": TASK, "status": state, "images": [{"filename": "a.jpg"}, {"filename": "b.jpg"}]}
    assert world.client.told == [("https://client.example/hook?key=1", body)]
    assert await (await world.bus.bucket(UPLOADS)).load() == {}


async def test_whoever_checks_tokens_is_told_of_an_end_once_also_across_a_restart(world: World) -> None:
    world.keep_failed_s = 3_600.0
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, account="s3cret")
        world.scheduler.change(state=TaskState.FAILED)
        await until(lambda: Mark.ACCOUNT_TOLD in world.spool.find(TASK).marks)
    world.keep_failed_s = 0.0
    async with world.proxy():
        await world.lets_go()
    assert world.accounts == [("s3cret", {"uuid": TASK, "status": TaskState.FAILED})]


async def test_a_webhook_is_tried_six_times_and_then_given_up(world: World) -> None:
    world.client.failures_count = 100
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.tries_count == 6


async def test_a_webhook_that_may_not_be_called_is_not_tried_again_and_keeps_no_inputs(world: World) -> None:
    world.client.is_refused = True
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.tries_count == 1


async def test_a_webhook_that_works_at_last_is_delivered_once(world: World) -> None:
    world.client.failures_count = 3
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert (world.client.tries_count, len(world.client.told)) == (4, 1)


async def test_a_webhook_is_delivered_after_a_restart_and_never_again(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
    world.scheduler.change(state=TaskState.COMPLETED)
    async with world.proxy():
        await world.lets_go()
    async with world.proxy():
        pass
    assert len(world.client.told) == 1


async def test_a_marked_webhook_is_not_delivered_again(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        await world.spool.mark(TASK, Mark.WEBHOOK_DONE)
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.told == []


async def test_a_removed_task_leaves_at_once_without_a_webhook(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.remove()
        await world.lets_go()
    assert world.client.told == []


async def test_a_task_restarted_while_its_client_is_told_keeps_its_inputs(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")

        async def restart_meanwhile(url: str, body: bytes) -> None:
            world.client.told.append((url, {}))
            world.scheduler.change(state=TaskState.WAITING)

        world.client.post = restart_meanwhile  # type: ignore[method-assign]
        world.scheduler.change(state=TaskState.FAILED)
        await until(lambda: len(world.nodes.committed) == 2, what="the second attempt")
        assert world.spool.find(TASK) is not None


# --- inputs that go before the end, or stay after it --------------------------------------------------------------


def stored(world: World, task: TaskId = TASK) -> set[str]:
    """List the files that the spool still has of a task."""
    return set(world.stored(task))


async def test_inputs_that_are_kept_until_forwarded_go_when_the_node_has_them(world: World) -> None:
    async with world.proxy(until_forwarded=True) as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        await until(lambda: not stored(world))
        assert [asked.task for asked in world.scheduler.inputs_gone] == [TASK]
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.told[0][1]["images"] == [{"filename": "a.jpg"}, {"filename": "b.jpg"}]


async def test_inputs_stay_where_the_scheduler_needs_them(world: World) -> None:
    async with world.proxy() as forwarder:
        world.scheduler.slots_count = 0
        await world.commit()
        world.scheduler.submit()
        await forwarder.adopt(TASK)

        assert not await world.inputs.give_up(TASK, "no room")

        assert stored(world) == set(FILES)


async def test_a_task_whose_inputs_are_gone_is_not_sent_anywhere(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        assert await world.inputs.give_up(TASK, "no room")
        world.nodes.begun.clear()
        world.scheduler.change(state=TaskState.WAITING)
        await world.reaches(TaskState.FAILED)
    [failed] = world.scheduler.failed
    assert (failed.reason, failed.node_refused) == ("its inputs are not kept any more", True)
    assert world.nodes.begun == []


async def test_given_up_inputs_stay_given_up_after_a_restart(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await world.inputs.give_up(TASK, "no room")
    async with world.proxy(start=False):
        assert stored(world) == set()
        held = world.spool.find(TASK)
        assert held is not None
        assert Mark.INPUTS_GONE in held.marks


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELED])
async def test_inputs_of_a_task_that_failed_stay_for_a_restart_and_then_go(world: World, state: TaskState) -> None:
    world.keep_failed_s = 1
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=state, ended_at_ms=world.now_ms)
        await until(lambda: world.client.told)
        assert stored(world) == set(FILES)

        world.scheduler.change(state=TaskState.WAITING)
        await world.reaches(TaskState.RUNNING)
        assert len(world.nodes.committed) == 2

        world.scheduler.change(state=state, ended_at_ms=world.now_ms)
        await until(lambda: len(world.client.told) == 2)
    world.clock.pass_s(1)
    async with world.proxy():

        def a_little_later() -> bool:
            world.clock.pass_s(0.02)
            return world.spool.find(TASK) is None

        assert not a_little_later()  # this process sees the last half of the time itself
        await until(a_little_later)
    assert [asked.reason for asked in world.scheduler.inputs_gone] == ["they were kept long enough"]


async def test_inputs_that_are_kept_for_a_restart_wait_for_the_schedulers_consent(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.consents = False
        world.scheduler.change(state=TaskState.FAILED, ended_at_ms=0)
        await passed()
        assert stored(world) == set(FILES)
        world.scheduler.consents = True
        await world.lets_go()


async def test_under_disk_pressure_the_oldest_inputs_go_first_and_only_as_many_as_needed(world: World) -> None:
    tasks = [TaskId(f"task-{number}") for number in range(4)]
    async with world.proxy() as forwarder:
        for number, task in enumerate(tasks):
            await world.commit(task, received=number)
            world.scheduler.submit(task)
            await forwarder.adopt(task)
            await world.reaches(TaskState.RUNNING, task)
        world.spool.wanted_bytes = lambda: 7  # type: ignore[method-assign] # the disk of the test has room

        await world.inputs.relieve()

        assert [bool(stored(world, task)) for task in tasks] == [False, False, True, True]
        assert [asked.task for asked in world.scheduler.inputs_gone] == tasks[:2]


# --- sweeping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit_hours", "idle_hours", "stays"),
    [
        pytest.param(0, 47, True, id="within 48 hours"),
        pytest.param(0, 49, False, id="48 hours always"),
        pytest.param(2, 1, True, id="within the limit"),
        pytest.param(2, 3, False, id="beyond the limit"),
        pytest.param(100, 49, False, id="a longer limit does not help"),
    ],
)
async def test_an_upload_without_activity_is_swept(
    world: World, limit_hours: float, idle_hours: float, stays: bool
) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, limit_hours, world.clock)
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        world.clock.pass_s(idle_hours * HOUR_S)
        await sweeper.sweep()
        assert (world.spool.find(TASK) is not None) is stays


async def test_activity_and_open_requests_keep_an_upload(world: World) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, 1, world.clock)
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        async with world.spool.receive(TASK) as receipt:
            world.clock.pass_s(5 * HOUR_S)
            await sweeper.sweep()
            (await receipt.open("a.jpg")).close()
        await sweeper.sweep()
        assert world.spool.find(TASK) is not None


async def test_a_submitted_task_is_never_swept_and_an_unknown_commit_is(world: World) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, 1, world.clock)
        tasks = [TaskId("marked"), TaskId("known"), TaskId("unknown")]
        for task in tasks:
            await world.commit(task)
        await world.spool.mark(tasks[0], Mark.SUBMITTED)
        world.scheduler.submit(tasks[1])
        world.clock.pass_s(100 * HOUR_S)
        await sweeper.sweep()
        assert [held.draft.task for held in world.spool.held()] == tasks[:2]


async def test_announcements_of_a_lost_proxy_go_unless_the_task_is_known(world: World) -> None:
    uploads = await world.bus.bucket(UPLOADS)
    async with world.proxy(start=False):
        for name, age_h in (("lost", 200), ("known", 200), ("young", 100)):
            created_at_ms = world.now_ms - age_h * 3_600_000
            upload = Upload(task=TaskId(name), instance=InstanceId("gone"), url="http://x", created_at_ms=created_at_ms)
            await uploads.put(name, upload)
        world.scheduler.submit(TaskId("known"))

        sweeper = UploadExpiry(world.bus, world.spool, 0, world.clock)
        await sweeper.sweep()
        assert set(await uploads.load()) == {"lost", "known", "young"}  # this process has not seen them for an hour yet
        world.clock.pass_s(1.1 * HOUR_S)
        await sweeper.sweep()
        assert set(await uploads.load()) == {"known", "young"}


async def test_the_word_of_a_scheduler_that_leads_no_more_is_not_acted_on(world: World):
    world.scheduler.epoch = 8
    world.scheduler.epochs = [7, 7]
    async with world.proxy() as forwarder:
        await world.bus.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(), epoch=8))
        await world.forwarded(forwarder)
        assert world.scheduler.asked[TASK] >= 3
        assert world.nodes.begun == [NodeTaskId(f"{TASK}#1")]
        assert [report.epoch for report in world.scheduler.forwarded] == [8]
        assert {renewal.epoch for renewal in world.scheduler.renewed} == {8}


@pytest.mark.parametrize("step_s", [pytest.param(-1e9, id="back"), pytest.param(1e9, id="forward")])
async def test_no_upload_is_swept_because_the_wall_clock_stepped(world: World, step_s: float) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, 2, world.clock)
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        world.clock.step_wall_s(step_s)
        world.clock.pass_s(1.9 * HOUR_S)
        await sweeper.sweep()
        assert world.spool.find(TASK) is not None
        world.clock.pass_s(0.2 * HOUR_S)
        await sweeper.sweep()
        assert world.spool.find(TASK) is None
