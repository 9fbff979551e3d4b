"""What waiting tasks are told of the machines that come for them."""

from uuid import UUID

import msgspec
import pytest

from clusterodm.libs.common.messages.demand import SupplyChanged, WaitingTask
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.plan import plan
from clusterodm.services.autoscaler.planning.core.supply import clipped
from clusterodm.services.autoscaler.planning.handlers.planner import has_changed

NOW = 1_000_000_000
S = MachineState
LIMITS = ScalingLimits(sizes=(Size(slug="small", max_images=50),), machines_count=2)


def machine(name: str, state: MachineState, for_task: str | None, max_images: int = 50) -> Machine:
    task = TaskId(for_task) if for_task else None
    return Machine(
        id=MachineId(name), state=state, provider="test", size="small", max_images=max_images, for_task=task,
        requested_at_ms=NOW, state_at_ms=NOW,
    )  # fmt: skip


def told(machines: list[Machine], *tasks: str) -> dict[str, str]:
    waiting = [WaitingTask(task=TaskId(name), images_count=10) for name in tasks]
    found = plan(
        LIMITS, PlanInput(now_ms=NOW, machines=machines, history=MachineHistory(machines), waiting=waiting, loads={})
    )
    return {each.task: each.reason for each in (*found.comes, *found.waits)}


@pytest.mark.parametrize(
    ("state", "for_task", "words"),
    [
        pytest.param(S.REQUESTED, "t1", "machine a is requested", id="written down"),
        pytest.param(S.CREATING, "t1", "machine a is being created", id="the provider is at it"),
        pytest.param(S.SETTING_UP, "t1", "machine a is being set up", id="it starts"),
        pytest.param(S.ONLINE, "t1", "machine a is ready", id="it is there"),
        pytest.param(S.CREATING, "t9", "a machine is on its way", id="another task's machine"),
        pytest.param(S.IDLE, None, "a machine is free", id="of the warm pool"),
    ],
)
def test_a_task_is_told_how_far_its_machine_is(state: MachineState, for_task: str | None, words: str):
    assert told([machine("a", state, for_task)], "t1") == {"t1": words}


def test_a_task_is_told_of_its_own_machine_whichever_it_was_matched_with():
    machines = [machine("a", S.CREATING, "t2"), machine("b", S.CREATING, "t1")]
    assert told(machines, "t1", "t2") == {"t1": "machine b is being created", "t2": "machine a is being created"}


def test_a_task_for_which_there_is_no_machine_is_told_why():
    machines = [machine("a", S.CREATING, "t1"), machine("b", S.BUSY, None)]
    assert told(machines, "t1", "t2") == {
        "t1": "machine a is being created",
        "t2": "the limit of 2 machines is reached",
    }


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        pytest.param("short", "short", id="short"),
        pytest.param("x" * 200, "x" * 200, id="just fits"),
        pytest.param("x" * 300, "x" * 197 + "…", id="too long"),
        pytest.param("ä" * 300, "ä" * 98 + "…", id="in bytes, and no sign in two"),
        pytest.param(
            f"no machine ({'x' * 300}); next try at 13:47:20 UTC",
            f"no machine ({'x' * 159}…; next try at 13:47:20 UTC",
            id="its end stays",
        ),
    ],
)
def test_a_reason_is_cut_so_that_all_fit_one_message(reason: str, told: str):
    (found,) = clipped([TaskWaits(task=TaskId("t"), reason=reason)])
    assert found.reason == told
    assert len(found.reason.encode()) <= 200


def test_the_longest_supply_fits_one_message():
    waits = clipped(TaskWaits(task=TaskId(str(UUID(int=number))), reason="ä" * 5000) for number in range(2000))
    assert len(msgspec.json.encode(SupplyChanged(at_ms=NOW, waits=waits))) < 1024 * 1024


@pytest.mark.parametrize(
    ("state", "for_task", "told"),
    [
        pytest.param(S.CREATING, "t1", {"t1": "a"}, id="on its way"),
        pytest.param(S.ONLINE, "t1", {"t1": "a"}, id="there and free"),
        pytest.param(S.BUSY, "t1", {}, id="taken"),
        pytest.param(S.ONLINE, "t9", {}, id="its task does not wait any more"),
        pytest.param(S.ONLINE, None, {}, id="of the warm pool"),
    ],
)
def test_a_machine_is_meant_for_the_waiting_task_that_it_was_requested_for(
    state: MachineState, for_task: str | None, told: dict[str, str]
):
    waiting = [WaitingTask(task=TaskId("t1"), images_count=10)]
    known = [machine("a", state, for_task)]
    view = PlanInput(now_ms=NOW, machines=known, history=MachineHistory(known), waiting=waiting, loads={})
    assert plan(LIMITS, view).meant == told


TOLD = SupplyChanged(at_ms=NOW, coming_count=1)


@pytest.mark.parametrize(
    ("told", "now", "silent_s", "is_changed"),
    [
        pytest.param(None, TOLD, 0, True, id="nothing was told yet"),
        pytest.param(TOLD, SupplyChanged(at_ms=NOW + 29_999, coming_count=1), 29.9, False, id="the same"),
        pytest.param(TOLD, SupplyChanged(at_ms=NOW + 1, coming_count=2), 0, True, id="something else"),
        pytest.param(
            TOLD, SupplyChanged(at_ms=NOW - 7_200_000, coming_count=1), 30, True, id="before it is no longer believed"
        ),
    ],
)
def test_supply_is_told_when_it_is_news_and_before_it_grows_old(
    told: SupplyChanged | None, now: SupplyChanged, silent_s: float, is_changed: bool
):
    assert has_changed(told, now, silent_s) is is_changed
