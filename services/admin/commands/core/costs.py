"""What a task has cost on rented machines, by its own record. Pure.

An attempt is on its machine from when it runs until it ends. Where a machine takes several tasks at once each is counted whole here; what tenants have used
(`TENANT USAGE`) divides the time among them.
"""

from typing import Final

from clusterodm.libs.common.model.tasks import Attempt, Task

HOUR_MS: Final = 3_600_000


def machine_cost(task: Task) -> float | None:
    """Add up its attempts that have ended; None: none of them was on a machine whose price is known."""
    costs = [cost for attempt in task.attempts if (cost := attempt_cost(attempt, task)) is not None]
    return round(sum(costs), 4) if costs else None


def attempt_cost(attempt: Attempt, task: Task) -> float | None:
    """Say what one cost; None: nothing is known of a price, or it has not run, or still does."""
    ended_at_ms = attempt.ended_at_ms or (task.ended_at_ms if attempt is task.attempt else None)
    if attempt.price_per_hour is None or attempt.running_at_ms is None or ended_at_ms is None:
        return None
    return max(0, ended_at_ms - attempt.running_at_ms) * attempt.price_per_hour / HOUR_MS
