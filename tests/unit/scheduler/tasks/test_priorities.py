"""An operator gives a task a priority, or moves it up among its owner's others."""

from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.placement import Placed
from clusterodm.libs.common.messages.tasks import SearchTasks, SetTaskPriority, TaskOrder, TaskRef
from clusterodm.libs.common.messages.tenants import SetTenants, TenantShare
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.services.scheduler.records.core import place_of
from clusterodm.services.scheduler.tasks.core.priorities import first_of_its_kind, moved_up, prioritized
from tests.scheduling import FakeNode, Play, a_play, task_id

NOW = WallMs(5_000)


def a_task(name: str, at_ms: int, owner: str = "anne", **more: Any) -> Task:
    facts = {"upload_owner": InstanceId("p"), "created_at_ms": 0, "images_count": 1, **more}
    return Task(id=TaskId(name), name=name, owner=Owner(owner), committed_at_ms=at_ms, **facts)


@pytest.mark.parametrize("priority", [-10, -1, 1, 10])
def test_a_priority_outweighs_any_age(priority: int):
    old, young = a_task("old", 1), a_task("young", 1_900_000_000_000)
    changed = prioritized(young, priority, NOW)
    assert (place_of(changed) < place_of(old)) is (priority > 0)
    assert changed.timeline[-1].text == f"An operator has set its priority: {priority:+}"
    again = prioritized(changed, 0, NOW)
    assert place_of(again) == place_of(young)
    assert prioritized(again, 0, NOW) is again


@pytest.mark.parametrize(
    ("task", "priority", "because"),
    [
        pytest.param(a_task("a", 1), 11, "-10 to 10", id="too high"),
        pytest.param(a_task("a", 1), -11, "-10 to 10", id="too low"),
        pytest.param(a_task("a", 1, state=TaskState.COMPLETED), 1, "has ended", id="completed"),
        pytest.param(a_task("a", 1, state=TaskState.FAILED), 1, "has ended", id="failed"),
    ],
)
def test_a_priority_that_cannot_be_is_refused(task: Task, priority: int, because: str):
    with pytest.raises(Refused, match=because):
        prioritized(task, priority, NOW)


@pytest.mark.parametrize("state", [TaskState.FORWARDING, TaskState.RUNNING])
def test_one_that_is_under_way_has_its_priority_for_another_attempt_and_no_place(state: TaskState):
    task = a_task("a", 1, state=state)
    assert prioritized(task, 3, NOW).priority == 3
    with pytest.raises(Refused, match="does not wait"):
        moved_up(task, task, NOW)


@pytest.mark.parametrize(
    ("queue", "order"),
    [
        pytest.param([a_task("x", 90)], "x", id="alone"),
        pytest.param([a_task("a", 10), a_task("b", 20), a_task("x", 90)], "xab", id="before its owner's others"),
        pytest.param([a_task("a", 10, "bert"), a_task("x", 90)], "ax", id="nobody else's alone"),
        pytest.param(
            [a_task("a", 10, "bert"), a_task("b", 20), a_task("c", 30, "bert"), a_task("x", 90)],
            "axbc",
            id="directly before the first of its owner's",
        ),
        pytest.param(
            [a_task("a", 50, priority=1), a_task("b", 20), a_task("x", 90)], "axb", id="none of a higher priority"
        ),
        pytest.param(
            [a_task("a", 10, priority=-1), a_task("b", 20), a_task("x", 90, priority=-1)],
            "bxa",
            id="of its own priority",
        ),
        pytest.param(
            [a_task("a", 40, queued_at_ms=10), a_task("b", 20), a_task("x", 90)],
            "xab",
            id="one that was moved up before",
        ),
    ],
)
def test_moved_up_it_passes_its_owners_others(queue: list[Task], order: str):
    queue = sorted(queue, key=place_of)
    task = next(each for each in queue if each.id == "x")
    moved = moved_up(task, first_of_its_kind(task, queue), NOW)
    after = sorted([*(each for each in queue if each is not task), moved], key=place_of)
    assert "".join(each.id for each in after) == order
    assert moved_up(moved, first_of_its_kind(moved, after), NOW) is moved, "once is enough"


# --- with the whole scheduler --------------------------------------------------------------------------------------


async def prioritizes(play: Play, name: str, priority: int) -> Task:
    asked = SetTaskPriority(task=task_id(name), priority=priority)
    return (await play.scheduler.tasks.actions.set_priority(asked)).task


