"""The plain computation of what `machine_life/history.py` keeps as it goes: every question answered from all records there are."""

from collections.abc import Sequence
from math import ceil

from clusterodm.libs.common.model.machines import Machine
from clusterodm.services.autoscaler.machine_life.history import DAY_MS, LASTING, OPEN_AGAIN_COUNT, failed_ms, rate_of


def in_order(machines: Sequence[Machine]) -> list[Machine]:
    return sorted(machines, key=lambda machine: (machine.requested_at_ms, machine.id))


def failures(machines: Sequence[Machine]) -> list[Machine]:
    """Those that nothing has made good."""
    created_ms = max((machine.created_at_ms or 0 for machine in machines), default=0)
    online_ms = max((machine.online_at_ms or 0 for machine in machines), default=0)
    tried_ms = max((machine.requested_at_ms for machine in machines if machine.created_at_ms is not None), default=0)

    def made_good(machine: Machine) -> bool:
        if machine.trouble in LASTING:
            return tried_ms >= failed_ms(machine)
        return failed_ms(machine) <= (online_ms if machine.created_at_ms else created_ms)

    return [machine for machine in in_order(machines) if machine.failure and not made_good(machine)]


def room(machines: Sequence[Machine]) -> int | None:
    """How many may be tried at once."""
    refused_ms = max((failed_ms(machine) for machine in machines if machine.trouble in LASTING), default=None)
    if refused_ms is None:
        return None
    come = sum(machine.created_at_ms is not None and machine.requested_at_ms >= refused_ms for machine in machines)
    return None if come >= OPEN_AGAIN_COUNT else max(1, 2 * come)


def memories(machines: Sequence[Machine]) -> dict[str, int]:
    """How much memory each size has."""
    return {machine.size: machine.memory_bytes for machine in in_order(machines) if machine.memory_bytes}


def spent(machines: Sequence[Machine], now_ms: int) -> int:
    """What those that have ended have cost in the last 24 hours."""
    total = 0
    for machine in machines:
        if machine.called_at_ms is not None and machine.ended_at_ms is not None and not machine.never_was:
            used_ms = max(machine.ended_at_ms - machine.called_at_ms, machine.billed_least_ms)
            if unit_ms := machine.billed_unit_ms:
                used_ms = max(1, ceil(used_ms / unit_ms)) * unit_ms
            until_ms = machine.called_at_ms + max(used_ms, 0)
            total += rate_of(machine) * max(0, until_ms - max(machine.called_at_ms, now_ms - DAY_MS))
    return total
