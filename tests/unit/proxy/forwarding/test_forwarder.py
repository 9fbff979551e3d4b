"""forwarding/handlers: held tasks, with a scheduler and nodes played by the test."""

import asyncio
from collections import Counter

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusFailed, NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.placement import (
    PLACE_TASKS,
    PLACEMENT_POSSIBLE,
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    PlacementPossible,
    Placements,
    PlaceTasks,
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
)
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.services.proxy.errors import NodeErred
from clusterodm.services.proxy.forwarding.handlers.attempts import SMALL_BYTES
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import Draft, Mark
from tests.forwarding import FILES, TASK, World
from tests.waiting import passed, until


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
        await world.adopted(forwarder)
        await until(lambda: world.nodes.sending_count == 2, what="two files are under way")
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.most_sending_count == 2


async def test_no_more_tasks_are_sent_at_once_than_the_limit(world: World) -> None:
    async with world.proxy(tasks_count=1) as forwarder:
        world.nodes.gate.clear()
        tasks = [TaskId(f"task-{number}") for number in range(3)]
        for task in tasks:
            await world.adopted(forwarder, task)
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
        await world.adopted(forwarder)
        await until(lambda: world.scheduler.asked[TASK] == 1, what="it has asked")
        world.scheduler.slots_count = 1
        await world.bus.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(TaskId("another"), TASK)))
        await until(lambda: world.nodes.committed, timeout_s=3, what="it was sent")


async def test_what_is_placed_of_a_task_that_is_not_here_is_given_up_at_once(world: World) -> None:
    """As records of a backup have it, where the task was removed since."""
    async with world.proxy() as forwarder:
        world.scheduler.slots_count = 0
        await world.adopted(forwarder)
        await until(lambda: world.scheduler.asked[TASK] == 1, what="it has asked")
        ghost = TaskId("ghost")
        world.scheduler.tasks = {}
        world.scheduler.submit(ghost)
        world.scheduler.slots_count = 1
        await until(lambda: world.scheduler.failed, timeout_s=5, what="it was given up")
    [report] = world.scheduler.failed
    assert (report.task, report.attempt, report.commit_uncertain) == (ghost, 1, True)


async def test_the_attempt_is_renewed_while_files_are_under_way(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.adopted(forwarder)
        await until(lambda: len(world.scheduler.renewed) >= 3, what="renewals")
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    last = world.scheduler.renewed[-1]
    assert (last.attempt, last.sent_count, last.sent_bytes) == (1, 3, 6)


async def test_a_task_canceled_while_it_is_sent_stops_at_once_and_is_never_committed(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.adopted(forwarder)
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


async def test_a_small_task_that_is_placed_at_once_is_committed_on_that_answer(world: World) -> None:
    async with world.proxy(fresh_s=60.0) as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert world.scheduler.renewed == []
    assert not any(question.renews_first for question in world.scheduler.questions if question.tasks)


async def test_a_mirror_that_shows_a_placement_after_its_answer_costs_no_renewal(world: World) -> None:
    async with world.proxy(fresh_s=60.0) as forwarder:
        remember = world.spool.remember

        async def show_it_meanwhile(task: TaskId, history: History, *, durably: bool = True) -> None:
            world.scheduler.tell(task)
            await remember(task, history, durably=durably)

        world.spool.remember = show_it_meanwhile  # type: ignore[method-assign]
        await world.forwarded(forwarder)
    assert world.scheduler.renewed == []


async def test_a_larger_task_is_renewed_before_its_node_hears_of_it_and_the_scheduler_is_told_so(world: World) -> None:
    world.files = {"a.jpg": bytes(SMALL_BYTES + 1)}
    async with world.proxy(fresh_s=60.0) as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert len(world.scheduler.renewed) == 1
    assert all(question.renews_first for question in world.scheduler.questions if question.tasks)


async def test_a_task_that_was_canceled_before_the_answer_came_is_not_begun(world: World) -> None:
    async def answer_late(asked: PlaceTasks) -> Placements:
        answer = await world.scheduler.place_tasks(asked)
        if asked.tasks and not world.scheduler.renewed:
            world.scheduler.change(state=TaskState.CANCELED)
        return answer

    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {PLACE_TASKS: answer_late}),
        world.proxy(fresh_s=60.0) as forwarder,
    ):
        await world.adopted(forwarder)
        await world.lets_go()
    assert world.nodes.met == set()


