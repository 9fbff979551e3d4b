"""How machines, plans for them and the autoscaler are shown."""

from typing import Final

from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.machines import AutoscalerStatus, MachineView, PlannedStep
from clusterodm.libs.common.model.machines import Machine
from clusterodm.services.admin.rendering.columns import Column, Columns, Json
from clusterodm.services.admin.rendering.text import duration, one_line


def machine_node(view: MachineView) -> str:
    """Say where a machine's node is reached; empty while it has no address."""
    return shown(view.machine.hostname, view.machine.port) if view.machine.hostname else ""


def machine_reason(view: MachineView) -> str:
    """Say why a machine is as it is, or for how long it stays; what its removal fails with, besides."""
    return "; ".join(filter(None, (view.kept or view.machine.failure or view.machine.reason, removal_of(view.machine))))


def removal_of(machine: Machine) -> str:
    """Say why a machine cannot be destroyed; empty where nothing has failed."""
    return f"not destroyed yet: {machine.removal_failure}" if machine.removal_failure else ""


def machine_line(view: MachineView) -> str:
    """Write a line of telnet's ASR LIST."""
    machine = view.machine
    offer = (f"{machine.size}@{machine.region}" if machine.region else machine.size) + " (spot)" * machine.spot
    notes = "".join(f" <{note}>" for note in (view.kept, removal_of(machine)) if note)
    return one_line(
        f"{view.number}) {machine.id} [{machine.state.value}] <tasks: {len(machine.tasks)}> <size: {offer or '?'}>"
        f" <provider: {machine.provider}> <node: {machine_node(view) or '?'}> <age: {duration(view.age_ms)}> <cost: {view.cost:.2f}>{notes}"
    )


MACHINE: Final[Columns[MachineView]] = (
    Column(lambda view: view.number, "number", "N"),
    Column(lambda view: view.machine.id, "name", "MACHINE"),
    Column(lambda view: view.machine.state.value, "state", "STATE"),
    Column(lambda view: view.machine.provider, "provider", "PROVIDER"),
    Column(lambda view: view.machine.size + " (spot)" * view.machine.spot, head="SIZE"),
    Column(lambda view: view.machine.size, "size"),
    Column(lambda view: view.machine.spot, "spot"),
    Column(lambda view: view.machine.gpu, "gpu"),
    Column(lambda view: view.machine.owner, "owner"),
    Column(lambda view: view.machine.region, "region", "REGION"),
    Column(machine_node, "node", "NODE"),
    Column(lambda view: list(view.machine.tasks), "tasks", "TASKS", lambda tasks: str(len(tasks))),
    Column(lambda view: view.machine.for_task, "forTask"),
    Column(lambda view: view.machine.max_images, "maxImages"),
    Column(lambda view: view.age_ms, "age", "AGE", duration),
    Column(lambda view: view.cost, "cost", "COST", "{:.2f}".format),
    Column(machine_reason, "reason", "REASON"),
    Column(lambda view: view.kept_until_ms, "keptUntil"),
    Column(lambda view: view.machine.removal_failure, "removalFailure"),
    Column(lambda view: view.machine.requested_at_ms, "dateRequested"),
)
"""A machine in a list."""
STEP: Final[Columns[PlannedStep]] = (
    Column(lambda step: step.act, "act"),
    Column(lambda step: step.what, "what"),
    Column(lambda step: step.reason, "reason"),
    Column(lambda step: step.count, "count"),
)
"""What the autoscaler would do."""


def autoscaler_status(status: AutoscalerStatus) -> Json:
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
        "leftAlone": list(status.left_alone),
    }
