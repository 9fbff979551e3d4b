"""Nodes that answer with errors: what breaks is sent again, what is in doubt is proven, and what is given up leaves nothing there."""

from collections import Counter

import pytest

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.services.proxy.errors import NodeErred
from clusterodm.services.proxy.forwarding.handlers.forwarder import Forwarder
from clusterodm.services.proxy.spool.core.upload import Draft
from tests.forwarding import FILES, TASK, World
from tests.waiting import until

FIRST = NodeTaskId(f"{TASK}#1")


def errors(number: int = 1) -> list[Exception]:
    return [NodeErred("n1:3000 answered with status 500") for _ in range(number)]


async def everything_arrives(world: World, forwarder: Forwarder) -> None:
    """What the HTTP side does with an upload before its commit."""
    await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1, received_at_ms=world.now_ms))
    async with world.spool.receive(TASK) as receipt:
        for name, content in FILES.items():
            part = await receipt.open(name)
            part.write(content)
            part.close()
    if begins := forwarder.arrived(TASK, receipt.published):
        await begins


async def test_a_file_that_is_answered_with_an_error_is_sent_again_within_the_same_attempt(world: World) -> None:
    world.nodes.errors = {"a.jpg": errors(3), "b.jpg": errors()}
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.datasets == {FIRST: FILES}
    assert world.scheduler.failed == []
    assert Counter(name for _, name, _ in world.nodes.sent) == Counter(list(FILES))


@pytest.mark.parametrize("fresh_s", [0.0, 60.0], ids=["late", "at once"])
async def test_the_scheduler_knows_of_a_doubt_before_the_commit(world: World, fresh_s: float) -> None:
    world.nodes.errors = {"a.jpg": errors()}
    async with world.proxy(fresh_s=fresh_s) as forwarder:
        await world.forwarded(forwarder)
    assert world.scheduler.renewed[-1].doubtful


async def test_an_announcement_that_is_answered_with_an_error_is_repeated(world: World) -> None:
    world.nodes.trouble("begin", *errors(4))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.begun == [FIRST]
    assert world.scheduler.failed == []
    assert not world.scheduler.renewed[-1].doubtful


async def test_a_node_that_answers_everything_with_errors_is_given_up(world: World) -> None:
    world.nodes.errors = {"a.jpg": errors(12)}
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    (failed,) = world.scheduler.failed
    assert failed.reason == "n1:3000 answered with status 500 (tried 12 times)"
    assert not failed.commit_uncertain
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_an_image_that_a_node_has_kept_twice_is_found_and_the_task_taken_back(world: World) -> None:
    world.nodes.late_errors = {"a.jpg": errors()}
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    (failed,) = world.scheduler.failed
    assert failed.reason.startswith("n1:3000 counts 3 images instead of 2")
    assert not failed.commit_uncertain
    assert world.nodes.removed == [FIRST]
    assert world.nodes.datasets == {f"{TASK}#2": FILES}


async def test_to_a_node_that_was_found_out_nothing_is_sent_twice(world: World) -> None:
    another = TaskId("task-2")
    world.nodes.late_errors = {"a.jpg": errors()}
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.nodes.late_errors = {"a.jpg": errors()}
        await world.forwarded(forwarder, another)
    assert world.scheduler.failed[-1].reason == "n1:3000 answered with status 500"
    assert world.nodes.committed == [FIRST, f"{TASK}#2", f"{another}#2"]
    assert list(world.nodes.datasets.values()) == [FILES, FILES]


async def test_a_node_that_was_found_out_is_trusted_again_after_a_while(world: World) -> None:
    later, afterwards = TaskId("task-2"), TaskId("task-3")
    world.nodes.late_errors = {"a.jpg": errors()}
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.clock.pass_s(60)
        world.nodes.errors = {"a.jpg": errors(3), "b.jpg": errors()}
        await world.forwarded(forwarder, later)
        world.nodes.errors = {"a.jpg": errors()}
        await world.forwarded(forwarder, afterwards)
    assert len(world.scheduler.failed) == 1
    assert world.nodes.committed == [FIRST, f"{TASK}#2", f"{later}#1", f"{afterwards}#1"]


