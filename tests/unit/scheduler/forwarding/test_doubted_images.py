"""Images that may lie on a node twice, and uploads that nobody will commit: played with fake nodes."""

from clusterodm.libs.common.messages.placement import RenewAttempt
from clusterodm.libs.common.model.tasks import TaskState
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, task_id


async def doubts(play: Play, name: str) -> None:
    """Renew, as an upload owner does before a commit with images that the node may have kept twice."""
    doubting = RenewAttempt(task=task_id(name), attempt=1, upload_owner=UPLOAD_OWNER, doubtful=True)
    await play.scheduler.forwarding.reports.renew(doubting)


async def test_a_task_whose_images_nobody_has_proven_is_removed_and_tried_again():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await doubts(play, "one")
        play.node("a").takes(placed.node_task_id)
        await play.passes(61)
        await play.passes(1)
        assert play.task("one").state is TaskState.WAITING
        assert play.node("a").tasks == {}
        assert "images may lie on the node twice" in play.task("one").attempts[0].reason


async def test_a_commit_in_doubt_with_doubted_images_is_removed_too():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        play.node("a").takes(placed.node_task_id)
        await play.reports_failed("one", 1, commit_uncertain=True, doubtful=True)
        await play.passes(1)
        assert play.task("one").state is TaskState.WAITING
        assert play.node("a").tasks == {}


async def test_nothing_else_happens_to_it_while_the_node_cannot_be_told():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        play.node("a").takes(placed.node_task_id)
        play.node("a").refuses = "busy"
        await play.reports_failed("one", 1, commit_uncertain=True, doubtful=True)
        await play.passes(1)
        assert play.task("one").state is TaskState.FORWARDING
        await play.passes(1)
        assert play.task("one").state is TaskState.WAITING


async def test_a_doubt_that_the_upload_owner_has_cleared_is_none():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await doubts(play, "one")
        play.node("a").takes(placed.node_task_id)
        await play.reports_forwarded("one", 1)
        assert play.task("one").state is TaskState.RUNNING


async def test_what_a_killed_upload_owner_has_uploaded_of_a_canceled_task_is_discarded_once_no_commit_can_come():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.cancels("one")
        await play.passes(1)
        assert ("discard", placed.node_task_id) not in play.node("a").acts
        await play.passes(61)
        assert play.node("a").acts[-2:] == [("remove", placed.node_task_id), ("discard", placed.node_task_id)]
        acts_count = len(play.node("a").acts)
        await play.passes(61)
        assert len(play.node("a").acts) == acts_count