async def test_a_task_whose_attempt_was_over_before_the_answer_came_is_not_begun_by_it(world: World) -> None:
    async def answer_late(asked: PlaceTasks) -> Placements:
        answer = await world.scheduler.place_tasks(asked)
        if asked.tasks and world.scheduler.asked[TASK] == 1:
            world.scheduler.change(state=TaskState.WAITING)
        return answer

    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {PLACE_TASKS: answer_late}),
        world.proxy(fresh_s=60.0) as forwarder,
    ):
        await world.forwarded(forwarder)
    assert world.nodes.begun == world.nodes.committed == [f"{TASK}#2"]


async def test_a_proxy_that_was_frozen_after_its_first_word_asks_again_before_it_commits(world: World) -> None:
    fresh_s = 0.2
    async with world.proxy(fresh_s=fresh_s, renew_s=60.0) as forwarder:
        await world.commit()
        world.scheduler.submit()

        async def freeze(node: Node, attempt: NodeTaskId, draft: Draft) -> None:
            began_s = monotonic_s()
            world.scheduler.listeners.clear()
            world.scheduler.change(state=TaskState.CANCELED)
            await until(lambda: monotonic_s() > began_s + fresh_s)

        world.nodes.begin = freeze  # type: ignore[method-assign]
        await forwarder.adopt(TASK)
        await world.lets_go()
    assert len(world.scheduler.renewed) == 1
    assert world.nodes.committed == []


async def test_a_task_that_has_waited_is_renewed_before_its_node_hears_of_it_and_committed_on_that_answer(
    world: World,
) -> None:
    world.scheduler.slots_count = 0
    async with world.proxy(fresh_s=60.0) as forwarder:
        await world.adopted(forwarder)
        await until(lambda: any(question.hold_s for question in world.scheduler.questions), what="it waits")
        world.scheduler.slots_count = 1
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert len(world.scheduler.renewed) == 1
    assert all(question.renews_first for question in world.scheduler.questions if question.hold_s)


async def test_an_attempt_that_was_placed_before_is_renewed_first(world: World) -> None:
    world.scheduler.says_again = True
    async with world.proxy(fresh_s=60.0) as forwarder:
        await world.forwarded(forwarder)
    assert len(world.scheduler.renewed) == 1


async def test_an_answer_that_comes_late_begins_nothing_and_commits_nothing(world: World) -> None:
    async with world.proxy(fresh_s=0.0) as forwarder:
        await world.forwarded(forwarder)
    assert len(world.scheduler.renewed) == 2


async def test_a_commit_that_is_tried_again_is_confirmed_anew(world: World) -> None:
    world.nodes.trouble("commit", NodeUnreachable("n1 cannot be reached"))
    async with world.proxy(fresh_s=60.0) as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#1"]
    assert len(world.scheduler.renewed) == 1


async def test_a_small_task_of_which_there_is_news_is_confirmed_before_its_commit(world: World) -> None:
    async with world.proxy(fresh_s=60.0) as forwarder:
        await world.commit()
        world.scheduler.submit()

        async def cancel_instead_of_begin(node: Node, attempt: NodeTaskId, draft: Draft) -> None:
            world.scheduler.change(state=TaskState.CANCELED)

        world.nodes.begin = cancel_instead_of_begin  # type: ignore[method-assign]
        await forwarder.adopt(TASK)
        await world.lets_go()
    assert world.nodes.committed == []


