"""A machine's life is a table."""

import pytest

from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.statemachine import ImpossibleStep
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.identity.core import digest, machine_name, node_token, prefix, webhook_secret
from clusterodm.services.autoscaler.machine_life.life import TABLE, MachineStep, after, age_ms
from clusterodm.services.autoscaler.planning.core.observation import observed

S = MachineState


def machine(state: MachineState = S.REQUESTED, **more: object) -> Machine:
    return Machine(id=MachineId("m"), provider="test", state=state, requested_at_ms=1, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("step", list(MachineStep))
def test_a_step_that_is_not_in_the_table_is_impossible(state: MachineState, step: MachineStep):
    if (state, step) in TABLE:
        moved = after(machine(state), step, 5, "because")
        assert (moved.state, moved.state_at_ms, moved.reason) == (TABLE[state, step], 5, "because")
    else:
        with pytest.raises(ImpossibleStep):
            after(machine(state), step, 5, "because")


@pytest.mark.parametrize("state", [state for state in S if not state.ended])
def test_every_machine_can_be_stopped_or_is_being_destroyed(state: MachineState):
    assert state is S.DESTROYING or (state, MachineStep.STOP) in TABLE


def test_only_what_was_never_called_ends_without_a_confirmation():
    ends = {state for (state, _), then in TABLE.items() if then.ended}
    assert ends == {S.REQUESTED, S.DESTROYING}


def test_a_machine_that_never_came_up_ends_as_failed():
    broken = after(machine(S.CREATING), MachineStep.STOP, 5, "it did not come up", failure="no room")
    assert after(broken, MachineStep.CONFIRM, 6, "").state is S.FAILED
    assert after(machine(S.DESTROYING), MachineStep.CONFIRM, 6, "").state is S.GONE


def test_the_timeline_says_when_what_happened_and_has_an_end():
    found = machine(S.IDLE)
    for at_ms in range(100):
        found = after(found, MachineStep.TAKE if at_ms % 2 == 0 else MachineStep.EMPTY, at_ms, "x")
    assert (len(found.timeline), found.timeline[-1].text) == (40, "idle: x")


def test_a_machine_costs_from_the_call_until_its_removal_was_taken():
    assert age_ms(machine(), 100) == 0
    assert age_ms(machine(S.CREATING, called_at_ms=10), 100) == 90
    assert age_ms(machine(S.GONE, called_at_ms=10, ended_at_ms=30), 100) == 20
    assert age_ms(machine(S.GONE, called_at_ms=10, ended_at_ms=30, removal_taken_at_ms=25), 100) == 15
    gone = machine(S.GONE, called_at_ms=10, ended_at_ms=30, removal_taken_at_ms=25)
    assert age_ms(after(gone, MachineStep.REAPPEAR, 50, "it is listed"), 100) == 90, "it was not gone"


# --- what is seen of its node --------------------------------------------------------------------------------------


def test_a_task_makes_a_machine_busy_and_its_end_idle():
    busy = observed(machine(S.ONLINE), Load(tasks=(TaskId("t"),)), 10)
    assert (busy.state, busy.tasks) == (S.BUSY, ("t",))
    idle = observed(busy, Load(done=(TaskId("t"),)), 20)
    assert (idle.state, idle.tasks, idle.done) == (S.IDLE, (), ("t",))


def test_a_busy_machine_says_which_tasks_it_has_now():
    first = observed(machine(S.ONLINE), Load(tasks=(TaskId("a"),)), 10)
    both = observed(first, Load(tasks=(TaskId("a"), TaskId("b"))), 20)
    second = observed(both, Load(tasks=(TaskId("b"),), done=(TaskId("a"),)), 30)
    assert [each.reason for each in (first, both, second)] == ["task a", "tasks a, b", "task b"]
    assert (second.state, second.state_at_ms) == (S.BUSY, 10)


def test_a_task_that_came_and_went_unseen_counts():
    seen = observed(machine(S.ONLINE), Load(done=(TaskId("t"),)), 10)
    assert (seen.state, seen.done) == (S.IDLE, ("t",))


def test_a_task_that_never_ran_does_not_count():
    busy = observed(machine(S.ONLINE), Load(tasks=(TaskId("t"),)), 10)
    assert observed(busy, Load(), 20).done == ()


def test_a_drained_machine_stays_so_and_loses_its_tasks():
    seen = observed(machine(S.DRAINING, tasks=(TaskId("t"),)), Load(done=(TaskId("t"),)), 10)
    assert (seen.state, seen.tasks) == (S.DRAINING, ())


def test_a_silent_node_is_noted_once():
    silent = observed(machine(S.ONLINE), Load(online=False), 10)
    assert silent.offline_since_ms == 10
    assert observed(silent, Load(online=False), 20) is silent
    assert observed(silent, Load(), 30).offline_since_ms is None


def test_nothing_new_is_the_same_object():
    known = machine(S.BUSY, tasks=(TaskId("t"),))
    assert observed(known, Load(tasks=(TaskId("t"),)), 10) is known


# --- names and secrets ---------------------------------------------------------------------------------------------


def test_a_name_tells_cluster_and_images():
    assert machine_name("abc", 40, "xyz") == "clusterodm-abc-40-xyz"
    assert machine_name("abc", 40, "xyz").startswith(prefix("abc"))


def test_every_machine_has_secrets_of_its_own():
    key = Secret("key")
    names = [MachineId("a"), MachineId("b")]
    found = {make(key, name).reveal() for name in names for make in (node_token, webhook_secret)}
    assert len(found) == 4
    assert node_token(key, names[0]) == node_token(key, names[0])
    assert digest(webhook_secret(key, names[0])) != webhook_secret(key, names[0]).reveal()
