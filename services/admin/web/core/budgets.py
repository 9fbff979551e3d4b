"""What machines cost by owner, as pages and the API show it."""

from collections.abc import Iterable

import msgspec

from clusterodm.libs.common.messages.machines import BudgetStatus


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """What is spent for the tasks of one owner."""

    owner: str
    cost_per_hour: float
    cost_last_day: float
    max_hourly_cost: float | None
    max_daily_cost: float | None


def budget_views(budgets: Iterable[BudgetStatus]) -> tuple[BudgetView, ...]:
    """Show how owners stand."""
    return tuple(
        BudgetView(
            owner=each.owner,
            cost_per_hour=each.cost_per_hour,
            cost_last_day=each.cost_last_day,
            max_hourly_cost=each.max_hourly_cost,
            max_daily_cost=each.max_daily_cost,
        )
        for each in budgets
    )
