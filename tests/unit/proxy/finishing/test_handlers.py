"""finishing/handlers.py: webhooks, and inputs that go; scheduler and nodes are played by the test."""

import pytest
from msgspec.structs import replace

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Cleanup, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.proxy.spool.core.history import is_removed
from clusterodm.services.proxy.spool.core.upload import Mark
from tests.forwarding import FILES, NODE, TASK, World
from tests.waiting import passed, until

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


async def test_the_end_of_a_task_that_was_restarted_and_ended_before_anybody_looked_is_told_too(world: World) -> None:
    world.keep_failed_s = 3600
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        world.scheduler.change(state=TaskState.CANCELED, ended_at_ms=world.now_ms)
        await until(lambda: Mark.WEBHOOK_DONE in world.held_marks(), what="its client was told")
        again_ms = world.now_ms + 1
        world.scheduler.change(state=TaskState.CANCELED, restarted_at_ms=again_ms, ended_at_ms=again_ms)
        await until(lambda: len(world.client.told) == 2, what="its client was told again")
    async with world.proxy():
        await passed()
    assert len(world.client.told) == 2


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


async def test_inputs_go_when_their_task_is_said_to_be_removed_and_not_because_nobody_knows_it(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
        assert await world.finisher.finish(TASK) is None
        assert set(world.stored()) == set(FILES), "that its record is not there says nothing"
        world.scheduler.removed.add(TASK)
        assert await world.finisher.finish(TASK) is None
    async with world.proxy():
        await world.lets_go()


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELED])
async def test_notes_of_what_has_ended_stay_without_its_inputs_until_its_node_has_been_told(
    world: World, state: TaskState
) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        untold = replace(world.scheduler.tasks[TASK].attempts[-1], cleanup=Cleanup.CANCEL)
        world.scheduler.change(state=state, ended_at_ms=world.now_ms, attempts=(untold,))
        await until(lambda: Mark.INPUTS_GONE in world.held_marks(), what="its inputs are gone")
        assert world.history().attempts[-1].node_task_id == untold.node_task_id
        world.scheduler.change(attempts=(replace(untold, cleanup=Cleanup.NONE),))
        assert await world.finisher.finish(TASK) == 0
        assert world.spool.find(TASK) is None


