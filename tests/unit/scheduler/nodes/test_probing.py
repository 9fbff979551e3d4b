"""How nodes are asked while the scheduler runs, and which of their words are told on."""

from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.messages.buckets import SUMMARY, SUMMARY_KEY
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.nodes import NodeInfo
from clusterodm.libs.common.process.loops import background
from clusterodm.services.scheduler.demand.core import summary_changed
from clusterodm.services.scheduler.registry.node_state import is_other
from tests.scheduling import GIGABYTE, FakeNode, Play, a_play, settings
from tests.waiting import until

TOLD = ClusterSummary(nodes_count=2, online_count=2, total_memory_bytes=1000, available_memory_bytes=500)


async def turn(play: Play, *names: str) -> None:
    """Let the time pass in which each of these has its turn once."""
    counts = [play.api.turns_count[name] for name in names]
    play.clock.pass_s(play.settings.probe_every_s * 1.2)
    await until(
        lambda: all(play.api.turns_count[name] > count for name, count in zip(names, counts, strict=True)),
        what="each to have its turn",
    )


async def test_a_node_that_goes_is_offline_after_two_turns_and_back_after_one():
    async with a_play(a=FakeNode(), b=FakeNode()) as play, background(play.scheduler.nodes.prober.run, "probe"):
        await until(lambda: play.api.turns_count["a"] > 0)
        state = play.state_of("a")
        play.node("a").up = False
        await turn(play, "a", "b")
        assert (state.online, state.misses_count) == (True, 1)
        await turn(play, "a", "b")
        assert not state.online
        assert play.state_of("b").online
        play.node("a").up = True
        await turn(play, "a", "b")
        assert state.online


async def test_a_removed_node_that_is_gone_is_asked_seldom_and_hears_in_the_end_what_it_has_to_be_told():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.adds("b", FakeNode())
        await play.goes_down("a")
        await play.removes("one")
        await play.takes_off("a")
        play.clock.pass_s(3600)
        async with background(play.scheduler.nodes.prober.run, "probe"):
            await until(lambda: play.api.turns_count["a"] > 0)
            for _ in range(3):
                await turn(play, "b")
            assert play.api.turns_count["a"] == 1
            play.node("a").up = True
            play.clock.pass_s(3600)
            await until(lambda: play.state_of("a").online)
        await play.passes(1)
        assert placed.node_task_id not in play.node("a").tasks


async def test_not_more_nodes_are_asked_at_once_than_may_be_and_all_have_their_turn():
    names = [f"n{number}" for number in range(7)]
    fakes = {name: FakeNode() for name in names}
    async with a_play(chosen=settings(probes_at_once_count=2), **fakes) as play:
        async with background(play.scheduler.nodes.prober.run, "probe"):
            await until(lambda: all(play.api.turns_count[name] for name in names))
        assert max(play.api.rounds) == 2


async def test_the_nodes_of_a_round_that_fails_are_asked_again():
    async with a_play(a=FakeNode()) as play:
        play.api.breaks_next = True
        async with background(play.scheduler.nodes.prober.run, "probe"):
            await until(lambda: not play.api.breaks_next)
            play.clock.pass_s(play.settings.probe_every_s * 1.2)
            await until(lambda: play.api.turns_count["a"] > 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"available_memory_bytes": 509}, False, id="a little memory was given back"),
        pytest.param({"available_memory_bytes": 489}, True, id="much memory is used"),
        pytest.param({"online_count": 1}, True, id="a node is offline"),
        pytest.param({"task_queue_count": 1, "available_memory_bytes": 501}, True, id="a task"),
    ],
)
def test_totals_are_news_when_more_has_changed_than_a_little_memory(changes: dict[str, Any], *, expected: bool):
    assert summary_changed(TOLD, msgspec.structs.replace(TOLD, **changes)) is expected


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(None, NodeInfo(), True, id="the first word"),
        pytest.param(NodeInfo(available_memory=1), NodeInfo(available_memory=2), False, id="memory"),
        pytest.param(NodeInfo(), NodeInfo(task_queue_count=1), True, id="a task"),
    ],
)
def test_a_node_says_something_else_when_it_is_not_memory_alone(
    before: NodeInfo | None, now: NodeInfo, *, expected: bool
):
    assert is_other(before, now) is expected


async def test_memory_that_has_moved_is_told_within_seconds_and_a_little_of_it_is_not():
    async with a_play(a=FakeNode()) as play:
        bucket = await play.bus.bucket(SUMMARY)
        await play.scheduler.totals.publish()
        first = await bucket.get(SUMMARY_KEY)
        play.node("a").used += GIGABYTE // 100
        await play.probes()
        await play.scheduler.totals.publish()
        assert await bucket.get(SUMMARY_KEY) == first
        play.node("a").used += GIGABYTE
        await play.probes()
        await play.scheduler.totals.publish()
        assert await bucket.get(SUMMARY_KEY) != first
