"""What the autoscaler does, as JSON."""

from typing import Any

from clusterodm.libs.common.messages.machines import AutoscalerStatus


def autoscaler_status(status: AutoscalerStatus) -> dict[str, Any]:
    """Show what the autoscaler does."""
    return {
        "enabled": status.enabled,
        "paused": status.paused,
        "reason": status.reason,
        "provider": status.provider,
        "demand": status.demand_count,
        "machinesLimit": status.machines_limit_count,
        "machines": status.states,
        "costPerHour": status.cost_per_hour,
        "costLastDay": status.cost_last_day,
        "maxHourlyCost": status.max_hourly_cost,
        "maxDailyCost": status.max_daily_cost,
        "waits": [{"uuid": each.task, "reason": each.reason} for each in status.waits],
        "trouble": status.trouble,
        "providers": [
            {
                "name": each.name,
                "machines": each.machines_count,
                "machinesLimit": each.machines_limit_count,
                "costPerHour": each.cost_per_hour,
                "trouble": each.trouble,
            }
            for each in status.providers
        ],
        "budgets": [
            {
                "owner": each.owner,
                "costPerHour": each.cost_per_hour,
                "costLastDay": each.cost_last_day,
                "maxHourlyCost": each.max_hourly_cost,
                "maxDailyCost": each.max_daily_cost,
            }
            for each in status.budgets
        ],
        "fileCheck": status.file_check,
        "fileMistakes": list(status.file_mistakes),
    }