async def test_notes_of_what_was_removed_stay_without_its_inputs_until_its_node_has_been_told(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.untold.add(TASK)
        world.scheduler.remove()
        await until(lambda: Mark.INPUTS_GONE in world.held_marks(), what="its inputs are gone")
        assert is_removed(world.history())
        world.scheduler.untold.clear()
        await world.lets_go()


async def test_what_was_removed_is_submitted_again_as_that_when_its_node_had_still_to_be_told(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.untold.add(TASK)
        world.scheduler.remove()
        await until(lambda: Mark.INPUTS_GONE in world.held_marks(), what="its inputs are gone")
    world.scheduler.forgets_all()
    async with world.proxy():
        await until(lambda: world.scheduler.adopted, what="it is submitted again")
        told = world.scheduler.adopted[0]
        assert told.end
        assert (told.end.removed, told.inputs_kept) == (True, False)
        assert [each.node for each in told.attempts] == [NODE.id]
        world.scheduler.untold.clear()
        await world.lets_go()


async def test_what_was_removed_while_nobody_looked_is_noted_at_the_next_start(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    world.scheduler.untold.add(TASK)
    world.scheduler.remove()
    async with world.proxy():
        await until(lambda: is_removed(world.history()), what="it is noted")


async def test_what_was_removed_is_ended_in_an_older_record_that_has_it_completed(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        backup = replace(world.scheduler.tasks[TASK], state=TaskState.COMPLETED, ended_at_ms=world.now_ms)
        world.scheduler.untold.add(TASK)
        world.scheduler.remove()
        await until(lambda: is_removed(world.history()), what="it is noted")
    world.scheduler.forgets_all()
    world.scheduler.put(backup)
    async with world.proxy():
        await until(lambda: TASK in world.scheduler.removed, what="it is removed again")
    assert is_removed(world.history())


async def test_a_task_restarted_while_its_client_is_told_keeps_its_inputs(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")

        async def restart_meanwhile(url: str, body: bytes) -> None:
            world.client.told.append((url, {}))
            world.scheduler.change(state=TaskState.WAITING, restarted_at_ms=1)

        world.client.post = restart_meanwhile  # type: ignore[method-assign]
        world.scheduler.change(state=TaskState.FAILED)
        await until(lambda: len(world.nodes.committed) == 2, what="the second attempt")
        assert world.spool.find(TASK) is not None


# --- inputs that go before the end, or stay after it --------------------------------------------------------------


async def test_inputs_that_are_kept_until_forwarded_go_when_the_node_has_them(world: World) -> None:
    async with world.proxy(until_forwarded=True) as forwarder:
        await world.forwarded(forwarder, webhook="https://client.example/")
        await until(lambda: not world.stored())
        assert [asked.task for asked in world.scheduler.inputs_gone] == [TASK]
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert world.client.told[0][1]["images"] == [{"filename": "a.jpg"}, {"filename": "b.jpg"}]


async def test_inputs_stay_where_the_scheduler_needs_them(world: World) -> None:
    async with world.proxy() as forwarder:
        world.scheduler.slots_count = 0
        await world.adopted(forwarder)

        assert not await world.inputs.give_up(TASK, "no room")

        assert set(world.stored()) == set(FILES)


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
        assert set(world.stored()) == set()
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
        assert set(world.stored()) == set(FILES)

        world.scheduler.change(state=TaskState.WAITING, restarted_at_ms=world.now_ms + 1)
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
        assert set(world.stored()) == set(FILES)
        world.scheduler.consents = True
        await world.lets_go()


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELED])
async def test_inputs_that_a_restart_may_need_stay_while_nobody_can_be_asked(world: World, state: TaskState) -> None:
    async with world.proxy(start=False):
        await ended_without_consent(world, state)
        with pytest.raises(BusFailed):
            await world.finisher.finish(TASK)
        assert set(world.stored()) == set(FILES)


async def test_inputs_of_a_completed_task_go_while_nobody_can_be_asked(world: World) -> None:
    async with world.proxy(start=False):
        await ended_without_consent(world, TaskState.COMPLETED)
        assert await world.finisher.finish(TASK) == 0
        assert world.spool.find(TASK) is None


async def test_a_completed_task_is_looked_up_once_and_its_inputs_go_without_asking(world: World) -> None:
    looked: list[TaskId] = []

    async def look(asked: TaskRef) -> TaskRecord:
        looked.append(asked.task)
        return await world.scheduler.get(asked)

    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {GET_TASK: look}),
        world.proxy() as forwarder,
    ):
        await world.forwarded(forwarder)
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert (looked, world.scheduler.inputs_gone) == ([TASK], [])


async def ended_without_consent(world: World, state: TaskState) -> None:
    await world.commit()
    world.scheduler.submit()
    world.scheduler.change(state=state, ended_at_ms=0)
    world.scheduler.consents = None


async def test_under_disk_pressure_the_oldest_inputs_go_first_and_only_as_many_as_needed(world: World) -> None:
    tasks = [TaskId(f"task-{number}") for number in range(4)]
    async with world.proxy() as forwarder:
        for number, task in enumerate(tasks):
            await world.adopted(forwarder, task, received=number)
            await world.reaches(TaskState.RUNNING, task)
        world.spool.wanted_bytes = lambda: 7  # type: ignore[method-assign] # the disk of the test has room

        await world.inputs.relieve()

        assert [bool(world.stored(task)) for task in tasks] == [False, False, True, True]
        assert [asked.task for asked in world.scheduler.inputs_gone] == tasks[:2]
