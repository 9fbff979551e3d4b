"""How many parts of a split dataset count as running, and what that does to split-merge's executor (tests/split_merge.py)."""

from itertools import product
from statistics import mean, median

import msgspec
import pytest

from clusterodm.libs.common.messages.demand import SupplyChanged
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.services.scheduler.placement.core.waiting import (
    LEAD_COUNT,
    LEAST_WAIT_S,
    LONGEST_WAIT_S,
    is_beyond,
    longest_wait_s,
)
from tests.scheduling import FakeNode, Play, a_play, task_id
from tests.split_merge import STEP_S, Behind, Direct, Executor, Times


async def sends(play: Play, name: str) -> Task:
    return await play.commits(name, submodel=True)


async def test_as_many_count_as_there_are_slots_and_one_more():
    async with a_play(a=FakeNode(slots=2)) as play:
        assert [(await sends(play, str(number))).beyond for number in range(5)] == [False] * 3 + [True] * 2
        first = play.task("0")
        assert len(first.timeline) == 3
        assert len(play.task("4").timeline) == 1


async def test_slots_that_others_use_or_wait_for_are_no_room():
    async with a_play(a=FakeNode(slots=2)) as play:
        await play.commits("whole")
        await play.starts("whole")
        await play.commits("another")
        assert [(await sends(play, str(number))).beyond for number in range(2)] == [False, True]


async def test_one_that_has_ended_makes_room():
    async with a_play(a=FakeNode()) as play:
        for name in ("0", "1"):
            await sends(play, name)
        await play.cancels("0")
        assert not (await sends(play, "2")).beyond
        assert (await sends(play, "3")).beyond


async def test_one_that_has_waited_for_as_long_as_its_upload_took_counts_no_more():
    async with a_play(a=FakeNode()) as play:
        await sends(play, "runs")
        await play.starts("runs")
        await sends(play, "waits")
        await play.passes(2)
        await play.scheduler.placement.explainer.explain()
        assert not play.task("waits").beyond
        await play.passes(LEAST_WAIT_S)
        await play.scheduler.placement.explainer.explain()
        assert play.task("waits").beyond
        assert play.task("waits").state is TaskState.WAITING


async def test_where_machines_come_there_is_room_until_one_is_refused():
    async with a_play() as play:
        await play.scheduler.placement.placement_loop.take_supply(SupplyChanged(at_ms=1))
        assert [(await sends(play, str(number))).beyond for number in range(4)] == [False] * 4
        no = SupplyChanged(at_ms=2, waits=(TaskWaits(task=task_id("3"), reason="the limit is reached"),))
        await play.scheduler.placement.placement_loop.take_supply(no)
        assert (await sends(play, "4")).beyond


@pytest.mark.parametrize(("upload_ms", "expected_s"), [(0, LEAST_WAIT_S), (20_000, 20), (10**7, LONGEST_WAIT_S)])
async def test_the_longest_wait_is_what_the_upload_took_within_bounds(upload_ms: int, expected_s: float):
    async with a_play(a=FakeNode()) as play:
        task = await sends(play, "0")
        slow = msgspec.structs.replace(task, committed_at_ms=task.created_at_ms + upload_ms)
        assert longest_wait_s(slow) == expected_s


# --- what it does to the executor ----------------------------------------------------------------------------------


def behind(slots_count: int, times: Times) -> float:
    rule = Behind(slots_count, times, is_beyond, max(LEAST_WAIT_S, times.upload_s))
    return Executor(rule, times).makespan_s()


@pytest.mark.parametrize("slots_count", [1, 2, 4])
def test_eight_parts_take_no_longer_through_a_cluster_than_directly(slots_count: int):
    times = Times()
    assert behind(slots_count, times) <= Executor(Direct(slots_count, times), times).makespan_s() + STEP_S


def test_over_many_kinds_of_runs_half_of_them_take_no_longer():
    kinds = [
        (slots_count, Times(local_s=local_s, remote_s=remote_s, upload_s=upload_s, forward_s=upload_s / 4))
        for slots_count, local_s, remote_s, upload_s in product(
            (1, 2, 4), (2.0, 10.0, 40.0), (2.0, 10.0, 40.0), (0.5, 2.0)
        )
    ]
    ratios = [behind(slots, times) / Executor(Direct(slots, times), times).makespan_s() for slots, times in kinds]
    assert median(ratios) <= 1.01
    assert mean(ratios) <= 1.05


def test_if_none_were_ever_queued_it_would_take_much_longer():
    times = Times(local_s=2.0, remote_s=10.0)
    never = Executor(Behind(1, times, lambda _taken, _slots: False), times).makespan_s()
    assert behind(1, times) * 2 < never
    assert LEAD_COUNT == 1
