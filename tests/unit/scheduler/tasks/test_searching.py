"""Operators search, filter, sort and page all tasks, active and ended, and see the whole cluster at a glance."""

import pytest

from clusterodm.libs.common.messages.overview import GetOverview
from clusterodm.libs.common.messages.placement import RenewAttempt
from clusterodm.libs.common.messages.tasks import SearchTasks, TaskOrder, TaskPage, TaskRef
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.services.scheduler.tasks.handlers.searching import FEW_COUNT, MOST_COUNT, bounded
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, task_id


async def searches(play: Play, **asked: object) -> TaskPage:
    return await play.scheduler.tasks.search.search(SearchTasks(**asked))


async def finds(play: Play, **asked: object) -> list[str]:
    return [summary.name for summary in (await searches(play, **asked)).tasks]


async def ends(play: Play, name: str) -> None:
    placed = await play.starts(name)
    play.api.reach(placed.node).finishes(placed.node_task_id)
    await play.looks()
    await play.archives()


async def a_history(play: Play) -> None:
    """Two that have ended, one that runs, two that wait."""
    for name, images in (("alpha", 30), ("beta", 10)):
        await play.commits(name, images=images)
        await ends(play, name)
    await play.commits("gamma", images=20)
    await play.starts("gamma")
    await play.commits("delta", images=5)
    await play.commits("Epsilon", images=7)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        pytest.param({}, ["Epsilon", "delta", "gamma", "beta", "alpha"], id="the newest first"),
        pytest.param({"descending": False, "limit_count": 2}, ["alpha", "beta"], id="the oldest first"),
        pytest.param({"offset_count": 3, "limit_count": 5}, ["beta", "alpha"], id="the second page"),
        pytest.param({"offset_count": 9}, [], id="behind the end"),
        pytest.param({"text": "EPS"}, ["Epsilon"], id="text in any case"),
        pytest.param({"text": task_id("beta")[2:12].upper()}, ["beta"], id="part of an id"),
        pytest.param({"text": "a%"}, [], id="text that would be a pattern"),
        pytest.param({"states": (TaskState.WAITING,)}, ["Epsilon", "delta"], id="one state"),
        pytest.param(
            {"states": (TaskState.RUNNING, TaskState.COMPLETED), "order": TaskOrder.IMAGES},
            ["alpha", "gamma", "beta"],
            id="two states by images",
        ),
        pytest.param({"order": TaskOrder.NAME, "descending": False, "limit_count": 2}, ["alpha", "beta"], id="by name"),
        pytest.param({"node": "a-3000", "text": "a"}, ["gamma", "beta", "alpha"], id="on a node"),
        pytest.param({"node": "nowhere"}, [], id="on an unknown node"),
        pytest.param({"owner": "nobody"}, [], id="of an unknown owner"),
    ],
)
async def test_tasks_are_searched_filtered_sorted_and_paged(asked: dict[str, object], names: list[str]):
    async with a_play(a=FakeNode()) as play:
        await a_history(play)
        if "node" in asked and asked["node"] == "a-3000":
            asked = asked | {"node": play.state_of("a").id}
        assert await finds(play, **asked) == names


async def test_a_page_says_how_many_are_like_this_and_how_many_there_are_in_each_state():
    async with a_play(a=FakeNode()) as play:
        await a_history(play)
        page = await searches(play, text="ta", limit_count=1)
        assert page.total_count == 2
        assert page.states == {"completed": 2, "running": 1, "waiting": 2}


async def test_a_list_follows_tasks_that_begin_end_come_back_and_are_removed():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        assert await finds(play, states=(TaskState.WAITING,)) == ["one"]
        await ends(play, "one")
        assert await finds(play, states=(TaskState.WAITING,)) == []
        assert await finds(play, states=(TaskState.COMPLETED,)) == ["one"]
        await play.restarts("one")
        assert await finds(play) == ["one"]
        assert (await searches(play)).states == {"running": 1}
        await play.removes("one")
        assert (await searches(play)) == TaskPage()


