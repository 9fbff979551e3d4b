"""What follows a lost attempt: another one, its words, a stop for tasks that kill their nodes, a restart from kept inputs."""

import pytest

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.placement import Waiting
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Cleanup, TaskState, Upload
from clusterodm.libs.common.model.values import InstanceId
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, settings, task_id

GONE = InstanceId("a proxy that is gone")

# --- words ---------------------------------------------------------------------------------------------------------


def lines(play: Play, name: str = "one") -> list[str]:
    return [moment.text for moment in play.task(name).timeline]


async def test_the_user_reads_what_was_lost_and_where_it_goes_on():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.adds("b", FakeNode())
        await play.goes_down("a")
        await play.passes(121)
        await play.passes(5)
        await play.is_placed("one")
        assert lines(play)[-2:] == [
            "attempt 1 on node a:3000 was lost: the node has been silent for 121 s; trying again",
            "Attempt 2: starting again on node b:3000",
        ]


async def test_a_failed_forward_is_told_once_and_not_called_lost():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.reports_failed("one", 1)
        await play.passes(5)
        second = await play.is_placed("one")
        assert lines(play)[-2:] == [
            f"attempt 1 on node {placed.node.name} failed: connection reset; trying again",
            f"Attempt 2: starting again on node {second.node.name}",
        ]
        assert len([event for event in play.told("task.attempt_ended") if event.reason == "connection reset"]) == 1


# --- killers -------------------------------------------------------------------------------------------------------


async def kills(play: Play) -> None:
    """Let the task's node crash and come back empty."""
    placed = await play.starts("one")
    play.node(placed.node.hostname).tasks.clear()
    await play.passes(5)
    await play.looks()
    await play.passes(60)


async def test_a_task_that_kills_node_after_node_is_stopped():
    chosen = settings(max_attempts=10, killer_nodes_count=2)
    async with a_play(chosen=chosen, a=FakeNode(), b=FakeNode(), c=FakeNode()) as play:
        await play.commits("one")
        await kills(play)
        assert play.task("one").state is TaskState.WAITING
        await kills(play)
        task = play.task("one")
        assert task.state is TaskState.FAILED
        assert task.error.endswith("2 nodes died soon after it had come to them, so it is not sent to another")


async def test_one_node_that_dies_twice_is_no_proof_against_the_task():
    async with a_play(chosen=settings(max_attempts=10, killer_nodes_count=2), a=FakeNode()) as play:
        await play.commits("one")
        for _ in range(3):
            await kills(play)
        assert play.task("one").state is TaskState.WAITING


