"""What machines cost, and whether one more is within the budget.

Prices are per hour and counted from the moment the provider is called, as each size is billed (machine_life/billing.py). `maxHourlyCost` limits what all
machines together cost at any moment. For `maxDailyCost` every machine that exists counts with one hour to come, besides
what was spent in the last 24 hours: nothing is ever destroyed for the budget's sake, so it is kept by not starting.
"""

from collections.abc import Iterable, Sequence

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.billing import billed_ms
from clusterodm.services.autoscaler.machine_life.history import DAY_MS, HOUR_MS, Spending, amount, rate_of


def cost(machine: Machine, now_ms: WallMs) -> float:
    """Compute what a machine has cost so far."""
    return (machine.price_per_hour or 0.0) * billed_ms(machine, now_ms) / HOUR_MS


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
    """What is left to spend, while a plan is made."""

    def __init__(self, limits: ScalingLimits, machines: Sequence[Machine], spending: Spending, now_ms: WallMs) -> None:
        self._limits = limits
        self._per_hour = sum(machine.price_per_hour or 0.0 for machine in machines)
        self._spent = cost_of_last_day(machines, spending, now_ms) if limits.max_daily_cost is not None else 0.0

    def objection(self, price_per_hour: float | None) -> str:
        """Say why a machine of this price is too much; empty when it is not."""
        price = price_per_hour or 0.0
        hourly, daily = self._limits.max_hourly_cost, self._limits.max_daily_cost
        if hourly is not None and price > hourly:
            return f"over budget: a machine costs {price:g} per hour, the limit is {hourly:g}"
        if hourly is not None and self._per_hour + price > hourly:
            return f"over budget: machines cost {self._per_hour:g} per hour, {price:g} more exceeds {hourly:g}"
        if daily is not None and self._spent + self._per_hour + price > daily:
            return f"over budget: a machine at {price:g} per hour would exceed {daily:g} in 24 hours"
        return ""

    def take(self, price_per_hour: float | None) -> None:
        """Count one more machine."""
        self._per_hour += price_per_hour or 0.0