async def moves_up(play: Play, name: str) -> Task:
    return (await play.scheduler.tasks.actions.move_up(TaskRef(task=task_id(name)))).task


async def queue_of(play: Play, **asked: Any) -> list[str]:
    page = await play.scheduler.tasks.search.search(SearchTasks(order=TaskOrder.QUEUE, **asked))
    return [each.name for each in page.tasks]


async def test_the_first_slot_goes_to_the_highest_priority_then_to_what_was_moved_up():
    async with a_play() as play:
        for name in ("one", "two", "three", "four"):
            await play.commits(name)
        await moves_up(play, "three")
        await prioritizes(play, "four", 1)
        assert await queue_of(play) == ["four", "three", "one", "two"]
        await play.adds("a", FakeNode(slots=2))
        answers = await play.polls("one", "two", "three", "four")
        assert [name for name, each in answers.items() if isinstance(each, Placed)] == ["four", "three"]


async def test_a_place_outlives_the_scheduler_and_a_lost_attempt():
    async with a_play(a=FakeNode()) as play:
        for name in ("one", "two", "three"):
            await play.commits(name)
        await moves_up(play, "two")
        await prioritizes(play, "three", 2)
        await play.starts_up()
        await play.probes()
        assert await queue_of(play) == ["three", "two", "one"]
        placed = await play.is_placed("three")
        await play.reports_failed("three", placed.attempt)
        assert await queue_of(play) == ["three", "two", "one"]


async def test_the_queue_says_why_each_task_is_where_it_is():
    async with a_play() as play:
        await play.scheduler.placement.tenants.set_tenants(
            SetTenants(tenants=(TenantShare(owner=Owner("anne"), name="anne", weight=3, priority=1),))
        )
        await play.commits("annes", owner=Owner("anne"))
        await play.commits("annes too", owner=Owner("anne"))
        await play.commits("berts", owner=Owner("bert"))
        await prioritizes(play, "annes", 2)
        await prioritizes(play, "berts", -1)
        await play.commits("annes third", owner=Owner("anne"))
        await moves_up(play, "annes third")
        page = await play.scheduler.tasks.search.search(SearchTasks(order=TaskOrder.QUEUE))
        assert [(each.name, each.position, each.tenant, each.priority, each.order) for each in page.tasks] == [
            ("annes", 1, "anne", 2, "priority +3 (its own +2), weight 3 of anne"),
            ("annes third", 2, "anne", 0, "priority +1, weight 3 of anne, moved up"),
            ("annes too", 3, "anne", 0, "priority +1, weight 3 of anne"),
            ("berts", 4, "bert", -1, "priority -1"),
        ]
        assert page.total_count == 4


async def test_a_text_is_found_in_the_queue_and_only_there():
    async with a_play(a=FakeNode()) as play:
        for name in ("alpha", "alabama", "beta"):
            await play.commits(name)
        await play.starts("alpha")
        assert await queue_of(play, text="AL") == ["alabama"]
        assert await queue_of(play, offset_count=1, limit_count=5) == ["beta"]


async def test_what_is_changed_is_told_once_and_what_is_not_is_refused():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.commits("two")
        for _ in range(2):
            await prioritizes(play, "two", 4)
            await moves_up(play, "two")
        assert [each.reason for each in play.told("task.prioritized")] == ["from +0 to +4"]
        assert play.told("task.moved_up") == [], "it was the first of its priority"
        await prioritizes(play, "two", 0)
        await moves_up(play, "two")
        assert [each.task for each in play.told("task.moved_up")] == [task_id("two")]
        await play.cancels("two")
        for act in (prioritizes(play, "two", 1), moves_up(play, "two")):
            with pytest.raises(Refused, match="has ended"):
                await act
        for act in (prioritizes(play, "nobody", 1), moves_up(play, "nobody")):
            with pytest.raises(NotFound):
                await act


async def test_what_was_said_of_its_place_is_in_its_console():
    async with a_play() as play:
        await play.commits("one")
        await play.commits("two")
        await moves_up(play, "two")
        await prioritizes(play, "two", 1)
        lines = [line.text for line in play.task("two").timeline]
        assert lines[-2:] == ["An operator has moved it up in the queue", "An operator has set its priority: +1"]
        assert msgspec.structs.asdict(play.task("two"))["priority"] == 1
