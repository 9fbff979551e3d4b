"""What waiting tasks are told of the machines that come for them."""

import pytest

from libs.common.messages import WaitingTask
from libs.common.model import Machine, MachineId, MachineState, TaskId
from services.autoscaler.core.configuration import Limits
from services.autoscaler.core.history import History
from services.autoscaler.core.offers import Size
from services.autoscaler.core.planning import View, plan

NOW = 1_000_000_000
S = MachineState
LIMITS = Limits(sizes=(Size(slug="small", max_images=50),), machines_count=2)


def machine(name: str, state: MachineState, for_task: str | None, max_images: int = 50) -> Machine:
    task = TaskId(for_task) if for_task else None
    return Machine(
        id=MachineId(name), state=state, provider="test", size="small", max_images=max_images, for_task=task,
        requested_at_ms=NOW, state_at_ms=NOW,
    )  # fmt: skip


def told(machines: list[Machine], *tasks: str) -> dict[str, str]:
    waiting = [WaitingTask(task=TaskId(name), images_count=10) for name in tasks]
    found = plan(LIMITS, View(now_ms=NOW, machines=machines, history=History(machines), waiting=waiting, loads={}))
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
