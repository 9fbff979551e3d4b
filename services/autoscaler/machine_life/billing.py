"""For how long a machine is billed: by the time that it exists, by started minutes or hours, and a least time.

    billed_unit_ms   started units are billed whole (`billing`); 0: what is used
    billed_least_ms  so much is billed however short it was (`billingMinimum`)

What is billed already costs nothing more, so an idle machine stays until shortly before its paid time is over (`leaves_paid_time`). What
is counted here is what budgets, lists and the simulation count: there is no second place that rounds.
"""

from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine

LEAVE_MS: Final = 120_000
"""A machine is destroyed so long before its paid time is over: the provider has to have it gone by then."""
LEAVE_PART: Final = 6
"""And for short units no longer than this part of a unit."""


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