async def test_a_node_that_dies_late_did_not_die_of_the_task():
    chosen = settings(max_attempts=10, killer_nodes_count=1, killer_within_s=60)
    async with a_play(chosen=chosen, a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.passes(61)
        await play.probes()
        await play.goes_down(placed.node.hostname)
        await play.passes(121)
        assert play.task("one").state is TaskState.WAITING
        assert not play.task("one").attempts[0].fatal


async def test_a_node_that_dies_of_the_commit_itself_counts():
    async with a_play(chosen=settings(max_attempts=10, killer_nodes_count=1), a=FakeNode()) as play:
        await play.commits("one")
        await play.is_placed("one")
        await play.goes_down("a")
        await play.reports_failed("one", 1, commit_uncertain=True)
        await play.passes(121)
        await play.passes(1)
        assert play.task("one").state is TaskState.FAILED


async def test_a_proxy_that_was_away_is_not_held_against_the_task():
    async with a_play(chosen=settings(max_attempts=1, killer_nodes_count=1), a=FakeNode()) as play:
        await play.commits("one")
        await play.is_placed("one")
        await play.reports_failed("one", 1, commit_uncertain=True)
        await play.passes(6)
        await play.passes(6)
        assert play.task("one").state is TaskState.WAITING


# --- inputs --------------------------------------------------------------------------------------------------------


async def fails(play: Play) -> None:
    await play.commits("one")
    placed = await play.starts("one")
    play.node(placed.node.hostname).fails(placed.node_task_id, "bad images")
    await play.looks()
    assert play.task("one").state is TaskState.FAILED


async def test_a_failed_task_whose_node_is_gone_is_restarted_from_its_inputs():
    async with a_play(a=FakeNode()) as play:
        await fails(play)
        await play.goes_down("a")
        await play.adds("b", FakeNode())
        again = await play.restarts("one", (OptionValue("dsm", True),))
        assert (again.state, again.error, again.known, again.ended_at_ms) == (TaskState.WAITING, "", None, None)
        assert again.attempts[0].cleanup is Cleanup.REMOVE
        assert lines(play)[-1] == "Restarted from its inputs"
        placed = await play.starts("one")
        assert (placed.node.hostname, placed.attempt) == ("b", 2)
        await play.comes_back("a")
        await play.passes(1)
        assert play.node("a").tasks == {}


async def test_a_restart_from_inputs_has_all_attempts_before_it():
    async with a_play(chosen=settings(max_attempts=2), a=FakeNode()) as play:
        await play.commits("one")
        for _ in range(2):
            await kills(play)
        assert play.task("one").state is TaskState.FAILED
        await play.restarts("one")
        await play.passes(60)
        await kills(play)
        assert play.task("one").state is TaskState.WAITING


async def test_a_task_that_its_node_has_forgotten_is_restarted_from_its_inputs():
    async with a_play(a=FakeNode()) as play:
        await fails(play)
        play.node("a").tasks.clear()
        assert (await play.restarts("one")).state is TaskState.WAITING


async def test_a_node_that_has_the_task_restarts_it_itself():
    async with a_play(a=FakeNode()) as play:
        await fails(play)
        assert (await play.restarts("one")).state is TaskState.RUNNING


async def test_a_task_canceled_while_it_waited_is_restarted():
    async with a_play() as play:
        await play.commits("one")
        await play.cancels("one")
        assert (await play.restarts("one")).state is TaskState.WAITING


async def test_without_inputs_a_restart_says_that_the_node_is_gone():
    async with a_play(a=FakeNode()) as play:
        await fails(play)
        await play.loses_inputs("one")
        await play.goes_down("a")
        with pytest.raises(NodeUnreachable):
            await play.restarts("one")


async def test_a_canceled_task_that_its_lost_node_may_still_process_is_not_started_elsewhere_before_its_grace():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.goes_down("a")
        await play.cancels("one")
        with pytest.raises(NodeFailed, match="has not confirmed that the task is canceled"):
            await play.restarts("one")
        await play.passes(121)
        assert (await play.restarts("one")).state is TaskState.WAITING


async def test_inputs_of_a_task_that_may_still_be_sent_stay():
    async with a_play() as play:
        await play.commits("one")
        with pytest.raises(Refused, match="a task that is waiting needs its inputs"):
            await play.loses_inputs("one")


async def test_a_task_that_lost_its_inputs_and_then_its_node_has_failed_with_both_reasons():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.loses_inputs("one")
        play.node("a").tasks.clear()
        await play.looks()
        assert play.task("one").state is TaskState.FAILED
        assert play.task("one").error == ("the node does not know the task any more; its inputs are not kept any more")
        assert "Its inputs are not kept any more: the disk is full" in lines(play)


async def test_inputs_of_a_completed_task_are_not_counted_on():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert not play.task("one").inputs_kept


async def test_the_user_hears_that_a_task_waits_for_the_proxy_that_holds_its_photos():
    async with a_play() as play:
        await play.commits("one", upload_owner=GONE)
        await play.commits("two", upload_owner=UPLOAD_OWNER)
        uploads = await play.bus.bucket(UPLOADS)
        await uploads.put(
            task_id("one"), Upload(task=task_id("one"), instance=GONE, url="http://proxy-2:3000", created_at_ms=1)
        )
        await play.adds("a", FakeNode())
        for _ in range(3):
            await play.passes(16)
        line = "Waiting for proxy http://proxy-2:3000, which holds the photos and does not answer"
        assert [moment.text for moment in play.task("one").timeline][-1:] == [line]
        assert line not in [moment.text for moment in play.task("two").timeline]
        await play.starts("two")
        assert await play.asks("one", GONE) == Waiting(position=1, reason="no free slot (1 of 1 busy)")
        play.clock.pass_s(31)
        await play.asks("one", GONE)
        await play.sweeps()
        assert play.task("one").timeline[-1].text == "Waiting for a node: no free slot (1 of 1 busy)"
