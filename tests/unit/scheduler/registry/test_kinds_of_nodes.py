"""Nodes with a graphics card, and on spot machines: who goes there, and who does not."""

from typing import Any

import pytest

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.nodes import AddNode, LoseNode
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId
from clusterodm.services.scheduler.demand.core import demand_of
from clusterodm.services.scheduler.task_life.attempts import INTERRUPTIONS_COUNT
from tests.scheduling import NOW, FakeNode, Play, a_play, settings

GPU = {"labels": ("gpu",)}
SIFT = (OptionValue("feature-type", "sift"),)
WITH_GPU = settings(gpu_options="feature-type=sift")


def spot(limit: int = 1) -> dict[str, Any]:
    return {"spot": True, "interruptions_limit_count": limit}


async def comes(play: Play, name: str, **more: Any) -> None:
    play.api.nodes[name] = FakeNode()
    machine = MachineId(f"machine-{name}")
    await play.scheduler.nodes.commands.add(AddNode(hostname=name, port=3000, machine=machine, **more))
    await play.probes()


async def goes(play: Play, name: str, *, interrupted: bool = True) -> None:
    request = LoseNode(node=NodeId(f"{name}-3000"), machine=None, reason="spot interruption", interrupted=interrupted)
    await play.scheduler.nodes.failures.lose(request)


async def test_a_task_that_asks_for_a_graphics_card_goes_nowhere_else():
    async with a_play(chosen=WITH_GPU, plain=FakeNode(slots=4)) as play:
        await play.commits("one", options=SIFT)
        assert play.task("one").gpu
        assert "no node has a graphics card" in (await play.asks("one")).reason  # type: ignore[union-attr]
        await comes(play, "card", **GPU)
        placed = await play.starts("one")
        assert placed.node.hostname == "card"


async def test_others_leave_a_node_with_a_card_alone_while_there_is_another():
    async with a_play(chosen=WITH_GPU) as play:
        await comes(play, "card", **GPU)
        await comes(play, "plain")
        await play.commits("one")
        assert (await play.starts("one")).node.hostname == "plain"
        await play.commits("two")
        assert (await play.starts("two")).node.hostname == "card"


async def test_without_the_setting_nobody_asks():
    async with a_play(plain=FakeNode()) as play:
        await play.commits("one", options=SIFT)
        assert (await play.starts("one")).node.hostname == "plain"


async def test_demand_says_what_a_machine_has_to_have():
    async with a_play(chosen=WITH_GPU, plain=FakeNode()) as play:
        await play.commits("one", options=SIFT)
        (waiting,) = demand_of(play.scheduler.state, NOW).waiting
        assert waiting.gpu


async def test_an_interruption_does_not_count_and_the_task_waits_for_a_machine_that_stays():
    async with a_play() as play:
        await comes(play, "spot", **spot())
        await play.commits("one")
        await play.starts("one")
        await goes(play, "spot")
        (attempt,) = play.task("one").attempts
        assert (attempt.interrupted, attempt.counted, attempt.fatal) == (True, False, False)
        await comes(play, "again", **spot())
        await play.passes(2)
        assert "its machine was taken away" in (await play.asks("one")).reason  # type: ignore[union-attr]
        (waiting,) = demand_of(play.scheduler.state, NOW).waiting
        assert waiting.interruptions_count == 1
        await comes(play, "stays")
        assert (await play.starts("one")).node.hostname == "stays"


async def test_a_spot_machine_without_a_limit_takes_whom_it_has_lost_before():
    async with a_play() as play:
        await comes(play, "spot", **spot(0))
        await play.commits("one")
        await play.starts("one")
        await goes(play, "spot")
        await comes(play, "again", **spot(0))
        await play.passes(2)
        assert (await play.starts("one")).node.hostname == "again"


async def test_what_was_destroyed_on_purpose_counts():
    async with a_play() as play:
        await comes(play, "spot", **spot())
        await play.commits("one")
        await play.starts("one")
        await goes(play, "spot", interrupted=False)
        (attempt,) = play.task("one").attempts
        assert (attempt.interrupted, attempt.counted) == (False, True)


async def test_a_task_does_not_go_round_on_spot_machines_for_ever():
    async with a_play(chosen=settings(max_attempts=1)) as play:
        await play.commits("one")
        for number in range(INTERRUPTIONS_COUNT + 1):
            assert play.task("one").state is TaskState.WAITING
            await comes(play, f"n{number}", **spot(0))
            await play.passes(61)
            await play.starts("one")
            await goes(play, f"n{number}")
        assert play.task("one").state is TaskState.FAILED


async def test_a_spot_machine_that_falls_silent_was_taken_away():
    async with a_play() as play:
        await comes(play, "spot", **spot())
        await play.commits("one")
        await play.starts("one")
        await play.goes_down("spot")
        await play.passes(130)
        await play.scheduler.nodes.failures.check()
        (attempt,) = play.task("one").attempts
        assert (attempt.interrupted, attempt.counted) == (True, False)


@pytest.mark.parametrize("name", ["nobody"])
async def test_a_node_that_is_not_there_is_lost_by_nobody(name: str):
    async with a_play() as play:
        with pytest.raises(NotFound):
            await goes(play, name)
