"""A machine's life as a table: state and step give the next state, and nothing else is possible.

    requested ──begin──▶ creating ──created──▶ setting-up ──ready──▶ online ──take──▶ busy ◀──take── idle
        │                   │                      │                   │               │ └─empty──▶   │
      cancel               stop                   stop           drain, stop     drain, stop     drain, stop
        ▼                   ▼                      ▼                   ▼               ▼              ▼
      gone              destroying             destroying          draining ──empty, stop──▶ destroying
                                                                                                 │ confirm
                                                                              gone, or failed ◀──┘
                                                           (gone, failed) ──reappear──▶ destroying

The record is written with the new state *before* the work of that state is done, and the work of every state may be done
twice. So after a crash the next start reads the records and does the work of the states that it finds:

    requested    nothing was called: begin
    creating     ask the provider whether it has the machine: go on with it, or destroy what may be there
    setting-up   set it up again (each part looks whether it is done), wait for the node, register it
    destroying   remove the node, destroy, until the provider confirms. What its creation has failed with (`failure`,
                 `trouble`) and what its removal fails with (`removal_failure`, `removal_trouble`) are kept apart
    all others   nothing: they change by what is observed

A machine is billed by the time that it exists, by started minutes or hours, and for a least time:

    billed_unit_ms   started units are billed whole (`billing`); 0: what is used
    billed_least_ms  so much is billed however short it was (`billingMinimum`)

What is billed already costs nothing more, so an idle machine stays until shortly before its paid time is over (`leaves_paid_time`). What
is counted here is what budgets, lists and the simulation count: there is no second place that rounds.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import Moment
from clusterodm.libs.common.statemachine import StateTable

TIMELINE_COUNT: Final = 40
S = MachineState
LEAVE_MS: Final = 120_000
"""A machine is destroyed so long before its paid time is over: the provider has to have it gone by then."""
LEAVE_PART: Final = 6
"""And for short units no longer than this part of a unit."""


class MachineStep(StrEnum):
    """What happens to a machine."""

    BEGIN = "begin"
    """The provider is about to be called."""
    CANCEL = "cancel"
    """It is not wanted any more, and nobody was called."""
    CREATED = "created"
    READY = "ready"
    """Its node answers and is registered."""
    TAKE = "take"
    """A task is on it."""
    EMPTY = "empty"
    """No task is on it any more."""
    DRAIN = "drain"
    STOP = "stop"
    """It is to be destroyed, for whatever reason."""
    CONFIRM = "confirm"
    """The provider says that nothing of it is left."""
    REAPPEAR = "reappear"
    """The provider lists it although it has ended."""


TABLE: Final[StateTable[MachineState, MachineStep, MachineState]] = StateTable(
    {
        (S.REQUESTED, MachineStep.BEGIN): S.CREATING,
        (S.REQUESTED, MachineStep.CANCEL): S.GONE,
        (S.REQUESTED, MachineStep.STOP): S.GONE,
        (S.CREATING, MachineStep.CREATED): S.SETTING_UP,
        (S.CREATING, MachineStep.STOP): S.DESTROYING,
        (S.SETTING_UP, MachineStep.READY): S.ONLINE,
        (S.SETTING_UP, MachineStep.STOP): S.DESTROYING,
        (S.ONLINE, MachineStep.TAKE): S.BUSY,
        (S.ONLINE, MachineStep.DRAIN): S.DRAINING,
        (S.ONLINE, MachineStep.STOP): S.DESTROYING,
        (S.BUSY, MachineStep.EMPTY): S.IDLE,
        (S.BUSY, MachineStep.DRAIN): S.DRAINING,
        (S.BUSY, MachineStep.STOP): S.DESTROYING,
        (S.IDLE, MachineStep.TAKE): S.BUSY,
        (S.IDLE, MachineStep.DRAIN): S.DRAINING,
        (S.IDLE, MachineStep.STOP): S.DESTROYING,
        (S.DRAINING, MachineStep.EMPTY): S.DESTROYING,
        (S.DRAINING, MachineStep.STOP): S.DESTROYING,
        (S.DESTROYING, MachineStep.CONFIRM): S.GONE,
        (S.GONE, MachineStep.REAPPEAR): S.DESTROYING,
        (S.FAILED, MachineStep.REAPPEAR): S.DESTROYING,
    }
)


def possible(state: MachineState, step: MachineStep) -> bool:
    """Whether the table has this step."""
    return (state, step) in TABLE


def after(machine: Machine, step: MachineStep, now_ms: WallMs, reason: str, **facts: Any) -> Machine:
    """Take a step: the machine as it is to be written. Raises ImpossibleStep."""
    state = TABLE.after(machine.state, step, repr(machine))
    failure = facts.get("failure", machine.failure)
    if state is S.GONE and failure:
        state = S.FAILED
    moment = Moment(at_ms=now_ms, text=f"{state}: {reason}" if reason else str(state))
    return msgspec.structs.replace(
        machine,
        state=state,
        state_at_ms=now_ms,
        reason=reason,
        ended_at_ms=now_ms if state.ended else None,
        timeline=(*machine.timeline, moment)[-TIMELINE_COUNT:],
        **{"removal_taken_at_ms": None, **facts},
    )


def may_exist(machine: Machine) -> bool:
    """Whether the provider may have anything of it: not when it said itself that nothing has come of the creation.

    A machine that was seen exists whatever its creation has said; a failed try to destroy it says nothing either way.
    """
    if not machine.failure or machine.created_at_ms is not None or machine.seen_at_ms:
        return True
    return machine.may_be_left or machine.trouble == Trouble.UNKNOWN_OUTCOME


def came_to_nothing(machine: Machine) -> bool:
    """Whether nobody has ever seen anything of it, now that it has ended."""
    return machine.created_at_ms is None and not machine.seen_at_ms


def age_ms(machine: Machine, now_ms: WallMs) -> int:
    """How long it has cost money so far; 0 when the provider was never called, or nothing came of it."""
    return 0 if machine.never_was else used_ms(machine, now_ms)


# --- its bill --------------------------------------------------------------------------------------------------------


def used_ms(machine: Machine, now_ms: WallMs | int) -> int:
    """Say how long a machine has been used: from the call of its provider until that has taken its removal, or, where that is not known, it has ended."""
    if machine.called_at_ms is None:
        return 0
    return max(0, (machine.removal_taken_at_ms or machine.ended_at_ms or now_ms) - machine.called_at_ms)


def billed_ms(machine: Machine, now_ms: WallMs | int) -> int:
    """Say how much time of a machine has been billed by now; 0 when the provider was never called, or nothing came of it."""
    if machine.called_at_ms is None or machine.never_was:
        return 0
    used = used_ms(machine, now_ms)
    if not machine.billed_unit_ms:
        return max(used, machine.billed_least_ms)
    units_count = -(-max(used, machine.billed_least_ms, 1) // machine.billed_unit_ms)
    return units_count * machine.billed_unit_ms


def paid_ms(machine: Machine, now_ms: WallMs) -> int:
    """Say how much time is left of what has been billed; 0: every moment costs."""
    if machine.called_at_ms is None:
        return 0
    return max(0, machine.called_at_ms + billed_ms(machine, now_ms) - now_ms)


def leaves_paid_time(machine: Machine, now_ms: WallMs) -> bool:
    """Whether a machine that nobody needs would still be there for nothing, and may stay."""
    return paid_ms(machine, now_ms) > min(LEAVE_MS, machine.billed_unit_ms // LEAVE_PART)
