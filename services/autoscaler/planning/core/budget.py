"""What machines cost, and whether one more is within the budget.

Prices are per hour and counted from the moment the provider is called, as each size is billed (machine_life/life.py). `maxHourlyCost` limits what all
machines together cost at any moment. For `maxDailyCost` every machine that exists counts with one hour to come, besides
what was spent in the last 24 hours: nothing is ever destroyed for the budget's sake, so it is kept by not starting.

Owners may have budgets besides (`budgets`). A machine counts against the owner of the task that it was rented for, whole, from its call to
its end, whoever else uses it; what the warm pool rents is nobody's (decision 139).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.values import Owner
from clusterodm.services.autoscaler.config.core.configuration import ANYBODY, OwnerBudget, ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import (
    DAY_MS,
    HOUR_MS,
    MachineHistory,
    Spending,
    amount,
    rate_of,
)
from clusterodm.services.autoscaler.machine_life.life import billed_ms


def cost(machine: Machine, now_ms: WallMs) -> float:
    """Compute what a machine has cost so far."""
    return (machine.price_per_hour or 0.0) * billed_ms(machine, now_ms) / HOUR_MS


def cost_per_hour(machines: Iterable[Machine]) -> float:
    """Add up what machines cost per hour; those without a price cost nothing."""
    return sum(machine.price_per_hour or 0.0 for machine in machines)


def cost_of_last_day(machines: Iterable[Machine], spending: Spending, now_ms: WallMs) -> float:
    """Compute what machines that exist, and those that have ended, have cost in the last 24 hours."""
    return amount(
        sum(cost_since(machine, now_ms - DAY_MS, now_ms) for machine in machines) + spending.of_last_day(now_ms)
    )


def cost_since(machine: Machine, from_ms: int, now_ms: WallMs) -> int:
    """Compute what a machine that exists has cost since a moment, in parts times milliseconds."""
    if machine.called_at_ms is None:
        return 0
    until_ms = machine.called_at_ms + billed_ms(machine, now_ms)
    return rate_of(machine) * max(0, until_ms - max(machine.called_at_ms, from_ms))


class Budget:
    """What is left to spend, while a plan is made: of the cluster, or of one owner."""

    def __init__(
        self, allowed: OwnerBudget, machines: Iterable[Machine], spending: Spending, now_ms: WallMs, whose: str = ""
    ) -> None:
        """Take what may be spent, the machines that count, and what was spent on those that are gone."""
        listed = list(machines)
        self._allowed = allowed
        self._whose = f" of {whose}" if whose else ""
        self._per_hour = cost_per_hour(listed)
        self._spent = cost_of_last_day(listed, spending, now_ms) if allowed.max_daily_cost is not None else 0.0

    def objection(self, price_per_hour: float | None) -> str:
        """Say why a machine of this price is too much; empty when it is not."""
        price, whose = price_per_hour or 0.0, self._whose
        hourly, daily = self._allowed.max_hourly_cost, self._allowed.max_daily_cost
        if hourly is not None and price > hourly:
            return f"over budget{whose}: a machine costs {price:g} per hour, the limit is {hourly:g}"
        if hourly is not None and self._per_hour + price > hourly:
            return f"over budget{whose}: machines cost {self._per_hour:g} per hour, {price:g} more exceeds {hourly:g}"
        if daily is not None and self._spent + self._per_hour + price > daily:
            return f"over budget{whose}: a machine at {price:g} per hour would exceed {daily:g} in 24 hours"
        return ""

    def take(self, price_per_hour: float | None) -> None:
        """Count one more machine."""
        self._per_hour += price_per_hour or 0.0


class Budgets:
    """The cluster's, and those of owners as they are asked for."""

    def __init__(
        self, limits: ScalingLimits, machines: Sequence[Machine], history: MachineHistory, now_ms: WallMs
    ) -> None:
        self._limits = limits
        self._machines = machines
        self._history = history
        self._now_ms = now_ms
        self._all = Budget(of_cluster(limits), machines, history.spending, now_ms)
        self._owners: dict[Owner, Budget] = {}

    def objection(self, price_per_hour: float | None, owner: Owner) -> str:
        """Say why a machine of this price is too much for an owner's task; empty when it is not."""
        return self._all.objection(price_per_hour) or self._of(owner).objection(price_per_hour)

    def take(self, price_per_hour: float | None, owner: Owner) -> None:
        """Count one more machine."""
        self._all.take(price_per_hour)
        self._of(owner).take(price_per_hour)

    def _of(self, owner: Owner) -> Budget:
        if owner not in self._owners:
            own = (machine for machine in self._machines if machine.owner == owner)
            spending = self._history.spending_of.get(owner, Spending())
            self._owners[owner] = Budget(self._limits.budget_of(owner), own, spending, self._now_ms, owner)
        return self._owners[owner]


@dataclass(frozen=True, kw_only=True)
class OwnerSpending:
    """How an owner stands."""

    owner: Owner
    cost_per_hour: float
    cost_last_day: float
    allowed: OwnerBudget


def of_owners(
    limits: ScalingLimits, machines: Sequence[Machine], history: MachineHistory, now_ms: WallMs
) -> list[OwnerSpending]:
    """Say how each owner stands that has a budget, machines or bills; costs what there are machines and owners."""
    spent = history.spending_of
    alive: defaultdict[Owner, list[Machine]] = defaultdict(list)
    for machine in machines:
        if machine.owner:
            alive[machine.owner].append(machine)
    named = {Owner(owner) for owner in limits.budgets if owner != ANYBODY}
    return [
        OwnerSpending(
            owner=owner,
            cost_per_hour=cost_per_hour(alive[owner]),
            cost_last_day=cost_of_last_day(alive[owner], spent.get(owner, Spending()), now_ms),
            allowed=limits.budget_of(owner),
        )
        for owner in sorted({*named, *alive, *spent})
    ]


def of_cluster(limits: ScalingLimits) -> OwnerBudget:
    """Give what may be spent for all together."""
    return OwnerBudget(max_hourly_cost=limits.max_hourly_cost, max_daily_cost=limits.max_daily_cost)
