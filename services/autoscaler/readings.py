"""What a scrape reads of the autoscaler that leads. Pure: costs what there are machines that exist."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.demand import DemandChanged
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.telemetry.metrics import Reading
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.machine_life.life import age_ms
from clusterodm.services.autoscaler.metrics import (
    BUDGET,
    BUDGET_LEFT,
    COST_DAY,
    COST_HOUR,
    DEMAND,
    MACHINES,
    MACHINES_LIMIT,
    OLDEST,
    OWNER_BUDGET_LEFT,
    OWNER_COST_DAY,
    OWNER_COST_HOUR,
    PAUSED,
    STATE_AGE,
    TROUBLE,
    UNMET,
    UNREMOVABLE,
)
from clusterodm.services.autoscaler.planning.core.budget import OwnerSpending, cost_of_last_day, of_owners

OWNERS_COUNT = 200
"""More are not told apart: each is a series."""
STATES = tuple(state for state in MachineState if not state.ended)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What is known in the moment of a scrape."""

    providers: tuple[str, ...]
    limits: ScalingLimits
    machines: Sequence[Machine]
    """Those that have not ended."""
    history: MachineHistory
    demand: DemandChanged | None
    unmet_count: int
    paused: bool
    trouble: bool


def readings(seen: Observed, now_ms: WallMs) -> Iterator[Reading]:
    """Say how the machines are."""
    yield from of_machines(seen, now_ms)
    yield from of_money(seen, now_ms)
    for each in of_owners(seen.limits, seen.machines, seen.history, now_ms)[:OWNERS_COUNT]:
        yield from of_owner(each)
    yield Reading(DEMAND, seen.demand.waiting_count if seen.demand else 0)
    yield Reading(UNMET, seen.unmet_count)
    yield Reading(PAUSED, seen.paused)
    yield Reading(TROUBLE, seen.trouble)


def of_machines(seen: Observed, now_ms: WallMs) -> Iterator[Reading]:
    """Count them by state, and say how old they are."""
    counts = Counter((str(machine.state), machine.provider) for machine in seen.machines)
    names = {*seen.providers, *(machine.provider for machine in seen.machines)}
    for state in STATES:
        of_state = [machine for machine in seen.machines if machine.state is state]
        yield from (Reading(MACHINES, counts[str(state), name], (str(state), name)) for name in sorted(names))
        yield Reading(OLDEST, max((age_ms(each, now_ms) for each in of_state), default=0) / 1000, (str(state),))
        since_ms = min((each.state_at_ms or each.requested_at_ms for each in of_state), default=now_ms)
        yield Reading(STATE_AGE, max(0, now_ms - since_ms) / 1000, (str(state),))
    yield Reading(UNREMOVABLE, sum(bool(machine.removal_failure) for machine in seen.machines))
    if seen.limits.machines_count is not None:
        yield Reading(MACHINES_LIMIT, seen.limits.machines_count)


def of_money(seen: Observed, now_ms: WallMs) -> Iterator[Reading]:
    """Say what they cost, and what may still be spent."""
    per_hour = dict.fromkeys(seen.providers, 0.0)
    for machine in seen.machines:
        per_hour[machine.provider] = per_hour.get(machine.provider, 0.0) + (machine.price_per_hour or 0.0)
    yield from (Reading(COST_HOUR, round(price, 6), (name,)) for name, price in per_hour.items())
    hour = sum(per_hour.values())
    day = cost_of_last_day(seen.machines, seen.history.spending, now_ms)
    yield Reading(COST_DAY, round(day, 6))
    for per, limit, used in (
        ("hour", seen.limits.max_hourly_cost, hour),
        ("day", seen.limits.max_daily_cost, day + hour),
    ):
        if limit is not None:
            yield Reading(BUDGET, limit, (per,))
            yield Reading(BUDGET_LEFT, round(limit - used, 6), (per,))


def of_owner(spent: OwnerSpending) -> Iterator[Reading]:
    """Say what an owner's machines cost, and what is left; only of those that have a budget."""
    allowed = spent.allowed
    if allowed.max_hourly_cost is None and allowed.max_daily_cost is None:
        return
    yield Reading(OWNER_COST_HOUR, round(spent.cost_per_hour, 6), (spent.owner,))
    yield Reading(OWNER_COST_DAY, round(spent.cost_last_day, 6), (spent.owner,))
    for per, limit, used in (
        ("hour", allowed.max_hourly_cost, spent.cost_per_hour),
        ("day", allowed.max_daily_cost, spent.cost_last_day + spent.cost_per_hour),
    ):
        if limit is not None:
            yield Reading(OWNER_BUDGET_LEFT, round(limit - used, 6), (spent.owner, per))
