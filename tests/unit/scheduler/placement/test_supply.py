"""A waiting task shows what the autoscaler does for it, or why nothing."""

import pytest

from clusterodm.libs.common.messages.demand import SupplyChanged
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.messages.nodes import AddNode
from clusterodm.libs.common.messages.placement import Waiting
from clusterodm.libs.common.messages.tasks import ListTasks
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.scheduler.placement.core.supply import Supply
from tests.scheduling import NOW, NOW_MS, FakeNode, Play, a_play, task_id

OVER = "over budget: a machine costs 4 per hour, the limit is 3"


def supply(epoch: int = 7, waits: str = "", comes: str = "", name: str = "one") -> SupplyChanged:
    def words(reason: str) -> tuple[TaskWaits, ...]:
        return (TaskWaits(task=task_id(name), reason=reason),) if reason else ()

    return SupplyChanged(at_ms=NOW_MS, epoch=epoch, waits=words(waits), comes=words(comes))


@pytest.mark.parametrize(
    ("told", "later_s", "word"),
    [
        pytest.param([supply(waits=OVER)], 0, f"no machine is started: {OVER}", id="why none"),
        pytest.param([supply(comes="machine a is being created")], 0, "machine a is being created", id="how far"),
        pytest.param([], 0, "", id="nothing was ever told"),
        pytest.param([supply(waits=OVER, name="two")], 0, "", id="of another task"),
        pytest.param([supply(waits=OVER), supply()], 1, "", id="taken back"),
        pytest.param([supply(waits=OVER), supply(8)], 1, "", id="taken back by the next leader"),
        pytest.param(
            [supply(waits=OVER), supply(6)],
            0,
            f"no machine is started: {OVER}",
            id="of one that is no longer the leader",
        ),
        pytest.param([supply(waits=OVER)], 119.9, f"no machine is started: {OVER}", id="still believed"),
        pytest.param([supply(waits=OVER)], 120, "", id="too old: there may be no autoscaler any more"),
    ],
)
def test_the_autoscalers_words_are_believed_while_they_are_fresh(told: list[SupplyChanged], later_s: float, word: str):
    known = Supply()
    for each in told:
        known.take(each, NOW.instant)
    assert known.word(task_id("one"), NOW.instant + later_s) == word


async def hears(play: Play, **words: str) -> None:
    await play.scheduler.placement.placement_loop.take_supply(supply(**words))


async def test_a_waiting_task_shows_the_autoscalers_reason_in_list_and_answer():
    async with a_play(a=FakeNode()) as play:
        await play.locks("a")
        await play.commits("one")
        await hears(play, waits=OVER)
        reason = f"the only node online is locked; no machine is started: {OVER}"
        assert await play.asks("one") == Waiting(position=1, reason=reason)
        listed = (await play.scheduler.tasks.reader.list_tasks(ListTasks())).tasks
        assert [each.reason for each in listed] == [reason]


async def test_news_of_the_autoscaler_become_console_lines_at_once_and_no_line_comes_twice():
    async with a_play(a=FakeNode()) as play:
        await play.locks("a")
        await play.commits("one")
        for word in ("machine m is requested", "machine m is being created", "machine m is being created"):
            await play.passes(3)
            await hears(play, comes=word)
            await play.asks("one")
        why = "Waiting for a node: the only node online is locked"
        assert [moment.text for moment in play.task("one").timeline] == [
            why,
            f"{why}; machine m is requested",
            f"{why}; machine m is being created",
        ]


async def test_reasons_of_nodes_alone_stay_sparse_while_the_autoscaler_says_the_same():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.locks("a")
        await play.locks("b")
        await play.commits("one")
        await play.passes(3)
        await hears(play, waits=OVER)
        await play.asks("one")
        await play.goes_down("b")
        await play.passes(3)
        await hears(play, waits=OVER)
        await play.asks("one")
        assert len(play.task("one").timeline) == 2


# --- machines that are meant for a task ----------------------------------------------------------------------------

ONE, TWO, THREE = task_id("one"), task_id("two"), task_id("three")
A, B = MachineId("machine-a"), MachineId("machine-b")


@pytest.mark.parametrize(
    ("task", "machine", "later_s", "held"),
    [
        pytest.param(ONE, B, 0, True, id="its own is coming, and this is another's"),
        pytest.param(ONE, A, 0, False, id="its own"),
        pytest.param(ONE, None, 0, False, id="no machine at all"),
        pytest.param(ONE, MachineId("machine-c"), 0, False, id="a machine that is nobody's"),
        pytest.param(THREE, B, 0, False, id="for whom none is coming"),
        pytest.param(ONE, B, 120, False, id="too long ago to be believed"),
    ],
)
def test_a_task_whose_machine_is_coming_leaves_those_of_others_alone(
    task: TaskId, machine: MachineId | None, later_s: float, held: bool
):
    known = Supply()
    known.take(SupplyChanged(at_ms=NOW_MS, meant={ONE: A, TWO: B}), NOW.instant)
    assert known.is_for_another(task, machine, NOW.instant + later_s) is held


async def comes(play: Play, name: str, machine: MachineId, limit: int) -> None:
    """Let a machine's node come online."""
    play.api.nodes[name] = FakeNode(limit=limit)
    await play.scheduler.nodes.commands.add(AddNode(hostname=name, port=3000, machine=machine))
    await play.probes()
    await play.sweeps()


async def test_an_older_small_task_does_not_take_the_large_machine_of_another():
    async with a_play() as play:
        await play.commits("one", images=10)
        await play.commits("two", images=400)
        await play.scheduler.placement.placement_loop.take_supply(
            SupplyChanged(at_ms=play.now_ms, meant={ONE: A, TWO: B})
        )
        await comes(play, "b", B, limit=500)
        assert isinstance(await play.asks("one"), Waiting)
        assert (await play.is_placed("two")).node.machine == B
        await comes(play, "a", A, limit=50)
        assert (await play.is_placed("one")).node.machine == A


async def test_a_task_whose_machine_comes_no_more_may_take_any():
    async with a_play() as play:
        await play.commits("one", images=10)
        await play.commits("two", images=400)
        await play.scheduler.placement.placement_loop.take_supply(
            SupplyChanged(at_ms=play.now_ms, meant={ONE: A, TWO: B})
        )
        await comes(play, "b", B, limit=500)
        assert isinstance(await play.asks("one"), Waiting)
        await play.cancels("two")
        await play.passes(1)
        await play.scheduler.placement.placement_loop.take_supply(SupplyChanged(at_ms=play.now_ms))
        assert (await play.is_placed("one")).node.machine == B
