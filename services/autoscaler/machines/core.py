"""What is to become of machines, and what follows from the provider's list: its word counts, whatever the records say.

    no record has the name, nor the id         → a stray: it is taken into use, or destroyed (handlers/reconciler.py)
    the record has ended                       → it is back: destroyed again, and it counts until then
    two of one name, and we know which is ours → the other is removed
    the provider is about to take it away      → it is lost, while it is still there
    a record says that it is there, the list does not → it is missing: looked up by itself, then lost

A list is a moment old when it is read, may show what has just gone and may lack what has just come. So only what was known
before it was asked for is compared, and no list alone ends anything: what is missing, or back, is looked at a second time by
another question before it counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.configuration import StepTimeouts
from clusterodm.services.autoscaler.machine_life.starts import USUAL_START_MS
from clusterodm.services.autoscaler.orders import ProviderMachine, Removal

NEWBORN_MS: Final = 60_000
"""A provider's list may be so much behind."""
PRESENT: Final = {
    MachineState.SETTING_UP,
    MachineState.ONLINE,
    MachineState.BUSY,
    MachineState.IDLE,
    MachineState.DRAINING,
}
"""States in which the provider has said that it has the machine."""

RAN: Final = PRESENT - {MachineState.SETTING_UP}
"""States of machines whose node was there."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is to be seen to."""

    strays: list[ProviderMachine] = field(default_factory=list)
    back: list[tuple[Machine, ProviderMachine]] = field(default_factory=list)
    doubles: list[ProviderMachine] = field(default_factory=list)
    leaving: list[tuple[Machine, str]] = field(default_factory=list)
    stopped: list[Machine] = field(default_factory=list)
    """Spot machines whose node was there, and that do not run any more."""
    missing: list[Machine] = field(default_factory=list)


def compare(before: Mapping[MachineId, Machine], listed: Sequence[ProviderMachine], asked_at_ms: WallMs) -> Comparison:
    """Compare a list with the records as they were before it was asked for."""
    found = Comparison()
    by_name: dict[MachineId, list[ProviderMachine]] = {}
    by_ref = {each.ref: each.id for each in before.values() if each.ref and not each.state.ended}
    for each in listed:
        by_name.setdefault(by_ref.get(each.ref, each.name), []).append(each)
    for name, group in by_name.items():
        if machine := before.get(name):
            compare_one(found, machine, group)
        else:
            found.strays.append(group[0])
    found.missing.extend(
        machine
        for machine in before.values()
        if machine.state in PRESENT and machine.id not in by_name and not newborn(machine, asked_at_ms)
    )
    return found


def compare_one(found: Comparison, machine: Machine, group: Sequence[ProviderMachine]) -> None:
    """Compare a record with what the provider lists under its name."""
    if machine.state.ended:
        found.back.append((machine, group[0]))
    if machine.state not in PRESENT:
        return
    if machine.ref and machine.ref in {each.ref for each in group}:
        found.doubles.extend(each for each in group if each.ref != machine.ref)
    if because := next((each.leaving for each in group if each.leaving), ""):
        found.leaving.append((machine, because))
    elif machine.spot and machine.state in RAN and not any(each.running for each in group):
        found.stopped.append(machine)


def newborn(machine: Machine, now_ms: WallMs) -> bool:
    """Whether a list may not show a machine yet. A clock that was set back makes nothing young."""
    return 0 <= now_ms - (machine.created_at_ms or 0) < NEWBORN_MS


def was_adopted(machine: Machine) -> bool:
    """Whether a machine that is being set up was found at the provider, and was ordered by nobody whose records we have."""
    return bool(machine.seen_at_ms)


def boots_within_s(timeouts: StepTimeouts) -> int:
    """Say how long tasks wait at most for a machine that nobody here has ordered: another would not be there sooner, and would cost as well."""
    return min(timeouts.set_up_s, USUAL_START_MS // 1000)


def may_boot(found: ProviderMachine, timeouts: StepTimeouts, now_ms: WallMs) -> bool:
    """Whether a machine is so young, by the provider's word, that its node is likely to be on its way."""
    return bool(found.created_at_ms) and now_ms - found.created_at_ms < boots_within_s(timeouts) * 1000


def left_by(machine: Machine, error: ProviderFailed, now_ms: WallMs) -> dict[str, Any]:
    """Say what a creation that failed has left for certain, or a removal has met: from then on it has been seen."""
    if not error.ref:
        return {}
    return {"ref": error.ref, "seen_at_ms": machine.seen_at_ms or now_ms}


def gone_at_ms(removal: Removal, before_ms: WallMs | None, now_ms: WallMs) -> WallMs | None:
    """Say since when a machine costs nothing, by a try to destroy it, and by what those before it have said: that holds while nothing of it is seen again."""
    if before_ms is not None and not removal.was_there:
        return before_ms
    return None if removal.gone_ago_s is None else WallMs(now_ms - round(removal.gone_ago_s * 1000))


def facts_of(found: ProviderMachine) -> dict[str, Any]:
    """Take what the provider says into a record; what it does not say stays."""
    facts: dict[str, Any] = {"port": found.port}
    if found.ref:
        facts["ref"] = found.ref
    if found.address:
        facts["hostname"] = found.address
    return facts


class NodeCheck(Enum):
    """What its node is asked before a machine goes: the records may not know of everything that it does."""

    NOTHING = auto()
    TASKS = auto()
    """It stays while its node has tasks that have not ended."""
    ANSWER = auto()
    """It stays while its node does not say that it has none."""


@dataclass(frozen=True)
class MachineDecision:
    """What is to happen to a machine."""

    machine: MachineId
    reason: str
    check: NodeCheck = NodeCheck.NOTHING
