"""How many tasks of one owner may be under way; what goes beyond waits and is never lost."""

from clusterodm.libs.common.messages.placement import Waiting
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import Owner
from clusterodm.services.scheduler.demand.core import demand_of
from tests.scheduling import FakeNode, a_play, settings, task_id

X, Y = Owner("x"), Owner("y")


async def test_what_goes_beyond_the_limit_waits_and_others_pass():
    async with a_play(chosen=settings(tasks_per_owner_count=1), a=FakeNode(slots=3)) as play:
        await play.commits("one", owner=X)
        await play.commits("two", owner=X)
        await play.commits("three", owner=Y)
        first = await play.starts("one")
        answer = await play.asks("two")
        assert isinstance(answer, Waiting)
        assert answer.reason == "1 task of this user is under way already (limit 1)"
        await play.starts("three")
        play.node("a").finishes(first.node_task_id)
        await play.looks()
        await play.starts("two")
        assert play.task("two").state is TaskState.RUNNING


async def test_of_an_owner_s_tasks_no_more_are_placed_at_once_than_may_be_under_way():
    async with a_play(chosen=settings(tasks_per_owner_count=1), a=FakeNode(slots=3)) as play:
        await play.commits("one", owner=X)
        await play.commits("two", owner=X)
        assert list(await play.polls()) == ["one"]
        await play.cancels("one")
        assert list(await play.polls()) == ["two"]


async def test_without_a_limit_nobody_waits_for_it():
    async with a_play(a=FakeNode(slots=3)) as play:
        for name in ("one", "two", "three"):
            await play.commits(name, owner=X)
            await play.starts(name)


async def test_no_machine_is_wanted_for_what_its_owner_may_not_begin():
    async with a_play(chosen=settings(tasks_per_owner_count=2)) as play:
        for name in ("one", "two", "three", "four"):
            await play.commits(name, owner=X)
        await play.commits("five", owner=Y)
        demand = demand_of(play.scheduler.state, play.now)
        assert [waiting.task for waiting in demand.waiting] == [task_id(name) for name in ("one", "two", "five")]
        assert demand.waiting_count == 3


async def test_the_limit_holds_after_a_restart():
    async with a_play(chosen=settings(tasks_per_owner_count=1), a=FakeNode(slots=3)) as play:
        await play.commits("one", owner=X)
        await play.commits("two", owner=X)
        await play.starts("one")
        await play.starts_up()
        await play.probes()
        assert isinstance(await play.asks("two"), Waiting)
