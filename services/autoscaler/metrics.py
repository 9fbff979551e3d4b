"""What the autoscaler counts. What a scrape reads besides is in readings.py; the names are in docs/metrics.md.

Prices and costs are in the currency of the configuration's prices.
"""

from typing import Final

from clusterodm.libs.common.telemetry.metrics import LONG_S, counter, gauge, histogram

MACHINES: Final = gauge(
    "clusterodm_machines", "Machines that exist or are about to, by state and provider", "state", "provider"
)
MACHINES_LIMIT: Final = gauge(
    "clusterodm_machines_limit", "Most machines that may exist at once; not there where there is no limit"
)
OLDEST: Final = gauge(
    "clusterodm_machine_oldest_seconds",
    "How long the oldest machine of a state exists, since its provider was called",
    "state",
)
STATE_AGE: Final = gauge(
    "clusterodm_machine_state_oldest_seconds",
    "How long the machine has been in a state that has been in it for longest",
    "state",
)
STEP_SECONDS: Final = histogram(
    "clusterodm_machine_step_seconds",
    "How long machines took for a step of their life: the state that they have left",
    "step",
    limits=LONG_S,
)
READY_SECONDS: Final = histogram(
    "clusterodm_machine_ready_seconds", "From the decision to rent a machine to its node's registration", limits=LONG_S
)
MACHINE_EVENTS: Final = counter(
    "clusterodm_machine_events_total", "What happened to machines, by the event's name", "event"
)
FAILURES: Final = counter(
    "clusterodm_machine_failures_total",
    "Machines that failed to come up, by provider and what kind of failure it was",
    "provider",
    "reason",
)
REMOVAL_FAILURES: Final = counter(
    "clusterodm_machine_removal_failures_total",
    "Tries to destroy a machine that failed, by what kind of failure it was",
    "reason",
)
UNREMOVABLE: Final = gauge("clusterodm_machines_not_destroyed", "Machines whose last try to be destroyed has failed")
COST_HOUR: Final = gauge(
    "clusterodm_machine_cost_per_hour", "What the machines that exist cost per hour, by provider", "provider"
)
COST_DAY: Final = gauge("clusterodm_machine_cost_last_day", "What machines have cost in the last 24 hours")
BUDGET: Final = gauge(
    "clusterodm_budget", "Limit of the configuration: hour (maxHourlyCost), day (maxDailyCost)", "per"
)
BUDGET_LEFT: Final = gauge(
    "clusterodm_budget_left", "What is left of a limit of cost; a new machine must fit into it", "per"
)
OWNER_COST_HOUR: Final = gauge(
    "clusterodm_owner_machine_cost_per_hour",
    "What the machines cost per hour that were rented for an owner's tasks; of owners with a budget",
    "owner",
)
OWNER_COST_DAY: Final = gauge(
    "clusterodm_owner_machine_cost_last_day",
    "What machines have cost in the last 24 hours that were rented for an owner's tasks; of owners with a budget",
    "owner",
)
OWNER_BUDGET_LEFT: Final = gauge(
    "clusterodm_owner_budget_left", "What is left of an owner's limit of cost (budgets)", "owner", "per"
)
DEMAND: Final = gauge("clusterodm_machine_demand_tasks", "Waiting tasks that a machine would help")
UNMET: Final = gauge("clusterodm_machine_demand_unmet_tasks", "Of these, those for which no machine is started")
PAUSED: Final = gauge("clusterodm_autoscaler_paused", "Whether an operator has paused it")
TROUBLE: Final = gauge(
    "clusterodm_provider_trouble", "Whether the provider's last answer was a failure, and none has succeeded since"
)