async def test_what_was_listed_when_it_ended_counts_once_when_it_is_archived():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.api.reach(placed.node).finishes(placed.node_task_id)
        await play.looks()
        assert (await searches(play)).states == {"completed": 1}
        await play.archives()
        assert (await play.scheduler.tasks.overview.get(GetOverview())).states == {"completed": 1}
        page = await searches(play)
        assert (page.total_count, page.states, len(page.tasks)) == (1, {"completed": 1}, 1)


async def test_waiting_tasks_come_with_their_place_and_the_reason():
    async with a_play(a=FakeNode()) as play:
        await a_history(play)
        waiting = (await searches(play, states=(TaskState.WAITING,), descending=False)).tasks
        assert [(each.name, each.position) for each in waiting] == [("delta", 1), ("Epsilon", 2)]
        assert all(each.reason for each in waiting)


async def test_many_matches_are_paged_without_sorting_them_all():
    async with a_play() as play:
        for number in range(FEW_COUNT + 10):
            await play.commits(f"survey {number:05}")
        page = await searches(
            play, text="survey", order=TaskOrder.NAME, descending=False, offset_count=2, limit_count=2
        )
        assert page.total_count == FEW_COUNT + 10
        assert [each.name for each in page.tasks] == ["survey 00002", "survey 00003"]


def test_what_is_asked_for_is_bounded():
    asked = bounded(SearchTasks(text="x" * 10_000, offset_count=-5, limit_count=10**9, since_ms=2**80))
    assert (len(asked.text), asked.offset_count, asked.limit_count) == (200, 0, MOST_COUNT)
    assert asked.since_ms < 2**63


async def test_a_task_that_is_sent_says_how_much_of_it_its_node_has():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", size_bytes=1_000)
        placed = await play.is_placed("one")
        renewal = RenewAttempt(
            task=task_id("one"), attempt=placed.attempt, upload_owner=UPLOAD_OWNER, sent_count=2, sent_bytes=600
        )
        await play.scheduler.forwarding.reports.renew(renewal)
        described = await play.scheduler.tasks.reader.describe(TaskRef(task=task_id("one")))
        assert described.task.id == task_id("one")
        assert (described.summary.sent_bytes, described.summary.sent_count) == (600, 2)
        assert described.summary.size_bytes == 1_000
        overview = await play.scheduler.tasks.overview.get(GetOverview())
        assert (overview.forwarding_bytes, overview.forwarding_sent_bytes) == (1_000, 600)


async def test_the_overview_counts_tasks_nodes_slots_and_what_has_ended():
    async with a_play(a=FakeNode(slots=2), b=FakeNode()) as play:
        await play.commits("one", images=4)
        await ends(play, "one")
        await play.commits("two")
        await play.starts("two")
        await play.goes_down("b")
        overview = await play.scheduler.tasks.overview.get(GetOverview())
        assert overview.states == {"completed": 1, "running": 1}
        assert overview.ended == {"completed": 1}
        assert overview.ended_images_count == 4
        assert (overview.nodes_count, overview.nodes_online_count) == (2, 1)


async def test_the_overview_says_what_does_not_get_on():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        for name in ("one", "two"):
            await play.commits(name)
            await play.starts(name)
            await play.passes(60)
        await play.commits("of nobody", upload_owner=InstanceId("gone"))
        await play.passes(120)
        await play.goes_down("b")
        overview = await play.scheduler.tasks.overview.get(GetOverview())
        assert (overview.longest_run_task, overview.longest_run_s) == (task_id("one"), 240.0)
        assert overview.on_offline_nodes_count == 1
        assert overview.upload_owner_away_count == 1


async def test_the_overview_says_how_long_the_first_in_the_queue_has_waited():
    async with a_play() as play:
        await play.commits("one")
        await play.passes(90)
        await play.commits("two")
        assert (await play.scheduler.tasks.overview.get(GetOverview())).oldest_wait_s == 90.0
