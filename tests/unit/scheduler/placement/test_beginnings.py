"""Who is told RUNNING at its commit is not told QUEUED before a slot was found for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clusterodm.libs.common.messages.from_url import ClaimTask, SubmitFromUrl
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, settings, task_id

X, Y = Owner("x"), Owner("y")
OTHER = InstanceId("proxy-2")


def is_queued(task: Task) -> bool:
    """As polls say it (clusterodm.services.proxy.polling.core.task_info)."""
    return task.state is TaskState.WAITING and bool(task.waiting_because)


async def while_one_begins(play: Play) -> None:
    await play.commits("one", owner=X)


async def while_one_has_its_slot(play: Play) -> None:
    await play.commits("one", owner=X)
    assert "one" in await play.polls(places=1)


async def while_one_begins_where_another_has_been(play: Play) -> None:
    await play.commits("before")
    await play.polls(places=1)
    await play.cancels("before")
    await play.passes(3)
    await play.commits("one", owner=X)


@pytest.mark.parametrize(
    ("before", "chosen", "slots_count", "second", "queued"),
    [
        pytest.param(while_one_begins, {}, 1, {}, True, id="the slot is for the one before it"),
        pytest.param(while_one_begins, {}, 2, {}, False, id="there is another slot"),
        pytest.param(
            while_one_begins, {"tasks_per_owner_count": 1}, 2, {"owner": X}, True, id="its user may have no more"
        ),
        pytest.param(while_one_begins, {"tasks_per_owner_count": 1}, 2, {"owner": Y}, False, id="another user may"),
        pytest.param(while_one_has_its_slot, {}, 2, {}, True, id="its proxy sends no more at once"),
        pytest.param(while_one_begins_where_another_has_been, {}, 2, {}, True, id="its proxy is to send another first"),
        pytest.param(while_one_has_its_slot, {}, 2, {"upload_owner": OTHER}, False, id="another proxy sends nothing"),
    ],
)
async def test_a_task_is_queued_from_its_commit_on_or_not_before_it_has_begun(
    before: Callable[[Play], Awaitable[None]], chosen: dict[str, Any], slots_count: int, second: Any, queued: bool
):
    async with a_play(chosen=settings(**chosen), a=FakeNode(slots=slots_count)) as play:
        await before(play)
        await play.commits("two", **second)
        assert is_queued(play.task("two")) is queued
        await play.passes(3)
        assert is_queued(play.task("two")) is queued
        assert not is_queued(play.task("one"))


async def test_of_tasks_that_come_in_the_same_moment_as_many_begin_as_there_are_slots():
    async with a_play(a=FakeNode(slots=2)) as play:
        made = await asyncio.gather(*(play.commits(name) for name in ("one", "two", "three", "four")))
        assert [is_queued(task) for task in made] == [False, False, True, True]


async def test_a_task_that_did_not_come_keeps_nothing_from_others():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.removes("one")
        assert not is_queued(await play.commits("two"))


async def test_what_runs_again_from_its_inputs_is_queued_until_it_has_a_slot():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.cancels("one")
        assert is_queued(await play.restarts("one"))
        await play.is_placed("one")
        assert not is_queued(play.task("one"))


async def test_who_was_told_queued_stays_so_when_a_proxy_takes_its_task_up():
    async with a_play() as play:
        asked = SubmitFromUrl(task=task_id("one"), name="one", zip_url="https://photos.example/field.zip")
        await play.scheduler.tasks.submit.submit_from_url(asked)
        assert is_queued(play.task("one"))
        await play.scheduler.tasks.submit.claim(ClaimTask(task=task_id("one"), upload_owner=UPLOAD_OWNER))
        assert is_queued(play.task("one"))
