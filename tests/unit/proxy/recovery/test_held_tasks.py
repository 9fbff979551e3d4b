"""Held tasks after a restart, and after their records were lost; scheduler and nodes are played by the test."""

import asyncio

import msgspec

from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.messages.placement import REPORT_FORWARD_FAILED, ReportForwardFailed
from clusterodm.libs.common.messages.tasks import AttemptStage, TaskRecord
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import AttemptState, TaskState
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.services.proxy.forwarding.handlers.attempts import SMALL_BYTES
from clusterodm.services.proxy.spool.core.upload import Draft, Mark
from tests.forwarding import NODE, OTHER_NODE, TASK, World
from tests.waiting import passed, until


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
        await world.adopted(forwarder)
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
        await world.adopted(forwarder)
        await until(lambda: world.nodes.sending_count, what="a file is under way")
        [work] = [each for each in asyncio.all_tasks() if each.get_name() == f"forward {TASK}"]
        work.cancel()
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)


async def test_an_attempt_cut_off_by_a_kill_is_uncertain_and_a_fresh_one_follows(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.adopted(forwarder)
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
        assert "a.jpg" in world.stored()
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
        assert "a.jpg" in world.stored()
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_waiting_task_that_the_scheduler_has_lost_runs_in_the_end(world: World) -> None:
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: world.scheduler.asked[TASK], what="it was asked for")
        world.scheduler.slots_count = 1
        world.scheduler.loses()
        await world.reaches_again(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


async def test_a_commit_that_may_have_been_sent_is_told_before_it_is_sent(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.trouble("commit", NodeFailed("no answer"))
        world.scheduler.stays_in_doubt = True
        await world.adopted(forwarder)
        await until(lambda: world.scheduler.failed, what="the attempt is over")
    world.scheduler.loses()
    async with world.proxy():
        await until(lambda: world.scheduler.adopted, what="it is submitted again")
    assert world.scheduler.adopted[0].attempts[-1].stage is AttemptStage.COMMITTING
    assert world.scheduler.tasks[TASK].attempts[-1].state is AttemptState.UNCERTAIN


async def test_an_attempt_that_was_cut_off_before_its_commit_is_told_as_such(world: World) -> None:
    world.files = {"a.jpg": bytes(SMALL_BYTES + 1)}
    await cut_off(world)
    async with world.proxy():
        await world.reaches_again(TaskState.RUNNING)
    assert world.scheduler.adopted[0].attempts[-1].stage is AttemptStage.SENDING
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_of_a_small_task_that_was_cut_off_its_node_is_asked(world: World) -> None:
    await cut_off(world)
    async with world.proxy():
        await until(lambda: world.scheduler.adopted, what="it is submitted again")
    assert world.scheduler.adopted[0].attempts[-1].stage is AttemptStage.COMMITTING
    assert world.scheduler.tasks[TASK].attempts[-1].state is AttemptState.UNCERTAIN
    assert world.nodes.committed == []


async def test_of_a_small_task_whose_attempt_ended_before_its_commit_no_node_is_asked(world: World) -> None:
    world.nodes.trouble("send", NodeFailed("no answer"))

    async def is_full_now(asked: ReportForwardFailed) -> TaskRecord:
        world.scheduler.slots_count = 0
        return await world.scheduler.on_failed(asked)

    async with world.bus.serve("scheduler", world.scheduler.handlers | {REPORT_FORWARD_FAILED: is_full_now}):
        async with world.proxy() as forwarder:
            await world.adopted(forwarder)
            await until(lambda: world.scheduler.failed, what="the attempt is over")
        world.scheduler.loses()
        async with world.proxy():
            await world.reaches_again(TaskState.WAITING)
    assert world.scheduler.adopted[0].attempts[-1].stage is AttemptStage.SENDING


async def test_of_a_small_task_whose_attempt_was_over_before_its_commit_no_node_is_asked(world: World) -> None:
    async def lose_the_record(node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        del world.nodes.begin  # type: ignore[method-assign]
        world.scheduler.loses()

    world.nodes.begin = lose_the_record  # type: ignore[method-assign]
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await world.reaches_again(TaskState.RUNNING)
    assert [each.stage for each in world.scheduler.adopted[0].attempts] == [AttemptStage.SENDING]
    assert world.nodes.committed == [f"{TASK}#2"]


async def cut_off(world: World) -> None:
    """Stop a proxy while it sends a file, and lose the record of its task."""
    world.nodes.gate.clear()
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: world.nodes.sending_count, what="a file is under way")
        world.bus.connected = False
    world.bus.connected = True
    world.scheduler.loses()
    world.nodes.gate.set()


async def test_a_failed_task_whose_record_is_lost_does_not_run_again_and_its_client_is_not_told_twice(
    world: World,
) -> None:
    world.keep_failed_s = 3600
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.FAILED, ended_at_ms=world.now_ms, error="why")
        await until(lambda: world.client.told, what="its client was told")
        await until(lambda: Mark.WEBHOOK_DONE in world.held_marks(), what="that is noted")
        world.scheduler.loses()
        await world.reaches_again(TaskState.FAILED)
    assert world.scheduler.tasks[TASK].error == "why"
    world.scheduler.loses()
    async with world.proxy():
        await world.reaches_again(TaskState.FAILED)
        assert "a.jpg" in world.stored()
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
        assert "a.jpg" in world.stored()


async def test_the_disk_is_not_relieved_by_a_task_that_the_scheduler_has_lost(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.tasks.pop(TASK)
        assert not await world.inputs.give_up(TASK, "the disk is full")
        assert "a.jpg" in world.stored()