async def test_news_about_which_the_scheduler_is_being_asked_are_waited_for_before_a_commit(world: World) -> None:
    asked_count, told = 0, asyncio.Event()

    async def answer_slowly(asked: RenewAttempt) -> Done:
        nonlocal asked_count
        asked_count += 1
        await told.wait()
        return await world.scheduler.renew(asked)

    async def cancel_meanwhile(node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        world.scheduler.change(state=TaskState.CANCELED)
        await until(lambda: asked_count, what="the scheduler is asked about the news")

    world.nodes.begin = cancel_meanwhile  # type: ignore[method-assign]
    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {RENEW_ATTEMPT: answer_slowly}),
        world.proxy(fresh_s=60.0, renew_s=60.0) as forwarder,
    ):
        await world.adopted(forwarder)
        await until(lambda: len(world.nodes.sent) == len(FILES), what="all files are sent")
        await passed()
        told.set()
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
        await world.adopted(forwarder)
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
        await world.adopted(forwarder)
        await world.lets_go()
    (report,) = world.scheduler.failed
    assert (report.reason, report.node_refused, report.commit_uncertain) == ("too many images", True, False)


async def test_a_task_that_a_node_has_already_is_reported_as_uncertain_and_nothing_is_removed_there(
    world: World,
) -> None:
    world.nodes.trouble("begin", NodeRefused(f"Invalid set-uuid: {TASK}"))
    world.scheduler.stays_in_doubt = True
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: world.scheduler.failed, what="the attempt is over")
    (report,) = world.scheduler.failed
    assert (report.reason, report.node_refused, report.commit_uncertain) == (f"Invalid set-uuid: {TASK}", False, True)
    assert world.nodes.removed == []


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
        await world.adopted(forwarder)
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


async def test_a_task_that_has_ended_when_its_start_is_told_is_asked_about(world: World) -> None:
    async with world.proxy() as forwarder:

        async def ended_already(asked: ReportForwarded) -> TaskRecord:
            started = await world.scheduler.on_forwarded(asked)
            world.scheduler.change(state=TaskState.COMPLETED)
            return started

        async with world.bus.serve("scheduler", world.scheduler.handlers | {REPORT_FORWARDED: ended_already}):
            await world.adopted(forwarder)
            await until(lambda: world.scheduler.asked[TASK] == 2, what="it is asked about")


async def test_progress_of_a_running_task_costs_no_question(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await until(lambda: world.scheduler.asked[TASK] == 1, what="it rests")
        for size in range(20):
            world.scheduler.change(size_bytes=size)
            await asyncio.sleep(0)
        await passed()
        assert world.scheduler.asked[TASK] == 1


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
        await world.adopted(forwarder)
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


async def test_a_stop_while_a_commit_that_a_node_has_erred_about_is_confirmed_anew_says_that_it_may_be_there(
    world: World,
) -> None:
    commit, confirmed_count = world.nodes.commit, 0

    async def carry_out_and_err(node: Node, attempt: NodeTaskId, by: Instant) -> None:
        await commit(node, attempt, by)
        raise NodeErred("n1 answered with an error (500)")

    async def says_nothing_any_more(asked: RenewAttempt) -> Done:
        nonlocal confirmed_count
        if world.nodes.committed:
            confirmed_count += 1
            raise BusFailed("nobody leads")
        return await world.scheduler.renew(asked)

    world.nodes.commit = carry_out_and_err  # type: ignore[method-assign,assignment]
    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {RENEW_ATTEMPT: says_nothing_any_more}),
        world.proxy() as forwarder,
    ):
        await world.adopted(forwarder)
        await until(lambda: confirmed_count, what="it asks whether it may commit again")
    assert [(report.attempt, report.commit_uncertain) for report in world.scheduler.failed] == [(1, True)]
    assert world.nodes.discarded == []


async def test_a_stop_before_it_was_heard_that_a_node_has_such_a_task_already_says_so(world: World) -> None:
    heard: list[ReportForwardFailed] = []

    async def hear_of_the_stop_alone(report: ReportForwardFailed) -> TaskRecord:
        heard.append(report)
        if "stopped" not in report.reason:
            raise BusFailed("nobody leads")
        return await world.scheduler.on_failed(report)

    world.nodes.trouble("begin", NodeRefused(f"Invalid set-uuid: {TASK}"))
    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {REPORT_FORWARD_FAILED: hear_of_the_stop_alone}),
        world.proxy() as forwarder,
    ):
        await world.adopted(forwarder)
        await until(lambda: heard, what="it wants to say so")
    assert all(report.commit_uncertain for report in heard)
    assert [report.attempt for report in world.scheduler.failed] == [1]
    assert world.nodes.discarded == []