async def test_a_file_that_no_count_would_show_is_not_sent_twice(world: World) -> None:
    world.nodes.late_errors = {"gcp.txt": errors()}
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [f"{TASK}#2"]
    assert world.nodes.datasets == {f"{TASK}#2": FILES}


async def test_a_doubt_that_cannot_be_cleared_is_left_to_the_scheduler(world: World) -> None:
    world.nodes.errors = {"a.jpg": errors()}
    world.nodes.trouble("count", *[NodeFailed("n1:3000 did not answer")] * 12)
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: world.scheduler.failed, what="it is reported")
        (failed,) = world.scheduler.failed[:1]
        assert (failed.commit_uncertain, failed.doubtful) == (True, True)
        assert FIRST not in world.nodes.discarded


async def test_a_commit_that_is_answered_with_an_error_is_sent_again(world: World) -> None:
    world.nodes.trouble("commit", *errors(2))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.committed == [FIRST]
    assert world.scheduler.failed == []


async def test_a_commit_refused_after_an_error_may_have_been_taken(world: World) -> None:
    world.nodes.trouble("commit", *errors(), NodeRefused("Invalid uuid (not found)"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    (failed,) = world.scheduler.failed
    assert (failed.commit_uncertain, failed.node_refused) == (True, False)
    assert world.nodes.discarded == []


async def test_a_task_canceled_while_it_is_sent_leaves_nothing_on_the_node(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.adopted(forwarder)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
        world.scheduler.change(state=TaskState.CANCELED)
        await until(lambda: world.nodes.discarded == [FIRST], what="the node has nothing of it")
    assert world.nodes.uploads == {}


async def test_an_attempt_that_fails_leaves_nothing_on_the_node_once_that_can_be_reached(world: World) -> None:
    world.nodes.trouble("send", NodeFailed("n1:3000 did not answer"))
    world.nodes.trouble("discard", NodeUnreachable("n1:3000 cannot be reached"), *errors())
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await until(lambda: FIRST in world.nodes.discarded, what="the node has nothing of the first attempt")
    assert list(world.nodes.uploads) == []


async def test_a_proxy_that_is_stopped_leaves_nothing_on_the_node(world: World) -> None:
    async with world.proxy() as forwarder:
        world.nodes.gate.clear()
        await world.adopted(forwarder)
        await until(lambda: world.nodes.sending_count == 2, what="files are under way")
    assert world.nodes.discarded == [FIRST]
    assert world.nodes.uploads == {}


async def test_a_commit_in_doubt_is_never_discarded(world: World) -> None:
    world.nodes.trouble("commit", NodeFailed("n1:3000 did not answer"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.scheduler.failed[0].commit_uncertain
    assert world.nodes.discarded == []


async def test_files_that_go_ahead_follow_the_same_policy(world: World) -> None:
    world.nodes.errors = {"a.jpg": errors(3)}
    world.nodes.trouble("begin", *errors(2))
    world.scheduler.planned_node = world.scheduler.places_on
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await everything_arrives(world, forwarder)
        await until(lambda: len(world.nodes.sent) == len(FILES), what="everything went ahead")
        await world.spool.commit(TASK, at_ms=2)
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.datasets == {"ahead-1": FILES}
    assert world.scheduler.renewed[-1].doubtful


async def test_what_went_ahead_twice_is_found_by_the_attempt(world: World) -> None:
    world.nodes.late_errors = {"a.jpg": errors()}
    world.scheduler.planned_node = world.scheduler.places_on
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await everything_arrives(world, forwarder)
        await until(lambda: len(world.nodes.sent) == len(FILES) + 1, what="everything went ahead")
        await world.spool.commit(TASK, at_ms=2)
        world.scheduler.submit()
        await forwarder.adopt(TASK)
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.removed == ["ahead-1"]
    assert world.nodes.datasets == {f"{TASK}#2": FILES}
