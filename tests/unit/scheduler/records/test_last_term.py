"""A scheduler under which the store is lost writes again what it knew."""

from clusterodm.libs.common.messages.buckets import NODES, TASKS
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import IncarnationId
from clusterodm.services.scheduler.records.handlers.recovery import BELIEVED_S, LastTerm
from tests.scheduling import FakeNode, Play, a_play

FIRST, SECOND = IncarnationId("first"), IncarnationId("second")


async def remembered(play: Play) -> LastTerm:
    """Have a task that runs and one that waits, remember them, and lose the store."""
    await play.commits("running")
    await play.starts("running")
    await play.commits("waiting")
    memory = LastTerm()
    memory.keep(FIRST, play.scheduler.records)
    await play.loses_the_store()
    return memory


async def test_nodes_and_active_tasks_are_written_into_the_new_store():
    async with a_play(a=FakeNode()) as play:
        memory = await remembered(play)
        await memory.give_back(SECOND, play.scheduler.records)
        await play.starts_up()
        await play.probes()
        assert (play.task("running").state, play.task("waiting").state) == (TaskState.RUNNING, TaskState.WAITING)
        assert play.state_of("a").ours_count == 1


async def test_in_the_same_store_nothing_is_written():
    async with a_play(a=FakeNode()) as play:
        memory = await remembered(play)
        await memory.give_back(FIRST, play.scheduler.records)
        assert not play.has("running")


async def test_where_the_incarnation_cannot_be_read_nothing_is_written():
    async with a_play(a=FakeNode()) as play:
        memory = await remembered(play)
        await memory.give_back(None, play.scheduler.records)
        assert not play.has("running")


async def test_what_the_new_store_knows_counts():
    async with a_play(a=FakeNode()) as play:
        memory = await remembered(play)
        await play.adopts("running")
        await play.adopts("waiting")
        await play.removes("waiting")
        await memory.give_back(SECOND, play.scheduler.records)
        assert play.task("running").state is TaskState.WAITING
        assert not play.has("waiting")


async def test_what_is_old_is_not_believed():
    async with a_play(a=FakeNode()) as play:
        memory = await remembered(play)
        await play.passes(BELIEVED_S + 1)
        await memory.give_back(SECOND, play.scheduler.records)
        assert await (await play.bus.bucket(TASKS)).load() == {}
        assert await (await play.bus.bucket(NODES)).load() == {}


async def test_it_is_given_back_once():
    async with a_play(a=FakeNode()) as play:
        memory = await remembered(play)
        await memory.give_back(SECOND, play.scheduler.records)
        await play.removes("waiting")
        await memory.give_back(IncarnationId("third"), play.scheduler.records)
        assert not play.has("waiting")
